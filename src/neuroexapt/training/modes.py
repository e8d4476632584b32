"""Where a model is, and changing its mode or its buffers only for a while."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter or buffer; of none, the CPU."""
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


@contextmanager
def mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a model in train or eval mode, and each module back in its own mode afterwards.

    Putting back the model's own flag would not do: a norm that is kept in eval mode on purpose
    has to stay so.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training


@contextmanager
def buffers_kept_on_failure(model: nn.Module) -> Iterator[None]:
    """Put a model's buffers back if the block inside raises.

    Norms update their running statistics in the forward pass, when it is not yet known whether
    the step will be taken.
    """
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]
    finished = False
    try:
        yield
        finished = True
    finally:
        if not finished:
            with torch.no_grad():
                for buffer, value in before:
                    buffer.copy_(value)
