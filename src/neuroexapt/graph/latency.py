"""How long a model takes for one sample, on the machine as it is."""

import statistics
import time

import torch
from torch import Tensor, nn

from neuroexapt.graph.compare import call, run_in_mode
from neuroexapt.graph.inputs import Inputs

RUNS = 9
"""Timed forward passes, of which the median counts; one before them isn't timed."""


def latency_ms(model: nn.Module, inputs: Inputs) -> float:
    """Milliseconds of a forward pass of one sample, in eval mode: the median of a few.

    It depends on the machine and on what else it does, and so never repeats exactly.

    Args:
        model: stays as it is.
        inputs: a batch of what it gets, of which the first sample is taken.
    """

    def first(tensor: Tensor) -> Tensor:
        batched = tensor.ndim and len(tensor) == inputs.batch_size
        return tensor[:1] if batched else tensor

    took: float = run_in_mode(model, inputs.map(first), training=False, run=_median_ms)
    return took


def _median_ms(model: nn.Module, inputs: Inputs) -> float:
    call(model, inputs)
    return statistics.median(_timed(model, inputs) for _ in range(RUNS))


def _timed(model: nn.Module, inputs: Inputs) -> float:
    began = time.perf_counter()
    call(model, inputs)
    if any(tensor.is_cuda for tensor in inputs.tensors):
        torch.cuda.synchronize()
    return 1000 * (time.perf_counter() - began)
