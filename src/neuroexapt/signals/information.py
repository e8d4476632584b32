"""Mutual information of a unit's activation and the class."""

import torch
from torch import Tensor


def class_information(
    activations: Tensor, classes: Tensor, bins: int = 16, *, corrected: bool = True
) -> Tensor:
    """What each unit's activation tells about the class, in nats.

    Values fall into bins of equal width between the unit's smallest and largest. The plug-in
    estimate of few samples is too large by about (bins - 1) (classes - 1) / (2 n), counting only
    bins and classes that occur; `corrected` subtracts that (Miller 1955), so that a unit that knows
    nothing has about 0, and possibly less. With fewer samples than about five for each bin and
    class, the correction is too small.

    Args:
        activations: shape (units, n), finite.
        classes: shape (n,), int64.
        bins: at least 2.
        corrected: whether to subtract the bias.

    Returns:
        Float64 of shape (units,); at most log(classes).

    Raises:
        ValueError: if the shapes don't fit, n is 0, or a value isn't finite.

    Example:
        >>> activations = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])
        >>> classes = torch.tensor([0, 0, 1, 1])
        >>> class_information(activations, classes, bins=2, corrected=False)
        tensor([0.6931, 0.0000], dtype=torch.float64)
    """
    if activations.ndim != 2 or classes.shape != activations.shape[1:] or not classes.numel():
        raise ValueError(
            f"activations have shape {tuple(activations.shape)} and classes "
            f"{tuple(classes.shape)}; give (units, n) and (n,) with n at least 1"
        )
    if bins < 2:
        raise ValueError(f"bins is {bins}; give at least 2")
    if not bool(activations.isfinite().all()):
        raise ValueError("activations hold values that are not finite")
    values = activations.double()
    low, high = values.aminmax(dim=1, keepdim=True)
    width = torch.where(high > low, high - low, 1)
    binned = ((values - low) / width * bins).long().clamp_max(bins - 1)
    known, labels = classes.unique(return_inverse=True)
    counts = values.new_zeros(len(values), bins * len(known))
    counts.scatter_add_(1, binned * len(known) + labels, torch.ones_like(values))
    table = counts.view(len(values), bins, len(known)) / classes.numel()
    information = _entropy(table.sum(2)) + _entropy(table.sum(1)) - _entropy(table.flatten(1))
    if not corrected:
        return information.clamp_min(0)
    occurring = (table.sum(2) > 0).sum(1)
    return information - (occurring - 1) * (len(known) - 1) / (2 * classes.numel())


def _entropy(shares: Tensor) -> Tensor:
    """In nats, over the last dimension."""
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy
