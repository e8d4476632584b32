"""Checks of what holds performance back: no learning, collapse, operations that overfit."""

import math
from collections.abc import Sequence

from neuroexapt.search.agreement import AGREES, Agreements
from neuroexapt.search.collapse import COLLAPSED, LAG, WINDOW, rises
from neuroexapt.search.config import FEWEST, SearchConfig
from neuroexapt.search.finding import Finding, Severity, not_measured
from neuroexapt.search.stagnation import EVEN

SUSPICIOUS, MANY = 2 / 8, 3 / 8
"""Shares of skips that are published as signs of collapse."""
RISING, STEEP = 1.3, 1.5
"""Ratios of eigenvalues: the first misses no collapse but is a false alarm half of the time."""
GAP = 0.1
"""Accuracy that is a lot to lose by deriving."""
SKIP = "skip_connect"


def not_learning(
    accuracy: float, majority: float, lr: float, num_samples: int | None = None
) -> Finding:
    """Whether the network is no better than to name the most frequent class always.

    Args:
        accuracy: of the supernet on held-out data, 0 to 1.
        majority: share of the most frequent class.
        lr: of the weights, at its peak.
        num_samples: that the accuracy was measured on; None if it isn't known.
    """
    error = math.sqrt(majority * (1 - majority) / num_samples) if num_samples else 0.0
    limit = majority + 2 * error
    learns = accuracy > limit
    told = f"{accuracy:.1%} of held-out data are classified correctly"
    always = f"naming one class always would get {majority:.1%}"
    return Finding(
        check="not learning",
        severity="ok" if learns else "critical",
        value=accuracy,
        threshold=f"at most {limit:.3f}",
        meaning=(
            f"The network learns: {told}, and {always}."
            if learns
            else f"The network doesn't learn: {told}, which is no more than chance, as {always}."
        ),
        remedy="" if learns else f"Recipe(lr={lr / 5:.2g})",
    )


def broken(reason: str, lr: float) -> Finding:
    """What is to be said of a network whose loss isn't finite."""
    return Finding(
        check="not learning",
        severity="critical",
        threshold="a loss that isn't finite",
        meaning=f"The network computes nothing of use: {reason}.",
        remedy=f"Recipe(lr={lr / 5:.2g})",
    )


def skip_dominance(choices: Sequence[str], entropy: float, weight_decay: float) -> Finding:
    """Whether many decisions come to skip, which is how searches collapse.

    Args:
        choices: the likeliest operation of each decision that may be a skip.
        entropy: of softmax(alpha), 0 to 1; choices of an even alpha are chance.
        weight_decay: of the weights.
    """
    if not choices:
        return not_measured("skip dominance", "there is no skip to choose")
    share = sum(choice == SKIP for choice in choices) / len(choices)
    severity: Severity = (
        "ok" if share < SUSPICIOUS else "notice" if share < MANY or entropy > EVEN else "warning"
    )
    if share >= COLLAPSED and entropy <= EVEN:
        severity = "critical"
    even = share >= SUSPICIOUS and entropy > EVEN
    chance = ", by chance so far, as alpha is nearly even" if even else ""
    return Finding(
        check="skip dominance",
        severity=severity,
        value=share,
        threshold=f"from {SUSPICIOUS:g}; {MANY:g} is many, {COLLAPSED:g} collapsed",
        meaning=f"{share:.0%} of {len(choices)} decisions come to skip{chance}.",
        remedy=f"Recipe(weight_decay={3 * weight_decay or 3e-4:.1g})" if severity != "ok" else "",
    )


def curvature(eigenvalues: Sequence[float], weight_decay: float) -> Finding:
    """Whether the held-out loss curves ever more sharply in alpha.

    With fewer measurements than the published rule takes, averages are shorter, and what they tell
    is a notice at most.

    Args:
        eigenvalues: the largest of its Hessian, one a measurement, earliest first.
        weight_decay: of the weights.

    Source: RobustDARTS, Zela et al. 2020, arXiv:1909.09656, section 4.3.
    """
    count = len(eigenvalues)
    window, lag = min(WINDOW, (count + 1) // 2), min(LAG, count // 2)
    found = rises(eigenvalues, window, lag) if count >= FEWEST else []
    if not found:
        now = f"; it is {eigenvalues[-1]:.3g} now" if eigenvalues else ""
        return not_measured(
            "curvature",
            f"the rise of the largest eigenvalue takes {FEWEST} measurements above 0, of which "
            f"there are {count}{now}",
        )
    ratio, few = max(found), count < WINDOW + LAG
    severity: Severity = (
        "warning" if ratio > STEEP and not few else "notice" if ratio > RISING else "ok"
    )
    only = f", of which there are only {count}" if few else ""
    return Finding(
        check="curvature",
        severity=severity,
        value=ratio,
        threshold=f"above {RISING:g}; {STEEP:g} is steep",
        meaning=(
            "The largest eigenvalue of the held-out loss in alpha came to at most "
            f"{ratio:.2f} times what it was {lag} measurements before{only}"
            f"{', as it does before a collapse' if severity != 'ok' else ''}."
        ),
        remedy=f"Recipe(weight_decay={3 * weight_decay or 3e-4:.1g})" if severity != "ok" else "",
    )


def operation_overfit(found: Agreements | None, batch_size: int) -> Finding:
    """Whether operations learn what isn't true of held-out data.

    Batches are noisy, so that even training batches agree little with each other. Only where these
    do, and held-out ones agree with them less than half as much, noise is no explanation.

    Args:
        found: of all operations; None where there was nothing to compare.
        batch_size: of the training batches.
    """
    if found is None:
        return not_measured(
            "operation overfit",
            "no operation has weights that get a gradient, or a batch has fewer than four samples",
        )
    value, noise = found.held_out, found.training
    overfits = noise >= AGREES and value < noise / 2
    severity: Severity = "ok" if value >= AGREES else "warning" if overfits else "notice"
    told = (
        f"training and held-out gradients of half of the operations have a cosine under "
        f"{value:.2f}, training batches among each other {noise:.2f}"
    )
    meaning = {
        "ok": f"Operations learn what is true of held-out data: {told}.",
        "notice": f"Overfitting can't be told from noise: {told}.",
        "warning": f"{found.few} of {found.count} operations overfit, {found.worst} most: {told}.",
    }[severity]
    return Finding(
        check="operation overfit",
        severity=severity,
        value=value,
        threshold=f"below {AGREES:g}, and training batches twice as much",
        meaning=meaning,
        remedy={
            "ok": "",
            "notice": f"torch.utils.data.DataLoader(data, batch_size={4 * batch_size})",
            "warning": "torch.utils.data.random_split(data, [0.7, 0.3])",
        }[severity],
    )


def discretisation_gap(supernet: float, derived: float, config: SearchConfig) -> Finding:
    """Whether much is lost by deriving.

    Args:
        supernet: accuracy of the network as it is trained, 0 to 1.
        derived: of the likeliest operations alone, with the same weights.
        config: of the search.
    """
    gap = supernet - derived
    large = gap > GAP
    remedy = (
        'SearchConfig(relaxation="gumbel")'
        if config.relaxation == "softmax"
        else f'config.model_copy(update={{"final": {round(0.8 * config.epochs)}}})'
    )
    return Finding(
        check="discretisation gap",
        severity="warning" if large else "ok",
        value=gap,
        threshold=f"above {GAP:g}",
        meaning=(
            f"The network as it is trained gets {supernet:.1%} of held-out data right, the "
            f"likeliest operations alone {derived:.1%}"
            + (": the weights count on what is dropped." if large else ".")
        ),
        remedy=remedy if large else "",
    )
