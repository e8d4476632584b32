"""Linear maps: where channels are made and where they are read."""

from typing import Any

import numpy as np
from torch import nn

from neuroexapt.graph.flow import Role, freeze_all
from neuroexapt.graph.rules.call import Call
from neuroexapt.graph.value import Labels, Value


def linear_map(
    call: Call, value: Value, dim: int, weight: Value, out_dim: int, in_dim: int
) -> Labels:
    """Dimension `dim` of `value` is read by `weight`; gives the labels of what is made."""
    flow = call.flow
    if not weight.weight:
        freeze_all(flow, weight.axes, f"computed weights in {call.name}")
        freeze_all(flow, value.axes, f"read by computed weights in {call.name}")
    flow.mark(weight.axes[out_dim], Role.PRODUCER, call.maker(weight))
    flow.mark(weight.axes[in_dim], Role.CONSUMER, call.maker(weight))
    if dim in value.axes:
        flow.unify(value.axes[dim], weight.axes[in_dim], call.name)
    else:
        flow.freeze(weight.axes[in_dim], f"{call.name} reads {value.origin or 'an input'}")
    return weight.axes[out_dim]


def with_bias(call: Call, made: Labels, bias: Value | None) -> None:
    """The bias rides along with what the map makes."""
    if bias is not None:
        call.flow.unify(made, bias.axes[0], call.name)


def linear(call: Call) -> Value:
    """`nn.Linear` and `F.linear`: reads the last dimension."""
    value = call.value
    weight, bias = _weight_and_bias(call)
    if 0 not in weight.axes or 1 not in weight.axes:
        return _mixing_of(call, value, weight)
    made = linear_map(call, value, value.ndim - 1, weight, 0, 1)
    with_bias(call, made, bias)
    kept = {dim: labels for dim, labels in value.axes.items() if dim < value.ndim - 1}
    return call.output(kept | {value.ndim - 1: made})


def addmm(call: Call) -> Any:
    """`addmm(bias, x, W)` with parameters is a linear map with a bias."""
    bias = call.args[0]
    value, weight = call.argument(1, "mat1"), call.argument(2, "mat2")
    if not (weight.weight and bias.weight and bias.ndim == 1 and len(weight.axes) == 2):
        return mixing(call)
    made = linear_map(call, value, 1, weight, 1, 0)
    with_bias(call, made, bias)
    return call.output({dim: labels for dim, labels in value.axes.items() if dim == 0} | {1: made})


def convolution(call: Call) -> Value:
    """Convolutions of any dimension; a grouped one ties a block of inputs to a block of outputs."""
    return _convolve(call, out_dim=0, in_dim=1)


def transposed_convolution(call: Call) -> Value:
    """Transposed convolutions: the weight's input dimension comes first."""
    return _convolve(call, out_dim=1, in_dim=0)


def _convolve(call: Call, out_dim: int, in_dim: int) -> Value:
    value = call.value
    weight, bias = _weight_and_bias(call)
    if 0 not in weight.axes or 1 not in weight.axes:
        return _mixing_of(call, value, weight)
    channel = value.ndim - (weight.ndim - 2) - 1
    for dim, labels in value.axes.items():
        if dim > channel:
            call.flow.freeze(labels, f"{call.name} mixes positions")
    if _groups(call) == 1:
        made = linear_map(call, value, channel, weight, out_dim, in_dim)
    elif in_dim == 1:
        made = _grouped(call, value, channel, weight)
    elif call.module is not None and channel in value.axes:
        made = _grouped_transposed(call, value.axes[channel], weight)
    else:
        return _mixing_of(call, value, weight)
    with_bias(call, made, bias)
    kept = {dim: labels for dim, labels in value.axes.items() if dim < channel}
    return call.output(kept | {channel: made})


def _grouped(call: Call, value: Value, channel: int, weight: Value) -> Labels:
    """One convolution group is one unit: its inputs and outputs come and go together."""
    made = weight.axes[0]
    call.flow.mark(made, Role.PRODUCER, call.maker(weight))
    read = value.axes.get(channel)
    if read is None:
        call.flow.freeze(made, f"{call.name} has groups over {value.origin or 'an input'}")
        return made
    groups = len(read) // weight.shape[1]
    if call.module is None and groups != call.argument(6, "groups", 1):
        call.flow.unify(read, read[:0], f"{call.name}, whose number of groups is a constant,")
    tie_blocks(call, read, made, groups)
    return made


def tie_blocks(call: Call, first: Labels, second: Labels, groups: int) -> None:
    """Block g of `first` and block g of `second` become one unit."""
    if groups == 0 or len(first) % groups or len(second) % groups:
        call.flow.unify(first, second[:0], call.name)
        return
    heads = first.reshape(groups, -1)[:, 0]
    for labels in (first, second):
        call.flow.unify(np.repeat(heads, len(labels) // groups), labels, call.name)


def _grouped_transposed(call: Call, read: Labels, weight: Value) -> Labels:
    """As `_grouped`; the outputs of a group share one weight dimension, so inputs name the unit."""
    module = call.module
    assert isinstance(module, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
    call.flow.mark(weight.axes[0], Role.PRODUCER, call.path)
    call.flow.unify(read, weight.axes[0], call.name)
    block = module.in_channels // module.groups
    tie_blocks(call, read, read, len(read) // block)
    return np.repeat(read[::block], weight.shape[1])


def _groups(call: Call) -> int:
    if call.module is not None:
        return int(call.setting("groups"))
    return int(call.argument(6, "groups", 1))


def _weight_and_bias(call: Call) -> tuple[Value, Value | None]:
    if call.module is not None:
        weight = call.parameter("weight")
        assert weight is not None, f"{call.name} has no weight"
        return weight, call.parameter("bias")
    weight, bias = call.argument(1, "weight"), call.argument(2, "bias")
    return weight, bias


def _mixing_of(call: Call, value: Value, weight: Value) -> Value:
    freeze_all(call.flow, value.axes, f"read by weights that can't be followed in {call.name}")
    freeze_all(call.flow, weight.axes, f"reshaped weights in {call.name}")
    return call.output({})


def mixing(call: Call) -> Value:
    """A product of activations: nothing scales one channel's share alone, so all are frozen."""
    for value in call.values():
        freeze_all(call.flow, value.axes, f"{call.name} multiplies activations with each other")
    return call.output({})


def embedding(call: Call) -> Value:
    """Makes the last dimension, from indices."""
    if call.module is not None:
        weight, indices = call.parameter("weight"), call.value
        max_norm = call.setting("max_norm")
    else:
        indices, weight = call.args[0], call.argument(1, "weight")
        max_norm = call.argument(3, "max_norm")
    assert weight is not None, f"{call.name} has no weight"
    made = weight.axes[1]
    call.flow.mark(made, Role.PRODUCER, call.maker(weight))
    if max_norm is not None:
        call.flow.freeze(made, f"{call.name} rescales whole vectors (max_norm)")
    return call.output({indices.ndim: made})
