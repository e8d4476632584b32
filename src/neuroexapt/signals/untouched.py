"""Run a model without leaving a trace."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from neuroexapt.graph.shield import random_kept
from neuroexapt.graph.state import preserve_state, restore_state


@contextmanager
def untouched(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Put a model's modes and buffers, and random numbers, back as they were.

    So is whatever else its modules hold and `forward` may set; parameters are for the body to leave
    alone. Random numbers are torch's, of the CPU and of `device`, NumPy's and Python's: drawing
    batches from a loader may use any of them.
    """
    state = preserve_state(model)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        with random_kept([device]):
            yield
    finally:
        restore_state(state)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
