"""Whether a loader gives what a network and a loss take, before a search begins."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import DataError
from neuroexapt.signals.refusal import by_criterion
from neuroexapt.signals.untouched import untouched
from neuroexapt.training.loaders import pairs
from neuroexapt.training.modes import device_of, mode


def check_fits(
    network: nn.Module,
    loader: Iterable[Any],
    criterion: Callable[[Any, Any], Tensor],
    name: str,
) -> None:
    """Refuse a loader whose first batch the network or the loss doesn't take.

    Network and random numbers stay as they are.

    Args:
        network: with decisions.
        loader: yields (inputs, targets).
        criterion: outputs and targets to a loss.
        name: of the loader, for people.

    Raises:
        DataError: saying what came, and what is wrong with it.
    """
    device = device_of(network)
    with untouched(network, device), mode(network, training=False), torch.no_grad():
        inputs, targets = next(pairs(loader, network))
        if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
            raise DataError(f"the first batch of the {name} loader holds inputs that aren't finite")
        came = f"{inputs.dtype} inputs of shape {tuple(inputs.shape)}".removeprefix("torch.")
        try:
            outputs = network(inputs)
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            raise DataError(
                f"the network doesn't run on the first batch of the {name} loader, {came}: {error}"
            ) from error
        _check_classes(outputs, targets, name)
        with by_criterion(outputs, targets):
            criterion(outputs, targets)


def _check_classes(outputs: Any, targets: Tensor, name: str) -> None:
    if not isinstance(outputs, Tensor) or outputs.ndim < 2:
        return
    if targets.is_floating_point() or targets.ndim != outputs.ndim - 1:
        return
    known = targets[targets != nn.CrossEntropyLoss().ignore_index]
    wrong = known[(known < 0) | (known >= outputs.shape[1])]
    if len(wrong):
        raise DataError(
            f"the first batch of the {name} loader has the class {int(wrong[0])}, but the network "
            f"gives {outputs.shape[1]} classes, from 0 on"
        )
