"""Look at a search without leaving a trace in it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import DataError
from neuroexapt.signals.untouched import untouched
from neuroexapt.training.loaders import check_repeatable, pairs, tell_epoch
from neuroexapt.training.modes import device_of


@contextmanager
def undisturbed(network: nn.Module, loaders: Iterable[Iterable[Any]]) -> Iterator[None]:
    """Put back what measuring changes: modes, buffers, what runs, and all random numbers.

    Gradients that wait in `.grad` and the weights are for the body to leave alone.

    Args:
        network: with decisions.
        loaders: that are drawn from inside; generators of their own, and the epoch that they were
            told, are put back too. Those that know their epoch are told the first one, so that
            they bring the same samples whenever it is looked.
    """
    told = [(loader, epoch) for loader in loaders if (epoch := _epoch(loader)) is not None]
    held = [(g, g.get_state()) for loader in loaders for g in _generators(loader)]
    with untouched(network, device_of(network)):
        try:
            for loader, _ in told:
                tell_epoch(loader, 0)
            yield
        finally:
            for generator, state in held:
                generator.set_state(state)
            for loader, epoch in told:
                tell_epoch(loader, epoch)


def first_samples(
    loader: Iterable[Any], count: int, network: nn.Module
) -> list[tuple[Tensor, Tensor]]:
    """A loader's first samples, in its batches, of which the last is cut; fewer if it has no more.

    Raises:
        DataError: if the loader yields nothing usable, or is used up by being looked at.
    """
    check_repeatable(loader)
    found: list[tuple[Tensor, Tensor]] = []
    left = max(count, 2)  # norms can't go by less
    for inputs, targets in batches(loader, network):
        found.append((inputs[:left], targets[:left]))
        left -= len(inputs)
        if left < 2:
            break
    return found


def batches(loader: Iterable[Any], network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """A loader's batches, but those of a single sample, which norms can't go by in train mode.

    Raises:
        DataError: if the loader yields nothing usable.
    """
    empty = True
    for inputs, targets in pairs(loader, network):
        if len(inputs) > 1:
            empty = False
            yield inputs, targets
    if empty:
        raise DataError(
            "the loader yields single samples, which norms can't be trained on; give batches of 2 "
            "samples or more"
        )


def _generators(loader: Iterable[Any]) -> list[torch.Generator]:
    """Those that a `DataLoader` draws from, but torch's own."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = (
        loader,
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
    )
    found = [getattr(part, "generator", None) for part in parts]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def _epoch(loader: object) -> int | None:
    """Which epoch a loader was told, if it tells."""
    epoch = getattr(loader, "epoch", None)
    return epoch if hasattr(loader, "set_epoch") and isinstance(epoch, int) else None
