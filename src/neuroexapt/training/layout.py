"""Whether images may lie in memory with their channels last, where a model trains."""

import math

import torch
from torch import Tensor, nn

from neuroexapt.training.modes import device_of

REGISTERS = {"AVX2": 8}
"""What torch computes with on the CPU -> channels in a vector register of it."""
WIDEST = 16
"""Channels in one of AVX-512; where it isn't known what there is, that is on the safe side."""


def takes_channels_last(model: nn.Module) -> bool:
    """Whether a model's gradients are right where images lie with their channels last.

    Of a 1x1 convolution with a stride and fewer input channels than a vector register holds, oneDNN
    (3.12, in torch 2.13) writes the weights' gradient past its memory on the CPU: they come out
    wrong, or the process ends. Pruning may make a convolution such a one.

    Args:
        model: as it is now, where it is now.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035.

    Example:
        >>> takes_channels_last(nn.Conv2d(4, 8, 1, stride=2))
        False
        >>> takes_channels_last(nn.Conv2d(4, 8, 3, stride=2))
        True
    """
    return device_of(model).type != "cpu" or not any(map(_goes_wrong, model.modules()))


def laid_out(tensor: Tensor, *, channels_last: bool) -> Tensor:
    """A tensor as it is, or if its channels mustn't be last, in torch's usual order."""
    return tensor if channels_last else tensor.contiguous()


def _goes_wrong(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and math.prod(module.kernel_size) == 1
        and max(module.stride) > 1
        and module.in_channels // module.groups < _fewest()
    )


def _fewest() -> int:
    return REGISTERS.get(torch.backends.cpu.get_cpu_capability(), WIDEST)
