"""How architecture parameters moved."""

import math
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict
from torch import Tensor


class Movement(BaseModel):
    """What happened to all decisions together between two moments.

    Attributes:
        change: sum of |change of softmax(alpha)| over a decision's operations, mean over decisions.
        largest: largest |change of softmax(alpha)| of any operation.
        flips: decisions whose likeliest operation is another one.
        entropy: of softmax(alpha) at the end, over its maximum, mean over decisions: 1 for no
            preference, 0 for certainty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    change: float
    largest: float
    flips: int
    entropy: float


def movement(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> Movement:
    """Compare softmax(alpha) of every decision at two moments.

    Args:
        before: decision -> shape (operations,).
        after: likewise; decisions that are new by then only count for the entropy.

    Example:
        >>> import torch
        >>> found = movement({"d": torch.tensor([0.6, 0.4])}, {"d": torch.tensor([0.4, 0.6])})
        >>> round(found.change, 6), round(found.largest, 6), found.flips
        (0.4, 0.2, 1)
    """
    pairs = [(before[name], after[name]) for name in before if name in after]
    changes = [(new - old).abs() for old, new in pairs]
    return Movement(
        change=_mean([float(change.sum()) for change in changes]),
        largest=max((float(change.max()) for change in changes), default=0.0),
        flips=sum(int(old.argmax()) != int(new.argmax()) for old, new in pairs),
        entropy=_mean([normalised_entropy(of) for of in after.values()]),
    )


def normalised_entropy(probabilities: Tensor) -> float:
    """Entropy over its maximum, 0 to 1.

    Args:
        probabilities: shape (operations,), two at least.
    """
    logs = probabilities.clamp_min(1e-12).log()
    return float(-(probabilities * logs).sum()) / math.log(len(probabilities))


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
