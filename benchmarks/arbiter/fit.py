"""The prior that the package ships: a log-linear law of savings, fitted on the fit checkpoints."""

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from pydantic import TypeAdapter
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from neuroexapt.edits import AnyEdit
from neuroexapt.graph import Cost
from neuroexapt.growth.prior import (
    Features,
    Prior,
    assured_log,
    growing_features,
    kind_of,
    pruning_features,
    standing_log,
)
from neuroexapt.signals import Gain

GROWING = ("gain", "beyond", "params", "macs")
MEASURED = {"gain", "beyond"}
"""Of which there is at least one: by size alone, nothing would have to be sensed."""
ALWAYS = ("standing",)
"""0 for all that real networks showed, so that only planted problems tell what it is worth."""
PRUNING = ("saliency",)
PENALTIES = (1.0, 3.0, 10.0, 30.0)
NOISE = 0.003
"""About how far one seed's saving is off, as a share of the loss."""
HORIZON = 300
TOLERANCE = 0.01
"""By how much fewer features may rank worse than more."""
EDIT: TypeAdapter[AnyEdit] = TypeAdapter(AnyEdit)


@dataclass(frozen=True)
class Tried:
    """A checkpoint's candidates, with what was known of them and what followed.

    Attributes:
        name: of the checkpoint.
        features: one a candidate.
        saved: share of the held-out loss that each saved, shape (candidates, seeds).
        is_planted: whether it is one of the planted problems, where nearly all of the loss can be
            saved.
    """

    name: str
    features: tuple[Features, ...]
    saved: np.ndarray
    is_planted: bool = False


def features_of(row: dict[str, Any], largest: float, cost: Cost) -> Features:
    """What is known of a candidate before it is tried."""
    edit = EDIT.validate_python(row["edit"])
    if edit.kind == "prune":
        saliency = sum(max(value, 0.0) for value in row["evidence"]["saliency"])
        return pruning_features(saliency, row["evidence"]["removed"], row["loss"])
    return growing_features(Gain(edit, **row["gain"]), largest, row["loss"], cost)


def tried(path: Path) -> Tried:
    """Read a checkpoint's file, as far as all its candidates have the same seeds."""
    measured = json.loads(path.read_text())
    rows = measured["candidates"]
    cost = Cost(**measured["cost"])
    largest = largest_of(rows)
    features = tuple(features_of(row, largest, cost) for row in rows)
    return Tried(path.stem, features, savings(measured))


def savings(measured: dict[str, Any]) -> np.ndarray:
    """Share of the held-out loss that each candidate of a checkpoint saved.

    Each run is compared with the one without an edit that saw the same batches.

    Returns:
        Shape (candidates, seeds), of as many seeds as all have.
    """
    without = [run["loss"] for run in measured["baseline"]]
    rows = measured["candidates"]
    count = min(len(without), *(len(row["runs"]) for row in rows))
    losses = np.array([[run["loss"] for run in row["runs"][:count]] for row in rows])
    return (np.array(without[:count]) - losses) / np.array(without[:count])


def largest_of(rows: Sequence[dict[str, Any]]) -> float:
    """The largest gain beyond the last layer."""
    return max(row["gain"]["beyond"] for row in rows if "gain" in row)


def planted(path: Path) -> list[Tried]:
    """Problems of which it is known what the network lacks, as benchmarks/planted.py tried them."""
    found = []
    for name, problem in json.loads(path.read_text()).items():
        for run in problem.get("runs", ()) if isinstance(problem, dict) else ():
            rows = run["candidates"]
            largest = max(row["beyond"] for row in rows)
            features = [
                Features(
                    kind=kind_of(EDIT.validate_python(row["edit"])),
                    values={
                        "gain": assured_log(row["gain"], row["error"], run["loss"]),
                        "beyond": assured_log(row["beyond"], row["beyond_error"], run["loss"]),
                        "standing": standing_log(row["beyond"], row["beyond_error"], largest),
                        "params": math.log(row["params"]),
                        "macs": math.log(row["macs"] + 0.01),
                    },
                )
                for row in rows
            ]
            saved = np.array([[row["saved"]] for row in rows])
            title = f"fit-{name}-planted-{run['seed']}"
            found.append(Tried(title, tuple(features), saved, is_planted=True))
    return found


def predicted(prior: Prior, of: Tried) -> list[float]:
    """What the prior says of each candidate."""
    return [prior.saving(features) for features in of.features]


def fitted(given: Sequence[Tried], names: Sequence[str], penalty: float) -> Prior:
    """The law that fits best within each checkpoint, at the median of the real ones' levels.

    How much can be saved at all differs from checkpoint to checkpoint, by more than any signal
    tells; what the law is for is which candidate saves most. So each checkpoint has a level of its
    own, fitted with the rest; the exponents are drawn to 0, and the kinds' constants to each other,
    by the penalty.
    """
    constants: dict[str, float] = {}
    exponents: dict[str, dict[str, float]] = {}
    for law, used in (("grow", tuple(names)), ("prune", PRUNING)):
        found, exponents[law] = _law(
            [part for of in given if (part := _part(of, law))], used, penalty
        )
        constants |= found
    return Prior(
        horizon=HORIZON,
        kinds=constants,
        exponents=exponents,
        source=f"benchmarks/arbiter fit, on {', '.join(of.name for of in given)}",
    )


def _part(of: Tried, law: str) -> Tried | None:
    """The candidates that a law is for, or None without any."""
    chosen = [i for i, f in enumerate(of.features) if (f.kind == "prune") == (law == "prune")]
    if not chosen:
        return None
    sign = -1.0 if law == "prune" else 1.0
    return replace(
        of, features=tuple(of.features[i] for i in chosen), saved=sign * of.saved[chosen]
    )


def _law(
    given: Sequence[Tried], names: Sequence[str], penalty: float
) -> tuple[dict[str, float], dict[str, float]]:
    known = sorted({features.kind for of in given for features in of.features})
    x = [np.array([[f.values[name] for name in names] for f in of.features]) for of in given]
    one = [np.array([[f.kind == k for k in known] for f in of.features], float) for of in given]
    saved = [of.saved.mean(1) for of in given]
    error = [float(np.hypot(mean.std(), NOISE)) for mean in saved]
    scale = np.concatenate([each - each.mean(0) for each in x]).std(0) + 1e-9

    def shapes(theta: np.ndarray) -> list[np.ndarray]:
        own, slopes = theta[: len(known)], theta[len(known) :] / scale
        return [np.exp(np.clip(o @ own + v @ slopes, -30, 30)) for o, v in zip(one, x, strict=True)]

    def residuals(theta: np.ndarray) -> np.ndarray:
        parts = [
            (mean - _level(mean, shape) * shape) / e
            for mean, shape, e in zip(saved, shapes(theta), error, strict=True)
        ]
        return np.concatenate([*parts, np.sqrt(penalty) * theta])

    theta = least_squares(residuals, np.zeros(len(known) + len(names))).x
    levels = [
        _level(mean, shape)
        for of, mean, shape in zip(given, saved, shapes(theta), strict=True)
        if not of.is_planted
    ]
    level = float(np.log(max(float(np.median(levels)), 1e-12)))
    slopes = theta[len(known) :] / scale
    constants = {k: float(level + own) for k, own in zip(known, theta, strict=False)}
    return constants, dict(zip(names, map(float, slopes), strict=True))


def _level(saved: np.ndarray, shape: np.ndarray) -> float:
    """By what to multiply a shape so that it fits best, at least 0."""
    return max(float(saved @ shape / (shape @ shape)), 0.0)


def chosen(given: Sequence[Tried]) -> tuple[Prior, list[dict[str, Any]]]:
    """The fewest features that predict what is left out nearly best, and all that were tried.

    Left out are all checkpoints of a family at a time, or all networks of a planted problem: what
    is shipped meets new ones.

    Args:
        given: checkpoints of networks in training, and planted problems.
    """
    table = []
    for count in range(1, len(GROWING) + 1):
        for names in itertools.combinations(GROWING, count):
            if not MEASURED & set(names):
                continue
            for penalty in PENALTIES:
                found = _left_out(given, (*names, *ALWAYS), penalty)
                table.append({"features": names, "penalty": penalty, "spearman": found})
    table.sort(key=lambda row: -row["spearman"])
    near = [row for row in table if row["spearman"] > table[0]["spearman"] - TOLERANCE]
    best = min(near, key=lambda row: len(row["features"]))
    return fitted(given, (*best["features"], *ALWAYS), best["penalty"]), table


def _left_out(given: Sequence[Tried], names: Sequence[str], penalty: float) -> float:
    """Mean rank correlation with what followed, of families that the law wasn't fitted on."""
    found = []
    for family in sorted({_family(of) for of in given}):
        prior = fitted([of for of in given if _family(of) != family], names, penalty)
        found += [_rank(predicted(prior, of), of) for of in given if _family(of) == family]
    return fmean(found)


def _family(of: Tried) -> str:
    return of.name.split("-")[1]


def _rank(values: Sequence[float], of: Tried) -> float:
    return float(spearmanr(values, of.saved.mean(1))[0])
