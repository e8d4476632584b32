"""Checks that architecture parameters and weights are trained apart, and each enough."""

import math

from neuroexapt.search.balance import Rate
from neuroexapt.search.config import SearchConfig
from neuroexapt.search.finding import Finding, not_measured
from neuroexapt.search.overlap import DUPLICATES, Overlap
from neuroexapt.search.stagnation import softer

ENOUGH = 0.5
"""Alpha's steps for each of the weights': half of what DARTS and GDAS take."""
BALANCED = (1e-3, 1e3)
"""Alpha's relative rate over the weights': within these both learn at once."""
TEN_TIMES = 10
"""By how much a learning rate is to be changed at most: Adam's steps are as long as it says,
however small the gradient."""


def leakage(config: SearchConfig, alpha_steps: int) -> Finding:
    """Whether alpha is trained on the data that the weights are trained on.

    Args:
        config: of the search.
        alpha_steps: that were taken so far.
    """
    leaks = config.alpha.data == "training"
    steps = f"{alpha_steps:,} steps so far"
    return Finding(
        check="leakage",
        severity="critical" if leaks else "ok",
        value=float(leaks),
        threshold="any of alpha's data is training data",
        meaning=(
            f"Alpha is trained on the weights' training data ({steps}), so that it prefers what "
            "learns these by heart."
            if leaks
            else f"Alpha is trained on held-out data ({steps})."
        ),
        remedy='AlphaConfig(data="held-out")' if leaks else "",
    )


def shared_samples(found: Overlap | None) -> Finding:
    """Whether the loaders give the same samples.

    Args:
        found: what they share; None where that can't be seen.
    """
    if found is None:
        return not_measured(
            "shared samples",
            "the loaders are of a kind that doesn't show which samples they take; give DataLoaders "
            "over subsets of one data set, or lists of batches",
        )
    told = f"{found.shared:,} held-out samples of {found.held_out:,} are in the training loader too"
    return Finding(
        check="shared samples",
        severity="critical" if found.leaks else "notice" if found.shared else "ok",
        value=found.shared,
        threshold=f"above 0; by their values above {DUPLICATES:.0%} and what each repeats",
        meaning=(
            f"{told}, so that held-out figures tell what is known by heart."
            if found.leaks
            else f"{told}, so few that they may be duplicates in the data."
            if found.shared
            else "The two loaders share no sample."
        ),
        remedy="torch.utils.data.random_split(data, [0.5, 0.5])" if found.leaks else "",
    )


def alpha_steps(
    alpha: int, weights: int, expected: float, config: SearchConfig, operations: int | None = None
) -> Finding:
    """Whether alpha takes enough steps, for the weights and for coming to a decision.

    Args:
        alpha: its steps, over whole turns.
        weights: steps of the weights meanwhile.
        expected: alpha's steps in the whole search, at this rate.
        config: of the search.
        operations: of a decision, which tells how far alpha has to move; None if it isn't known.
    """
    share, lr = alpha / weights, config.alpha.lr
    reach, needed = expected * lr, _to_decide(operations)
    few, short = share < ENOUGH, reach < needed
    told = f"Alpha steps {share:.2g} times for each step of the weights"
    distance = (
        f"in the whole search, {expected:,.0f} steps of {lr:g} move it by {reach:.2g} or so, and "
        f"for an even chance of one operation it takes {needed:.2g}"
    )
    return Finding(
        check="too few alpha steps",
        severity="warning" if few else "notice" if short else "ok",
        value=share,
        threshold=f"below {ENOUGH:g} a weight step",
        meaning=f"{told}{', and once in DARTS and GDAS' if few else ''}"
        f"{f'; {distance}' if short else ''}.",
        remedy='AlphaConfig(every=1, unit="batches")'
        if few
        else f"AlphaConfig(lr={lr * needed / reach:.1g})"
        if short
        else "",
    )


def never_stepped(config: SearchConfig) -> Finding:
    """What is to be said of a search that ended before alpha had a turn.

    Args:
        config: of the search.
    """
    return Finding(
        check="too few alpha steps",
        severity="critical",
        value=0.0,
        threshold=f"below {ENOUGH:g} a weight step",
        meaning=(
            "The search is over and alpha has taken no step, so that nothing was chosen but by "
            f"chance: it ended before alpha's first turn, which comes after {config.warmup} epochs "
            f"of warm-up, once in {config.alpha.every} {config.alpha.unit}."
        ),
        remedy=f"SearchConfig(warmup={config.warmup // 4})" if config.warmup > 1 else "",
    )


def _to_decide(operations: int | None) -> float:
    """How far the parameters have to move until one operation has half of the probability.

    That of K has when its parameter is ln(K - 1) above the others, which half way come down.
    """
    return math.log(max(operations - 1, 1)) / 2 if operations is not None else 0.0


def gradient_imbalance(
    alpha: Rate | None, weights: Rate | None, config: SearchConfig, temperature: float
) -> Finding:
    """Whether one of the two moves so much faster that the other stands still for it.

    Args:
        alpha: how fast the architecture parameters would be moved; None if that isn't known.
        weights: likewise, at the peak of their learning rate.
        config: of the search.
        temperature: of the draws.
    """
    low, high = BALANCED
    threshold = f"outside {low:g} to {high:g}"
    if alpha is None or weights is None or not math.isfinite(alpha.gradient + weights.gradient):
        return not_measured("gradient imbalance", "a gradient isn't finite")
    if not alpha.gradient:
        return Finding(
            check="gradient imbalance",
            severity="critical",
            value=0.0,
            threshold=threshold,
            meaning="No gradient at all gets through to alpha, so that it isn't learnt.",
            remedy=_louder(config, temperature),
        )
    if not alpha.length or not weights.relative:
        what = "alpha is all zeros" if not alpha.length else "the weights have no gradient"
        return not_measured("gradient imbalance", f"{what}, so that rates can't be compared")
    ratio = alpha.relative / weights.relative
    apart = not low <= ratio <= high
    slower = "slower" if ratio < low else "faster"
    return Finding(
        check="gradient imbalance",
        severity="warning" if apart else "ok",
        value=ratio,
        threshold=threshold,
        meaning=(
            f"A step of descent would move alpha {ratio:.2g} times as far as the weights, relative "
            f"to their lengths: so much {slower} that they don't learn together."
            if apart
            else f"Alpha and weights move at rates that fit ({ratio:.2g} to 1)."
        ),
        remedy=_rebalanced(alpha.lr, ratio, config, temperature) if apart else "",
    )


def _rebalanced(lr: float, ratio: float, config: SearchConfig, temperature: float) -> str:
    """Another learning rate, or where none would do, draws that tell alpha more."""
    if ratio * TEN_TIMES < BALANCED[0]:
        return _louder(config, temperature)
    factor = min(max(1 / ratio, 1 / TEN_TIMES), TEN_TIMES)
    return f"AlphaConfig(lr={lr * factor:.1g})"


def _louder(config: SearchConfig, temperature: float) -> str:
    """What makes the gradient in alpha larger: more operations heard, or else softer draws."""
    if config.relaxation == "softmax":
        return f"AlphaConfig(lr={TEN_TIMES * config.alpha.lr:.1g})"
    hears_one = config.alpha.num_running == 1
    return "AlphaConfig(num_running=2)" if hears_one else softer(temperature)
