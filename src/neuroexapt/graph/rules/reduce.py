"""Reductions, pooling and resizing: positions may be mixed, channels may not."""

from collections.abc import Callable
from typing import Any

import torch

from neuroexapt.graph.flow import freeze_all
from neuroexapt.graph.rules.call import Call, normal_dim, sized
from neuroexapt.graph.rules.elementwise import elementwise
from neuroexapt.graph.value import Labels, Value


def reduction(call: Call) -> Any:
    """Sum, mean, maximum and the like over some dimensions; channels among them are frozen."""
    over = call.argument(1, "dim", call.kwargs.get("axis"))
    if isinstance(over, Value):
        return elementwise(call)
    return _reduced(call, over)


def vector_norm(call: Call) -> Any:
    """`norm`: the order comes before the dimensions."""
    return _reduced(call, call.argument(2, "dim"))


def _reduced(call: Call, over: Any) -> Any:
    value = call.value
    if isinstance(over, bool):  # an old spelling of `unbiased`: all dimensions
        over = None
    if isinstance(over, int):
        over = (over,)
    dims = {normal_dim(dim, value.ndim) for dim in (over or range(value.ndim))}
    for dim in dims & value.axes.keys():
        call.flow.freeze(value.axes[dim], f"{call.name} reduces over channels")
    first = call.meta if isinstance(call.meta, torch.Tensor) else call.meta[0]
    axes = _after_reduction(value, dims, keep=first.ndim == value.ndim)
    if isinstance(call.meta, torch.Tensor):
        return call.output(axes)
    return tuple(sized(part, axes, call.name) for part in call.meta)


def _after_reduction(value: Value, dims: set[int], keep: bool) -> dict[int, Labels]:
    kept = [dim for dim in range(value.ndim) if dim not in dims]
    place = {dim: dim if keep else index for index, dim in enumerate(kept)}
    return {place[dim]: labels for dim, labels in value.axes.items() if dim in place}


def pooling(num_spatial: int) -> Any:
    """The rule for pooling, padding and resizing over the last `num_spatial` dimensions."""

    def rule(call: Call) -> Value:
        return positional(call, num_spatial)

    return rule


def positional(call: Call, num_spatial: int) -> Value:
    """Mixes the last dimensions; what is before them passes."""
    value = call.value
    if not isinstance(call.meta, torch.Tensor):
        freeze_all(call.flow, value.axes, f"{call.name} gives several outputs")
        return tuple(sized(part, {}, call.name) for part in call.meta)  # type: ignore[return-value]
    first = value.ndim - num_spatial
    for dim, labels in value.axes.items():
        if dim >= first:
            call.flow.freeze(labels, f"{call.name} mixes positions")
    return call.output({dim: labels for dim, labels in value.axes.items() if dim < first})


def resize(call: Call) -> Value:
    """Interpolation: all dimensions after batch and channel are positions."""
    return positional(call, call.value.ndim - 2)


def pad(call: Call) -> Value:
    """`F.pad`: dimensions that get padding are positions."""
    widths = call.argument(1, "pad") if call.module is None else call.setting("padding")
    padded = [index for index in range(len(widths) // 2) if any(widths[2 * index : 2 * index + 2])]
    return positional(call, max(padded, default=-1) + 1)


def along(place: int, default: int = -1) -> Callable[[Call], Any]:
    """The rule for what mixes one dimension (scans, orderings, picks), and passes all others.

    Args:
        place: of the dimension among the arguments.
        default: the dimension, where none is given.
    """

    def rule(call: Call) -> Any:
        value = call.value
        dim = normal_dim(call.argument(place, "dim", default), value.ndim)
        axes = dict(value.axes)
        if (labels := axes.pop(dim, None)) is not None:
            call.flow.freeze(labels, f"{call.name} mixes channels")
        if isinstance(call.meta, torch.Tensor):
            return call.output(axes)
        return tuple(sized(part, axes, call.name) for part in call.meta)

    return rule
