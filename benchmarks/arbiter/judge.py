"""What followed, against what the arbiter and each signal alone would have said."""

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from fit import features_of, largest_of, savings
from scipy.stats import rankdata, spearmanr

from neuroexapt.graph import Cost
from neuroexapt.growth.prior import shipped_prior

CONTROLS = ("params", "macs", "random", "entropy", "correlation", "gain", "dual", "beyond")
SIGNALS = ("arbiter", *CONTROLS)
DRAWS = 1000


@dataclass(frozen=True)
class Judged:
    """A checkpoint's candidates: what followed, and what was said of them.

    Attributes:
        name: of the checkpoint.
        truth: share of the held-out loss that each saved, shape (candidates, seeds).
        said: signal -> what it says of each.
        grows: of each, whether it adds something; false for pruning.
    """

    name: str
    truth: np.ndarray
    said: dict[str, np.ndarray]
    grows: np.ndarray

    def growing(self) -> "Judged":
        """Those that add something: to tell pruning from growth is no art."""
        kept = self.grows
        said = {name: values[kept] for name, values in self.said.items()}
        return Judged(self.name, self.truth[kept], said, self.grows[kept])


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Spearman's; 0 where either is constant."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(spearmanr(first, second)[0])


def read(path: Path) -> Judged:
    """A checkpoint's file, as far as all its candidates have the same seeds."""
    measured = json.loads(path.read_text())
    rows = measured["candidates"]
    cost = Cost(**measured["cost"])
    prior = shipped_prior()
    said = {name: np.array([_said(row, name, cost) for row in rows]) for name in CONTROLS}
    rng = random.Random(len(rows))
    said["random"] = np.array([rng.random() for _ in rows])
    said["arbiter"] = np.array(
        [prior.saving(features_of(row, largest_of(rows), cost)) for row in rows]
    )
    grows = np.array([row["edit"]["kind"] != "prune" for row in rows])
    return Judged(path.stem, savings(measured), said, grows)


def _num_seeds(path: Path) -> int:
    return min(len(row["runs"]) for row in json.loads(path.read_text())["candidates"])


def _said(row: dict[str, Any], signal: str, cost: Cost) -> float:
    """What a signal says of a candidate; where it says nothing, less than of any other."""
    if signal in ("params", "macs"):
        return float(row["runs"][0][signal] - getattr(cost, signal))
    if signal == "entropy":
        return _mean(row["evidence"].get("entropy"))
    if signal == "correlation":
        return abs(row["evidence"].get("correlation", 0.0))
    return float(row["gain"][signal]) if "gain" in row and signal in row["gain"] else -math.inf


def _mean(values: list[float] | float | None) -> float:
    if values is None:
        return 0.0
    return values if isinstance(values, float) else fmean(values)


def reliability(truth: np.ndarray) -> tuple[float, float]:
    """How well the truth predicts itself.

    Returns:
        The mean rank correlation of two single seeds; and the most that any prediction could reach
        with the mean over all seeds, by Spearman and Brown's formula.
    """
    count = truth.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(i)]
    single = fmean(rank_correlation(list(truth[:, i]), list(truth[:, j])) for i, j in pairs)
    kept = max(single, 0.0)
    return single, math.sqrt(count * kept / (1 + (count - 1) * kept))


def regret(of: Judged, signal: str) -> float:
    """What a signal's first choice misses of the best candidate's benefit, as a share of it.

    The best is the best by the mean over all seeds, whose luck counts as its merit.
    """
    mean = of.truth.mean(1)
    return float((mean.max() - mean[of.said[signal].argmax()]) / mean.max())


def fair_regret(of: Judged, signal: str) -> float:
    """The same against whoever knows what followed with all seeds but one, judged by that one."""
    count = of.truth.shape[1]
    chosen, known = 0.0, 0.0
    for left in range(count):
        rest = np.delete(of.truth, left, axis=1).mean(1)
        known += float(of.truth[rest.argmax(), left])
        chosen += float(of.truth[of.said[signal].argmax(), left])
    return (known - chosen) / known


def interval(judged: Sequence[Judged], signal: str, rng: np.random.Generator) -> list[float]:
    """95 % of the mean rank correlation, over checkpoints and candidates drawn with replacement."""
    found = []
    for _ in range(DRAWS):
        drawn = rng.integers(len(judged), size=len(judged))
        found.append(fmean(_redrawn(judged[index], signal, rng) for index in drawn))
    return [float(q) for q in np.quantile(found, [0.025, 0.975])]


def _redrawn(of: Judged, signal: str, rng: np.random.Generator) -> float:
    chosen = rng.integers(len(of.truth), size=len(of.truth))
    said, mean = rankdata(of.said[signal][chosen]), rankdata(of.truth[chosen].mean(1))
    spread = said.std() * mean.std()
    return float(((said - said.mean()) * (mean - mean.mean())).mean() / spread) if spread else 0.0


def judged_alone(of: Judged) -> dict[str, Any]:
    """One checkpoint."""
    mean = list(of.truth.mean(1))
    single, ceiling = reliability(of.truth)
    return {
        "num_candidates": len(mean),
        "num_seeds": of.truth.shape[1],
        "best_benefit": max(mean),
        "retest": single,
        "ceiling": ceiling,
        "spearman": _correlations(of),
        "growing": {
            "num_candidates": int(of.grows.sum()),
            "ceiling": reliability(of.growing().truth)[1],
            "spearman": _correlations(of.growing()),
        },
        "first_choice_regret": {name: regret(of, name) for name in SIGNALS},
        "fair_regret": {name: fair_regret(of, name) for name in SIGNALS},
    }


def _correlations(of: Judged) -> dict[str, float]:
    mean = list(of.truth.mean(1))
    return {name: rank_correlation(list(of.said[name]), mean) for name in SIGNALS}


def judge(folder: Path) -> dict[str, Any]:
    """All checkpoints that are for judging and have all their seeds."""
    whole = [read(path) for path in sorted(folder.glob("judge-*.json")) if _num_seeds(path) >= 3]
    alone = {of.name: judged_alone(of) for of in whole}
    rng = np.random.default_rng(0)

    def mean(name: str, what: str = "spearman") -> float:
        return fmean(item[what][name] for item in alone.values())

    return {
        "arbiter": {
            "spearman": mean("arbiter"),
            "ci95": interval(whole, "arbiter", rng),
            "first_choice_regret": mean("arbiter", "first_choice_regret"),
            "fair_regret": mean("arbiter", "fair_regret"),
        },
        "ceiling": fmean(item["ceiling"] for item in alone.values()),
        "controls": {name: mean(name) for name in CONTROLS},
        "controls_ci95": {name: interval(whole, name, rng) for name in CONTROLS},
        "controls_regret": {name: mean(name, "first_choice_regret") for name in CONTROLS},
        "growing": {
            "ceiling": fmean(item["growing"]["ceiling"] for item in alone.values()),
            "spearman": {
                name: fmean(item["growing"]["spearman"][name] for item in alone.values())
                for name in SIGNALS
            },
        },
        "num_checkpoints": len(whole),
        "num_candidates": sum(len(of.truth) for of in whole),
        "checkpoints": alone,
    }
