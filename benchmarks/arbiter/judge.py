"""What followed, against what each signal alone would have said."""

import json
import math
import random
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.stats import spearmanr

SIGNALS = ("params", "macs", "gain", "dual", "entropy", "correlation", "random")
DRAWS = 1000


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's; 0 where either is constant."""
    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(spearmanr(first, second)[0])


def read(path: Path) -> tuple[list[dict[str, Any]], np.ndarray]:
    """A checkpoint's candidates, and by how much each lowered the held-out loss, seed by seed.

    Pruning is left out: what removes units has neither gain nor new parameters to go by.
    """
    measured = json.loads(path.read_text())
    without = [run["loss"] for run in measured["baseline"]]
    rows = [row for row in measured["candidates"] if row["edit"]["kind"] != "prune"]
    truth = [[b - run["loss"] for b, run in zip(without, r["runs"], strict=True)] for r in rows]
    return rows, np.array(truth)


def said(rows: list[dict[str, Any]], signal: str, seed: int) -> list[float]:
    """What a signal says of each candidate; where it says nothing, less than of any other."""
    if signal == "random":
        rng = random.Random(seed)
        return [rng.random() for _ in rows]
    if signal == "entropy":
        return [_mean(row["evidence"].get("entropy")) for row in rows]
    if signal == "correlation":
        return [abs(row["evidence"].get("correlation", 0.0)) for row in rows]
    return [row["gain"][signal] for row in rows]


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


def interval(first: list[float], second: list[float], rng: np.random.Generator) -> list[float]:
    """95 % of the rank correlation, over candidates drawn again with replacement."""
    a, b = np.array(first), np.array(second)
    draws = [rng.integers(len(a), size=len(a)) for _ in range(DRAWS)]
    found = [rank_correlation(list(a[d]), list(b[d])) for d in draws]
    return [float(q) for q in np.quantile(found, [0.025, 0.975])]


def judged(path: Path) -> dict[str, Any]:
    """One checkpoint."""
    rows, truth = read(path)
    mean = list(truth.mean(1))
    rng = np.random.default_rng(0)
    single, ceiling = reliability(truth)
    signals = {}
    for name in SIGNALS:
        prediction = said(rows, name, seed=len(rows))
        regret = max(mean) - mean[int(np.argmax(prediction))]
        signals[name] = {
            "spearman": rank_correlation(prediction, mean),
            "ci95": interval(prediction, mean, rng),
            "first_choice_regret": regret / max(mean) if max(mean) > 0 else None,
        }
    return {
        "num_candidates": len(rows),
        "num_seeds": truth.shape[1],
        "best_benefit": max(mean),
        "retest": single,
        "ceiling": ceiling,
        "signals": signals,
    }


def judge(folder: Path) -> dict[str, Any]:
    """All checkpoints that are there, and the means over them."""
    paths = sorted(p for p in folder.glob("*.json") if p.stem.startswith(("fit-", "judge-")))
    found = {path.stem: judged(path) for path in paths}
    means = {
        name: fmean(item["signals"][name]["spearman"] for item in found.values())
        for name in SIGNALS
    }
    return {
        "mean_spearman": means,
        "mean_retest": fmean(item["retest"] for item in found.values()),
        "mean_ceiling": fmean(item["ceiling"] for item in found.values()),
        "num_checkpoints": len(found),
        "num_candidates": sum(item["num_candidates"] for item in found.values()),
        "checkpoints": found,
    }
