"""Whether a metric has stopped rising, noise aside."""

import math
from collections.abc import Sequence
from statistics import NormalDist, median


def trend(values: Sequence[float]) -> tuple[float, float]:
    """The typical rise a step, and the chance of as clear a rise without any trend.

    Both go by order and medians, so that one outlier, however far out, changes little.

    Args:
        values: at least 3, in the order of time.

    Returns:
        The median of all pairs' slopes (Theil and Sen), and the one-sided p-value of Mann and
        Kendall's test (normal approximation, corrected for ties).

    Raises:
        ValueError: if there are fewer than 3.

    Example:
        >>> slope, p_value = trend([0.1, 0.2, 0.3, 0.4, 9.0])
        >>> round(slope, 2), p_value < 0.02
        (0.1, True)
    """
    count = len(values)
    if count < 3:
        raise ValueError(f"a trend needs at least 3 values, got {count}")
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    slope = median((values[j] - values[i]) / (j - i) for i, j in pairs)
    score = sum((values[j] > values[i]) - (values[j] < values[i]) for i, j in pairs)
    ties = [values.count(value) for value in set(values)]
    variance = _spread(count) - sum(_spread(tied) for tied in ties)
    if variance <= 0:
        return slope, 1.0
    shifted = score - 1 if score > 0 else score + 1 if score < 0 else 0
    return slope, 1 - NormalDist().cdf(shifted / math.sqrt(variance))


def _spread(count: int) -> float:
    return count * (count - 1) * (2 * count + 5) / 18


def is_plateau(
    metrics: Sequence[float], window: int = 8, min_gain: float = 0.0, alpha: float = 0.1
) -> bool:
    """Whether the last values no longer rise.

    Args:
        metrics: one value an epoch, larger is better.
        window: how many of the last values count; fewer in all are no plateau yet.
        min_gain: rise over the window, by its typical slope, under which it counts as none.
        alpha: a rise is believed if chance would show one as clear more seldom than this.

    Raises:
        ValueError: if `window` is under 5: no rise could be told from chance.

    Example:
        >>> is_plateau([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
        False
        >>> is_plateau([0.1, 0.7, 0.8, 0.79, 0.81, 0.8, 0.78, 0.81, 0.8, 0.79])
        True
    """
    if window < 5:
        raise ValueError(f"window is {window}; a rise can't be told from chance in under 5 values")
    if len(metrics) < window:
        return False
    slope, p_value = trend(list(metrics[-window:]))
    return p_value > alpha or slope * (window - 1) < min_gain
