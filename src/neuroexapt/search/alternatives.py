"""What could stand in a layer's place: another kernel, a lower rank, another nonlinearity."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import nn

from neuroexapt.edits.activate import CANDIDATES

Like: TypeAlias = Callable[[Any], nn.Module | None]
"""From a layer to another one of its inputs, outputs and stride; None if there is none."""
RANK = 4
"""A low-rank layer has the smaller of its widths divided by this."""
CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVG_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
ADAPTIVE_MAX = {1: nn.AdaptiveMaxPool1d, 2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}
ADAPTIVE_AVG = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
POOLS = tuple(
    kind for kinds in (MAX_POOLS, AVG_POOLS, ADAPTIVE_MAX, ADAPTIVE_AVG) for kind in kinds.values()
)
ACTIVATIONS = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.Mish, nn.PReLU),
    *(nn.ReLU, nn.SELU, nn.SiLU, nn.Softplus, nn.Tanh),  # ReLU6 is a Hardtanh
)


@dataclass(frozen=True)
class Family:
    """Layers of one kind.

    Attributes:
        layers: their types.
        alternatives: name -> what could stand in the place of one.
    """

    layers: tuple[type[nn.Module], ...]
    alternatives: Mapping[str, Like]


def _square(kernel_size: int, dilation: int = 1) -> Like:
    def build(layer: Any) -> nn.Module:
        widths = layer.in_channels, layer.out_channels
        return _convolution(layer, kernel_size, dilation, *widths, layer.groups)

    return build


def _separable(kernel_size: int) -> Like:
    def build(layer: Any) -> nn.Module:
        inputs, outputs = layer.in_channels, layer.out_channels
        by_channel = _convolution(layer, kernel_size, 1, inputs, inputs, groups=inputs)
        bias = layer.bias is not None
        by_position = type(by_channel)(inputs, outputs, 1, groups=layer.groups, bias=bias)
        return nn.Sequential(by_channel, by_position)

    return build


def _convolution(
    layer: Any, kernel_size: int, dilation: int, inputs: int, outputs: int, groups: int
) -> nn.Module:
    built: nn.Module = CONVOLUTIONS[len(layer.kernel_size)](
        inputs,
        outputs,
        kernel_size,
        layer.stride,
        dilation * (kernel_size // 2),
        dilation,
        groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
    )
    return built


def _skip(_layer: nn.Module) -> nn.Module:
    return nn.Identity()


def _low_rank(layer: Any) -> nn.Module | None:
    rank = min(layer.in_features, layer.out_features) // RANK
    if not rank:
        return None
    return nn.Sequential(
        nn.Linear(layer.in_features, rank, bias=False),
        nn.Linear(rank, layer.out_features, bias=layer.bias is not None),
    )


def _max_pool(layer: Any) -> nn.Module:
    if hasattr(layer, "output_size"):
        return ADAPTIVE_MAX[_dimensions(layer)](layer.output_size)
    size, stride, padding = layer.kernel_size, layer.stride, layer.padding
    kind = MAX_POOLS[_dimensions(layer)]
    return kind(size, stride, padding, ceil_mode=layer.ceil_mode)


def _avg_pool(layer: Any) -> nn.Module:
    if hasattr(layer, "output_size"):
        return ADAPTIVE_AVG[_dimensions(layer)](layer.output_size)
    size, stride, padding = layer.kernel_size, layer.stride, layer.padding
    kind: Any = AVG_POOLS[_dimensions(layer)]
    built: nn.Module = kind(size, stride, padding, layer.ceil_mode, count_include_pad=False)
    return built


def _dimensions(layer: nn.Module) -> int:
    kinds = (MAX_POOLS, AVG_POOLS, ADAPTIVE_MAX, ADAPTIVE_AVG)
    return next(n for known in kinds for n, kind in known.items() if isinstance(layer, kind))


def _activation(name: str) -> Like:
    def build(_layer: nn.Module) -> nn.Module:
        return CANDIDATES[name]()  # type: ignore[index]

    return build


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        "convolution": Family(
            tuple(CONVOLUTIONS.values()),
            {
                "skip_connect": _skip,
                "conv_1x1": _square(1),
                "conv_3x3": _square(3),
                "conv_5x5": _square(5),
                "sep_conv_3x3": _separable(3),
                "sep_conv_5x5": _separable(5),
                "dil_conv_3x3": _square(3, dilation=2),
            },
        ),
        "linear layer": Family(
            (nn.Linear,),
            {"skip_connect": _skip, "low_rank": _low_rank},
        ),
        "pooling": Family(POOLS, {"max_pool": _max_pool, "avg_pool": _avg_pool}),
        "activation": Family(ACTIVATIONS, {name: _activation(name) for name in CANDIDATES}),
    }
)
"""Layers that can be decided, by kind. What may take a convolution's or a linear layer's place is
linear as that is: the model has norms and nonlinearities of its own."""
ALTERNATIVES = tuple(dict.fromkeys(n for each in FAMILIES.values() for n in each.alternatives))
"""All names."""


WEIGHTED = (*FAMILIES["convolution"].layers, *FAMILIES["linear layer"].layers)
"""Layers whose outputs are their weights' doing alone."""


def family_of(layer: nn.Module) -> Family | None:
    """The kind of a layer; None if nothing is known that could stand in its place."""
    return next((each for each in FAMILIES.values() if isinstance(layer, each.layers)), None)


def alike(candidate: nn.Module, layer: nn.Module) -> bool:
    """Whether a candidate is what the layer is already."""
    if isinstance(layer, FAMILIES["convolution"].layers):
        return isinstance(layer, type(candidate)) and _geometry(candidate) == _geometry(layer)
    return repr(candidate) == repr(layer)


def _geometry(layer: Any) -> tuple[object, ...]:
    """What tells convolutions of one stride apart, with the padding in numbers."""
    padding = layer.padding
    if isinstance(padding, str):
        around = zip(layer.kernel_size, layer.dilation, strict=True)
        padding = tuple((k - 1) * d // 2 if layer.padding == "same" else 0 for k, d in around)
    return layer.kernel_size, layer.dilation, padding
