"""What a user's data loader yields, checked."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import DataError
from neuroexapt.training.layout import laid_out, takes_channels_last
from neuroexapt.training.modes import device_of


def first_batch(loader: Iterable[Any]) -> tuple[Tensor, Tensor]:
    """Return a loader's first batch.

    Args:
        loader: yields pairs (inputs, targets) of tensors; can be iterated over again.

    Raises:
        DataError: if it yields nothing or anything else, or is used up by iterating once.
    """
    check_repeatable(loader)
    return next(pairs(loader))


def check_repeatable(loader: Iterable[Any]) -> None:
    """Refuse what is used up by iterating once.

    Raises:
        DataError: saying what it is, and what to give instead.
    """
    if isinstance(loader, Iterator):
        raise DataError(f"the loader can't be iterated over again; {_used_up(loader)}")


def tell_epoch(loader: Iterable[Any], epoch: int) -> None:
    """Let a loader with `set_epoch` know which epoch its batches are for, so that they differ."""
    if hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch)


def drawing(loader: object) -> list[object]:
    """A loader, and what its batches are drawn by."""
    batches = getattr(loader, "batch_sampler", None)
    samples = getattr(loader if batches is None else batches, "sampler", None)
    return [loader, batches, samples]


@contextmanager
def generators_kept(loaders: Iterable[Any]) -> Iterator[list[torch.Generator]]:
    """Inside, loaders draw from generators of their own, given; afterwards these are as before."""
    generators = [
        generator
        for loader in loaders
        for part in drawing(loader)
        if isinstance(generator := getattr(part, "generator", None), torch.Generator)
    ]
    states = [generator.get_state() for generator in generators]
    try:
        yield generators
    finally:
        for generator, state in zip(generators, states, strict=True):
            generator.set_state(state)


def pairs(loader: Iterable[Any], model: nn.Module | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield a loader's batches, checked and as a model takes them.

    Args:
        loader: yields pairs (inputs, targets) of tensors with the same number of samples.
        model: batches are moved to where it is, and laid out with their channels first if channels
            last would make its gradients wrong; None leaves them as they are.

    Yields:
        Inputs of shape (B, ...) and targets of shape (B, ...), B at least 1.

    Raises:
        DataError: naming the batch, if it is anything else, or there is none.
    """
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise DataError(
            f"a {type(loader).__name__} is no loader; give what yields pairs (inputs, targets) of "
            "tensors, such as a DataLoader or a list of batches"
        )
    device = None if model is None else device_of(model)
    channels_last = model is None or takes_channels_last(model)
    empty = True
    for number, batch in enumerate(loader):
        empty = False
        inputs, targets = _pair(batch, number)
        yield (
            laid_out(inputs.to(device, non_blocking=True), channels_last=channels_last),
            targets.to(device, non_blocking=True),
        )
    if empty and isinstance(loader, Iterator):
        raise DataError(f"the loader yields no batch; {_used_up(loader)}")
    if empty:
        raise DataError(
            "the loader yields no batch; its data set is empty, or smaller than one batch while "
            "incomplete batches are dropped"
        )


def _used_up(loader: Iterator[Any]) -> str:
    return (
        f"it is an iterator ({type(loader).__name__}), which one pass uses up; give what it was "
        "made from, such as a DataLoader or a list of batches"
    )


def _pair(batch: object, number: int) -> tuple[Tensor, Tensor]:
    rule = "a loader yields pairs (inputs, targets) of tensors"
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        found = f"{len(batch)} parts" if isinstance(batch, (tuple, list)) else "no pair"
        raise DataError(f"batch {number} is a {type(batch).__name__} of {found}; {rule}")
    inputs, targets = batch
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        raise DataError(
            f"batch {number} is ({type(inputs).__name__}, {type(targets).__name__}); {rule}"
        )
    if not inputs.ndim or not targets.ndim or len(inputs) != len(targets) or not len(inputs):
        raise DataError(
            f"batch {number} has inputs of shape {tuple(inputs.shape)} and targets of shape "
            f"{tuple(targets.shape)}; both begin with the same number of samples, at least 1"
        )
    return inputs, targets
