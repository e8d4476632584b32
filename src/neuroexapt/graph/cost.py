"""What a model costs: parameters and multiply-accumulates."""

from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from neuroexapt.graph.assemble import preserve_modes, restore_modes
from neuroexapt.graph.inputs import Inputs


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        params: number of trainable and frozen parameters, tied ones once.
        macs: multiply-accumulates of one forward pass for one sample.
    """

    params: int
    macs: int


def num_parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, inputs: Inputs) -> int:
    """Multiply-accumulates of one forward pass for one sample.

    Counted by `torch.utils.flop_counter` (which counts 2 a multiply-accumulate) under fake tensors:
    convolutions, linear maps, matrix products and attention; nothing is computed.
    """
    modes = preserve_modes(model)
    model.eval()
    try:
        flops = _count(model, inputs)
    finally:
        restore_modes(modes)
    return flops // 2 // inputs.batch_size


def _count(model: nn.Module, inputs: Inputs) -> int:
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), mode, counter:
        fake = inputs.map(mode.from_tensor)
        model(*fake.args, **fake.kwargs)
    return int(counter.get_total_flops())
