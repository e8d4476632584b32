"""How much better or worse each kind of edit does in this run than the prior says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from types import MappingProxyType

import numpy as np

COMMON_SPREAD = 0.5
"""How far all kinds together may be off the prior, as a standard deviation of their scale."""
OWN_SPREAD = 0.5
"""How far a kind may be off the others."""
NOISE = 0.03
"""Standard deviation of what is seen to follow a growth, at least: held-out losses jump."""
DOUBT = 0.5
"""The same, relative to what the trend would have saved: trends bend."""
LEAST = 0.1
"""A scale isn't believed to be smaller: a kind that did harm once is to have other chances."""


@dataclass(frozen=True)
class Outcome:
    """What followed edits that were made together.

    Attributes:
        predicted: kind -> share of the loss that the prior expected its edits to save.
        saved: share of the loss that they saved together, beyond what training on would have.
        trend: share that training on would have saved.
        jitter: how far single losses were off their trend, as a share.
    """

    predicted: Mapping[str, float]
    saved: float
    trend: float = 0.0
    jitter: float = 0.0


def learnt_scales(outcomes: Sequence[Outcome]) -> Mapping[str, float]:
    """By what to multiply the prior's savings, kind by kind.

    What followed is the sum over kinds of scale x prediction, and noise, the more of it the more
    the losses jump and the more the trend alone would have brought; the scales are taken for
    normal around 1, with a part in common, so that every outcome also tells something of kinds that
    weren't tried. The result is their posterior mean.

    Returns:
        Kind -> scale; a kind without an outcome of its own is under "other".

    Example:
        >>> scales = learnt_scales([Outcome({"widen": 0.1}, 0.2)] * 20)
        >>> round(scales["widen"], 1), 1 < scales["other"] < scales["widen"]
        (2.0, True)
    """
    kinds = sorted({kind for outcome in outcomes for kind in outcome.predicted})
    names = [*kinds, "other"]
    design = np.array(
        [[outcome.predicted.get(kind, 0.0) for kind in names] for outcome in outcomes]
    ).reshape(len(outcomes), len(names))
    saved = np.array([outcome.saved for outcome in outcomes])
    prior = COMMON_SPREAD**2 + OWN_SPREAD**2 * np.eye(len(names))
    doubt = np.array([DOUBT * outcome.trend for outcome in outcomes])
    jumps = np.array([max(outcome.jitter, NOISE) for outcome in outcomes])
    spread = design @ prior @ design.T + np.diag(jumps**2 + doubt**2)
    surprise = np.linalg.solve(spread, saved - design.sum(1)) if outcomes else saved
    scales = 1 + prior @ design.T @ surprise
    return MappingProxyType(
        {name: max(float(scale), LEAST) for name, scale in zip(names, scales, strict=True)}
    )


def elasticity(log_compute: Sequence[float], log_losses: Sequence[float]) -> float:
    """How fast a loss falls as a network trains on: -d log(loss) / d log(compute).

    Args:
        log_compute: logarithms of what was spent when each loss was measured, rising.
        log_losses: of the held-out losses.

    Returns:
        The median of all pairs' slopes (Theil and Sen); negative for a loss that rises.

    Example:
        >>> elasticity([0.0, 1.0, 2.0], [0.0, -0.1, -0.2])
        0.1
    """
    at = list(zip(log_compute, log_losses, strict=True))
    slopes = [
        (first[1] - second[1]) / (second[0] - first[0])
        for i, first in enumerate(at)
        for second in at[i + 1 :]
        if second[0] > first[0]
    ]
    return median(slopes) if slopes else 0.0


def jitter(log_compute: Sequence[float], log_losses: Sequence[float]) -> float:
    """How far single losses are off their trend, as a standard deviation of their logarithms.

    Args:
        log_compute: as for `elasticity`.
        log_losses: likewise.

    Returns:
        The root of the mean square, less the two degrees of freedom that a trend takes; 0 where
        fewer than three losses tell nothing of it.

    Example:
        >>> jitter([0.0, 1.0, 2.0], [0.0, -0.1, -0.2])
        0.0
    """
    if len(log_losses) < 3:
        return 0.0
    slope = elasticity(log_compute, log_losses)
    level = median(y + slope * x for x, y in zip(log_compute, log_losses, strict=True))
    off = [y - level + slope * x for x, y in zip(log_compute, log_losses, strict=True)]
    return math.sqrt(sum(value**2 for value in off) / (len(off) - 2))
