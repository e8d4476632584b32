"""A model's loss on some data, as sensing reckons it."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from neuroexapt.graph import LivingModel
from neuroexapt.signals.pairs import checked, moved
from neuroexapt.signals.refusal import by_criterion, by_model
from neuroexapt.signals.untouched import untouched


def mean_loss(
    living: LivingModel, batches: Iterable[Any], criterion: Callable[[Any, Any], Tensor]
) -> float:
    """The mean over all samples, in eval mode; what `Readings.loss` is on the same batches.

    Args:
        living: the model.
        batches: pairs (inputs, targets).
        criterion: as for `sense`.

    Returns:
        The loss; not a number, or infinite, if the model's is.

    Raises:
        DataError: if the model or the criterion doesn't take a batch.
        ZeroDivisionError: if there is none.

    Example:
        >>> from torch import nn, ones
        >>> living = LivingModel(nn.Linear(2, 1), ones(2, 2))
        >>> mean_loss(living, [(ones(4, 2), ones(4, 1))], lambda outputs, targets: targets.sum())
        4.0
    """
    device = next(chain(living.parameters(), living.buffers()), torch.zeros(())).device
    total, num_samples = 0.0, 0
    with untouched(living.graph_module, device), torch.no_grad():
        living.graph_module.eval()
        for inputs, targets in checked(batches):
            given = inputs.to(device)
            with by_model(living, given):
                outputs = living(*given.args, **given.kwargs)
            wanted = moved(targets, device)
            with by_criterion(outputs, wanted):
                total += float(summed_loss(criterion, outputs, wanted, given.batch_size))
            num_samples += given.batch_size
    return total / num_samples


def summed_loss(
    criterion: Callable[[Any, Any], Tensor], outputs: Any, targets: Any, num_samples: int
) -> Tensor:
    """The sum of the samples' losses."""
    loss = criterion(outputs, targets)
    if loss.ndim or getattr(criterion, "reduction", "mean") == "sum":
        return loss.sum()
    return loss * num_samples
