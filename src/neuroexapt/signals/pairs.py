"""Pairs of inputs and targets, as loaders yield them."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from neuroexapt.errors import DataError, TraceError
from neuroexapt.graph import Inputs, as_inputs


def checked(batches: Iterable[Any]) -> Iterator[tuple[Inputs, Any]]:
    """Batches as inputs and targets.

    Raises:
        DataError: if one is no pair, or holds no sample.
    """
    rule = "a loader yields pairs (inputs, targets) of at least one sample"
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise DataError(f"a {type(batches).__name__} is no loader; {rule}")
    for number, batch in enumerate(batches):
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            raise DataError(f"batch {number} is a {type(batch).__name__} and no pair; {rule}")
        try:
            inputs = as_inputs(batch[0])
        except TraceError as error:
            raise DataError(f"batch {number} holds no inputs: {error}") from error
        if not inputs.tensors or not all(t.ndim and len(t) for t in inputs.tensors):
            raise DataError(f"batch {number} has no sample in its inputs; {rule}")
        yield inputs, batch[1]


def moved(targets: Any, device: torch.device, chosen: slice = slice(None)) -> Any:
    """Targets on a device; of each tensor the chosen samples."""

    def move(leaf: Any) -> Any:
        return leaf[chosen].to(device) if isinstance(leaf, Tensor) else leaf

    return tree_map(move, targets)
