"""Whether there is anything to gain at all, or only noise."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from neuroexapt.signals import Gains

CHANCE = 0.2
"""How often, at most, noise alone may pass for something to gain, whatever is proposed."""
ENOUGH = 1024
"""Samples from which nothing found means that there is nothing; looks are put together for them."""


@dataclass(frozen=True)
class Look:
    """What one sensing showed of all edits together.

    Attributes:
        num_samples: that were looked at.
        whole: the mean of all edits' gains in its standard errors.
        beyond: likewise of what the last layer can't do about the loss.
        alone: whether any single edit's gain stood out, by Bonferroni's bound.
    """

    num_samples: int
    whole: float
    beyond: float
    alone: bool

    @classmethod
    def of(cls, gains: Gains) -> "Look":
        """What a measurement of gains showed."""
        freedom = max(gains.num_parts - 1, 1)
        bound = -stdtrit(freedom, CHANCE / 4 / max(len(gains.found), 1))
        return cls(
            gains.num_samples,
            whole=_in_errors(*gains.together),
            beyond=_in_errors(*gains.together_beyond),
            alone=any(
                gain.gain > bound * gain.error or gain.beyond > bound * gain.beyond_error
                for gain in gains.found
            ),
        )


def anything_to_gain(looks: Sequence[Look]) -> bool | None:
    """Whether edits could do anything about the loss, beyond noise; None with too few samples.

    There are dozens of edits, so that some gain often exceeds two standard errors by chance. Four
    questions are asked, each of which noise answers with yes in at most a quarter of `CHANCE` (in
    far less, since the errors of gains are too large where there is no signal: see `jackknife`):
    whether the edits gain anything together, where many gain a little; and whether any one does,
    where only one kind of edit would help; both of the whole loss and of what the last layer can't
    do about it. Where sensing can afford few samples at a time, the latest looks count together
    (Stouffer's sum of their standard scores, each by the root of its samples): what the network
    gained by growing between them only makes it less likely that there still is something.

    Args:
        looks: the latest one last.

    Example:
        >>> anything_to_gain([Look(512, 1.5, 0.2, alone=False)])
        >>> anything_to_gain([Look(512, 1.5, 0.2, alone=False)] * 2)
        True
        >>> anything_to_gain([Look(1024, 0.5, 0.2, alone=False)])
        False
    """
    latest: list[Look] = []
    for look in reversed(looks):
        latest.append(look)
        if sum(one.num_samples for one in latest) >= ENOUGH:
            break
    else:
        return True if any(look.alone for look in latest) else None
    weights = np.sqrt([look.num_samples for look in latest])
    scores = np.array([[look.whole, look.beyond] for look in latest])
    together = weights @ scores / np.linalg.norm(weights)
    return bool(together.max() > -ndtri(CHANCE / 4)) or any(look.alone for look in latest)


def _in_errors(value: float, error: float) -> float:
    return value / error if error > 0 and np.isfinite(error) else 0.0
