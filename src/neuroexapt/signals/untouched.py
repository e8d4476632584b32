"""Run a model without leaving a trace."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

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
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - loaders draw there
    devices = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        restore_state(state)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
