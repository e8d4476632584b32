"""Whether there is room for what an edit adds, asked before any of it is made."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from pydantic import BaseModel

from neuroexapt.errors import EditError, LimitError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.cost import Cost
from neuroexapt.graph.memory import is_out_of_memory


def check_room(
    living: LivingModel,
    edit: BaseModel,
    num_added: int,
    limit: Callable[[Cost], str | None] | None,
) -> None:
    """Refuse an edit that is bound to exceed the limit, or all memory.

    Args:
        living: the model.
        edit: for the message.
        num_added: at least how many parameters the edit adds; 0 for any other edit.
        limit: says what a model of some cost would exceed, or None if nothing.

    Raises:
        LimitError: if the limit would be exceeded.
        EditError: if the device has less memory than the parameters would take.
    """
    if num_added == 0:  # an edit that removes may lead back below a limit
        return
    cost = living.cost()
    num_params = cost.params + num_added
    if limit is not None and (excess := limit(Cost(num_params, cost.macs))) is not None:
        raise LimitError(f"{edit!r} would exceed the limit: {excess}; nothing was changed", excess)
    example = next(living.parameters(), None)
    if example is None:
        return
    memory = total_memory(example.device)
    if num_params * example.itemsize > memory:
        raise EditError(
            f"{edit!r} would make a model of {num_params:.1e} parameters, "
            f"{num_params * example.itemsize / 2**30:.1e} GiB, and the {example.device.type} has "
            f"{memory / 2**30:.0f} GiB; add less. Nothing was changed"
        )


def total_memory(device: torch.device) -> float:
    """Bytes of memory that a device has, in use or not; infinite where that is unknown."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return math.inf


@contextmanager
def memory_explained(edit: BaseModel) -> Iterator[None]:
    """Turn running out of memory inside into a refusal.

    Raises:
        EditError: from whatever torch or numpy raises then.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise EditError(
            f"there is no memory for {edit!r} ({reason}); add less, or on another device. Nothing "
            "was changed"
        ) from error
