"""A loader's batches without end, and a few of its samples."""

import copy
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import count, islice
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, SequentialSampler

from neuroexapt.errors import DataError
from neuroexapt.training.loaders import pairs, tell_epoch


def endless(loader: Iterable[Any], first: int, taken: int = 0) -> Iterator[Any]:
    """A loader's batches, again and again; a pass is an epoch to it, numbered from `first`.

    Args:
        loader: with the batches.
        first: number of the first pass.
        taken: batches that were taken before. Where the order is the same in every pass, it goes on
            behind these: or what comes late would never come at all.

    Raises:
        DataError: if there are none.
    """
    skipped = taken % max(len(loader), 1) if _is_in_order(loader) else 0  # type: ignore[arg-type]
    for epoch in count(first):
        empty = True
        tell_epoch(loader, epoch)
        for batch in loader:
            empty = False
            if skipped:
                skipped -= 1
                continue
            yield batch
        if empty:
            raise DataError("the loader for alpha yields nothing; give one that isn't used up")


def read_beside(loader: Iterable[Any]) -> Iterable[Any]:
    """A loader that can be read while another reads the one given, without disturbing that.

    A `DataLoader` with persistent workers has one iterator, which starts again for whoever asks.
    """
    if not isinstance(loader, DataLoader) or not loader.persistent_workers:
        return loader
    twin = copy.copy(loader)
    twin._iterator = None
    return twin


def _is_in_order(loader: Iterable[Any]) -> bool:
    """Whether every pass brings the same batches, as far as that is known."""
    if isinstance(loader, DataLoader):
        return isinstance(loader.dataset, Sized) and isinstance(loader.sampler, SequentialSampler)
    return isinstance(loader, Sequence)


def in_parts(
    loader: Iterable[Any], num_samples: int, num_parts: int, network: nn.Module
) -> list[tuple[Any, Any]]:
    """A loader's first samples, at most so many, in parts of one size."""
    inputs, targets, seen = [], [], 0
    for x, y in pairs(loader, network):
        inputs.append(x)
        targets.append(y)
        seen += len(x)
        if seen >= num_samples:
            break
    size = max(min(seen, num_samples) // num_parts, 1)
    found = zip(torch.cat(inputs).split(size), torch.cat(targets).split(size), strict=True)
    return list(islice(found, num_parts))
