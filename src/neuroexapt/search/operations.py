"""The operations that a search chooses from, by name."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError

Build: TypeAlias = Callable[[int, int, int], nn.Module]
"""Channels in, channels out and stride to an operation: (B, in, H, W) to (B, out, H/s, W/s)."""


class Zero(nn.Module):
    """Nothing: zeros of the shape that the operation would have given."""

    def __init__(self, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels, self.stride = out_channels, stride

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to zeros of (B, out, ceil(H / stride), ceil(W / stride))."""
        kept = x[:, :1, :: self.stride, :: self.stride]
        return torch.zeros_like(kept).expand(-1, self.out_channels, -1, -1)


def convolution(kernel_size: int, dilation: int = 1) -> Build:
    """A rectified input, a convolution and a norm."""

    def build(inputs: int, outputs: int, stride: int) -> nn.Module:
        padding = dilation * (kernel_size // 2)
        conv = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, dilation, bias=False)
        return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(outputs))

    return build


def separable(kernel_size: int, dilation: int = 1) -> Build:
    """A rectified input, a convolution by channel, one by position, and a norm."""

    def build(inputs: int, outputs: int, stride: int) -> nn.Module:
        padding = dilation * (kernel_size // 2)
        by_channel = nn.Conv2d(
            inputs, inputs, kernel_size, stride, padding, dilation, groups=inputs, bias=False
        )
        by_position = nn.Conv2d(inputs, outputs, 1, bias=False)
        return nn.Sequential(nn.ReLU(), by_channel, by_position, nn.BatchNorm2d(outputs))

    return build


def twice_separable(kernel_size: int) -> Build:
    """Two separable convolutions, the first with the stride.

    Source: the separable convolution of Liu et al. 2019, arXiv:1806.09055.
    """

    def build(inputs: int, outputs: int, stride: int) -> nn.Module:
        once = separable(kernel_size)
        return nn.Sequential(once(inputs, inputs, stride), once(inputs, outputs, 1))

    return build


def pooling(pool: Callable[[int], nn.Module]) -> Build:
    """3 x 3 pooling; where the number of channels changes, a convolution by position follows."""

    def build(inputs: int, outputs: int, stride: int) -> nn.Module:
        layers = [pool(stride)]
        if inputs != outputs:
            layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        return layers[0] if len(layers) == 1 else nn.Sequential(*layers)

    return build


def skip(inputs: int, outputs: int, stride: int) -> nn.Module:
    """The input itself, or where shapes differ a convolution by position."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return convolution(1)(inputs, outputs, stride)


def _zero(_inputs: int, outputs: int, stride: int) -> nn.Module:
    return Zero(outputs, stride)


def _average(stride: int) -> nn.Module:
    return nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)


def _maximum(stride: int) -> nn.Module:
    return nn.MaxPool2d(3, stride, padding=1)


OPERATIONS: Mapping[str, Build] = MappingProxyType(
    {
        "none": _zero,
        "skip_connect": skip,
        "avg_pool_3x3": pooling(_average),
        "max_pool_3x3": pooling(_maximum),
        "nor_conv_1x1": convolution(1),
        "nor_conv_3x3": convolution(3),
        "conv_1x1": convolution(1),
        "conv_3x3": convolution(3),
        "sep_conv_3x3": twice_separable(3),
        "sep_conv_5x5": twice_separable(5),
        "dil_conv_3x3": separable(3, dilation=2),
        "dil_conv_5x5": separable(5, dilation=2),
    }
)
NASBENCH201_OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the order of the benchmark's own tables."""
ASO_SE_OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
    "conv_1x1",
    "conv_3x3",
)
"""The ten of the framework's own space."""


def checked_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names of operations to choose from.

    Raises:
        SearchError: if one is unknown, one comes twice, or there are fewer than two.

    Example:
        >>> checked_names(["conv_3x3", "skip_connect"])
        ('conv_3x3', 'skip_connect')
    """
    unknown = sorted(set(names) - OPERATIONS.keys())
    if unknown:
        raise SearchError(
            f"there is no operation {unknown[0]!r}; the operations are {', '.join(OPERATIONS)}"
        )
    if len(set(names)) < max(len(names), 2):
        raise SearchError(
            f"{', '.join(names) or 'no operation'}: a search chooses from two operations or more, "
            "each named once"
        )
    return tuple(names)
