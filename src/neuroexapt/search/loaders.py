"""A loader's batches without end, and a few of its samples."""

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

import torch

from neuroexapt.errors import DataError
from neuroexapt.training.loaders import pairs, tell_epoch


def endless(loader: Iterable[Any], first: int) -> Iterator[Any]:
    """A loader's batches, again and again; a pass is an epoch to it, numbered from `first`.

    Raises:
        DataError: if there are none.
    """
    for epoch in count(first):
        empty = True
        tell_epoch(loader, epoch)
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DataError("the loader for alpha yields nothing; give one that isn't used up")


def in_parts(
    loader: Iterable[Any], num_samples: int, num_parts: int, device: torch.device
) -> list[tuple[Any, Any]]:
    """A loader's first samples, at most so many, in parts of one size."""
    inputs, targets, seen = [], [], 0
    for x, y in pairs(loader, device):
        inputs.append(x)
        targets.append(y)
        seen += len(x)
        if seen >= num_samples:
            break
    size = max(min(seen, num_samples) // num_parts, 1)
    found = zip(torch.cat(inputs).split(size), torch.cat(targets).split(size), strict=True)
    return list(islice(found, num_parts))
