"""Checks that the choice between operations still moves."""

from collections.abc import Sequence

from neuroexapt.search.alpha import SATURATED
from neuroexapt.search.finding import Finding, Severity
from neuroexapt.search.movement import Movement
from neuroexapt.search.temperature import Annealing

STILL = 1e-3
"""Change of softmax(alpha) in a window of epochs under which nothing has moved."""
EVEN = 0.95
"""Entropy of softmax(alpha) above which there is hardly a preference."""
OPEN = 0.5
"""Entropy of softmax(alpha) above which decisions are still open."""
SATURATING = 0.5
"""Share of saturated samples above which alpha hardly gets a gradient."""
SOFT = 0.3
"""Temperature at which a third of the samples at most are saturated, while alpha is even."""
TEN_TIMES = 10


def alpha_stagnation(movements: Sequence[Movement], lr: float) -> Finding:
    """Whether alpha stands still without having decided.

    Args:
        movements: of the epochs of a window in which alpha was trained; one at least.
        lr: alpha's learning rate.
    """
    moved = sum(movement.largest for movement in movements)
    flips = sum(movement.flips for movement in movements)
    entropy = movements[-1].entropy
    stuck = moved < STILL and not flips and entropy > EVEN
    severity: Severity = "critical" if stuck else "notice" if entropy > EVEN else "ok"
    told = (
        f"over {len(movements)} epochs a probability changed by {moved:.2g} at most, "
        f"{flips or 'no'} {'choice' if flips == 1 else 'choices'} turned, and the entropy is "
        f"{entropy:.2f}"
    )
    meaning = {
        "ok": f"Alpha decides: {told}.",
        "notice": f"Alpha moves, but hasn't decided anything yet: {told}.",
        "critical": f"Alpha stands still before it has decided anything: {told}.",
    }[severity]
    return Finding(
        check="alpha stagnation",
        severity=severity,
        value=moved,
        threshold=f"below {STILL:g}, no flips, and entropy above {EVEN:g}",
        meaning=meaning,
        remedy="" if severity == "ok" else f"AlphaConfig(lr={TEN_TIMES * lr:g})",
    )


def gumbel_saturation(
    share: float, entropy: float, temperature: float, jacobian: float | None = None
) -> Finding:
    """Whether draws are as good as hard while alpha hasn't decided, so that it can't learn.

    Args:
        share: of the samples with a value above `SATURATED`.
        entropy: of softmax(alpha), 0 to 1.
        temperature: of the draws.
        jacobian: median norm of a sample's derivative in alpha; None where it wasn't measured.
    """
    saturated = share > SATURATING
    severity: Severity = "ok" if not saturated else "critical" if entropy > OPEN else "notice"
    derivative = "" if jacobian is None else f", and half of the Jacobians are under {jacobian:.2g}"
    told = f"{share:.0%} of the samples are above {SATURATED:g} at temperature {temperature:.2g}"
    decided = f"at an entropy of {entropy:.2f}"
    meaning = {
        "ok": f"Draws are soft enough: {told}{derivative}.",
        "notice": f"Draws are hard: {told}{derivative}; but {decided}, alpha has mostly decided.",
        "critical": f"Hardly a gradient gets to alpha: {told}{derivative}; and {decided}, alpha "
        "hasn't decided.",
    }[severity]
    return Finding(
        check="Gumbel saturation",
        severity=severity,
        value=share,
        threshold=f"above {SATURATING:g}, while alpha's entropy is above {OPEN:g}",
        meaning=meaning,
        remedy="" if severity == "ok" else softer(temperature),
    )


def temperature_at_floor(
    temperature: float, annealing: Annealing, share: float | None, entropy: float
) -> Finding:
    """Whether the temperature can't fall any more, although alpha hasn't decided.

    Args:
        temperature: as it is.
        annealing: how it changes.
        share: of saturated samples; None where it isn't known.
        entropy: of softmax(alpha), 0 to 1.
    """
    floored = temperature <= annealing.floor
    harms = floored and entropy > OPEN and share is not None and share > SATURATING
    reheated = annealing.reheat_every is not None and annealing.reheat_to > annealing.floor
    return Finding(
        check="temperature at its floor",
        severity="warning" if harms else "notice" if floored else "ok",
        value=temperature,
        threshold=f"at {annealing.floor:g}",
        meaning=(
            f"The temperature is at its floor, {annealing.floor:g}, "
            f"{'until it is reheated' if reheated else 'for good'}; alpha's entropy is still "
            f"{entropy:.2f}."
            if floored
            else f"The temperature is {temperature:.3g}, above its floor."
        ),
        remedy=softer(temperature) if harms else "",
    )


def softer(temperature: float) -> str:
    """Draws at a higher temperature, as something to type."""
    floor = max(SOFT, 3 * temperature)
    return f'Annealing(start={max(2.0, floor):g}, floor={floor:g}, rate=0.995, each="epoch")'
