"""The prior that the package ships: a log-linear law of savings, fitted on the fit checkpoints."""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from neuroexapt.edits import AnyEdit
from neuroexapt.graph import Cost
from neuroexapt.growth.prior import Features, Prior, growing_features, pruning_features
from neuroexapt.signals import Gain

GROWING = ("gain", "dual", "share", "params", "macs")
PRUNING = ("saliency", "removed")
PENALTIES = (1.0, 10.0, 100.0)
HORIZON = 300
EDIT: TypeAdapter[AnyEdit] = TypeAdapter(AnyEdit)


@dataclass(frozen=True)
class Tried:
    """A checkpoint's candidates, with what was known of them and what followed.

    Attributes:
        name: of the checkpoint.
        features: one a candidate.
        saved: share of the held-out loss that each saved, shape (candidates, seeds).
    """

    name: str
    features: tuple[Features, ...]
    saved: np.ndarray


def features_of(row: dict[str, Any], cost: Cost) -> Features:
    """What is known of a candidate before it is tried."""
    edit = EDIT.validate_python(row["edit"])
    if edit.kind == "prune":
        saliency = sum(max(value, 0.0) for value in row["evidence"]["saliency"])
        return pruning_features(saliency, row["evidence"]["removed"], row["loss"])
    return growing_features(Gain(edit, **row["gain"]), row["loss"], cost)


def tried(path: Path) -> Tried:
    """Read a checkpoint's file, as far as all its candidates have the same seeds."""
    measured = json.loads(path.read_text())
    rows = measured["candidates"]
    count = min(len(row["runs"]) for row in rows)
    without = fmean(run["loss"] for run in measured["baseline"])
    saved = [[(without - run["loss"]) / without for run in row["runs"][:count]] for row in rows]
    cost = Cost(**measured["cost"])
    return Tried(path.stem, tuple(features_of(row, cost) for row in rows), np.array(saved))


def predicted(prior: Prior, of: Tried) -> list[float]:
    """What the prior says of each candidate."""
    return [prior.saving(features) for features in of.features]


def fitted(given: Sequence[Tried], names: Sequence[str], penalty: float) -> Prior:
    """The law that fits best, in squares relative to each checkpoint's own spread.

    The exponents are drawn to 0, and the kinds' constants to each other, by the penalty.
    """
    kinds, constants, exponents = [], {}, {}
    for law, used in (("grow", tuple(names)), ("prune", PRUNING)):
        found, weights = _law(given, law, used, penalty)
        kinds.append(law)
        constants |= found
        exponents[law] = weights
    sources = ", ".join(of.name for of in given)
    return Prior(
        horizon=HORIZON,
        kinds=constants,
        exponents=exponents,
        source=f"benchmarks/arbiter fit, on {sources}",
    )


def _law(
    given: Sequence[Tried], law: str, names: Sequence[str], penalty: float
) -> tuple[dict[str, float], dict[str, float]]:
    sign = -1.0 if law == "prune" else 1.0
    rows, targets, kinds = [], [], []
    for of in given:
        mean = of.saved.mean(1)
        spread = float(mean.std())
        for features, saved in zip(of.features, mean, strict=True):
            if (features.kind == "prune") == (law == "prune"):
                rows.append([features.values[name] for name in names])
                targets.append((sign * saved, spread))
                kinds.append(features.kind)
    known = sorted(set(kinds))
    x = np.array(rows)
    center, scale = x.mean(0), x.std(0) + 1e-9
    z = (x - center) / scale
    one = np.array([[kind == k for k in known] for kind in kinds], dtype=float)
    saved, spread = np.array(targets).T

    def residuals(theta: np.ndarray) -> np.ndarray:
        level, own, slopes = theta[0], theta[1 : 1 + len(known)], theta[1 + len(known) :]
        law = np.exp(np.clip(level + one @ own + z @ slopes, -20, 5))
        return np.concatenate(
            [(saved - law) / spread, np.sqrt(penalty) * own, np.sqrt(penalty) * slopes]
        )

    start = np.zeros(1 + len(known) + len(names))
    start[0] = np.log(max(saved.mean(), 1e-4))
    theta = least_squares(residuals, start).x
    slopes = theta[1 + len(known) :] / scale
    level = theta[0] - float(slopes @ center)
    constants = {k: float(level + own) for k, own in zip(known, theta[1:], strict=False)}
    return constants, dict(zip(names, map(float, slopes), strict=True))


def chosen(given: Sequence[Tried]) -> tuple[Prior, list[dict[str, Any]]]:
    """The features and the penalty that predict left-out checkpoints best, and all that were tried.

    Left out are all checkpoints of a family at a time: what is shipped meets new networks.
    """
    families = sorted({of.name.split("-")[1] for of in given})
    table = []
    for count in range(1, len(GROWING) + 1):
        for names in itertools.combinations(GROWING, count):
            for penalty in PENALTIES:
                found = []
                for family in families:
                    left = [of for of in given if of.name.split("-")[1] == family]
                    prior = fitted([of for of in given if of not in left], names, penalty)
                    found += [_rank(predicted(prior, of), of) for of in left]
                table.append({"features": names, "penalty": penalty, "spearman": fmean(found)})
    table.sort(key=lambda row: -row["spearman"])
    best = table[0]
    return fitted(given, best["features"], best["penalty"]), table


def _rank(values: Sequence[float], of: Tried) -> float:
    return float(spearmanr(values, of.saved.mean(1))[0])
