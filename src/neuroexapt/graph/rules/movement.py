"""Data movement: no rule an operator, the operator itself moves labels instead of numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuroexapt.graph.components import components
from neuroexapt.graph.flow import Mismatch
from neuroexapt.graph.rules.call import Call, normal_dim, unlabelled
from neuroexapt.graph.value import Labels, Value


def movement(call: Call) -> Any:
    """Run the operator on a tensor of channel labels and read off where the channels went."""
    value = call.value
    outcomes = [_moved(call, value, dim, labels) for dim, labels in sorted(value.axes.items())]
    if not outcomes:
        _check_shape(call, value)
        return _as_weight(value, unlabelled(call.meta, call.name))
    merged = outcomes[0]
    for other in outcomes[1:]:
        merged = _merge(merged, other)
    return _as_weight(value, merged)


def _moved(call: Call, value: Value, dim: int, labels: Labels) -> Any:
    view = [1] * value.ndim
    view[dim] = len(labels)
    carried = torch.from_numpy(labels).view(view).expand(value.shape).contiguous()
    try:
        result = call.target(*_with_first(call.args, carried), **_plain(call.kwargs))
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        advice = "" if call.module else ": sizes taken from x.shape, or -1, could follow"
        raise Mismatch(f"a shape constant in {call.name}{advice}") from error
    if isinstance(result, Tensor):
        return _located(call, result, labels)
    if len(result) != len(call.meta):
        raise Mismatch(
            f"{call.name} gives {len(result)} parts, not {len(call.meta)}, with one channel more: "
            "a size taken from x.shape could follow"
        )
    return tuple(_located(call, part, labels) for part in result)


def _check_shape(call: Call, value: Value) -> None:
    """That a tensor whose channels aren't followed still has what its new shape asks for.

    Raises:
        Mismatch: if not, as where a size was read from a tensor that has grown.
    """
    given = torch.empty(value.shape, dtype=torch.int64, device="meta")
    try:
        result = call.target(*_with_first(call.args, given), **_plain(call.kwargs))
    except (RuntimeError, IndexError, ValueError, TypeError) as error:
        raise Mismatch(f"a size in {call.name} follows from other channels") from error
    if isinstance(result, Tensor) and result.shape != call.meta.shape:
        raise Mismatch(f"a size in {call.name} follows from other channels")


def _with_first(args: tuple[Any, ...], carried: Tensor) -> tuple[Any, ...]:
    return (carried, *(_plain(part) for part in args[1:]))


def _plain(part: Any) -> Any:
    """Other tensors only lend their shape (`view_as`, `expand_as`)."""
    if isinstance(part, Value):
        return torch.empty(part.shape, dtype=torch.int64)
    if isinstance(part, dict):
        return {key: _plain(item) for key, item in part.items()}
    return part


def _located(call: Call, result: Tensor, labels: Labels) -> Value:
    """The one dimension along which the labels vary while being constant in all others."""
    shape = tuple(result.shape)
    if len(labels) == 1:
        call.flow.freeze(labels, f"a single channel can't be followed through {call.name}")
        return Value(shape, {}, call.name)
    if result.numel() == 0:
        call.flow.freeze(labels, f"nothing is left of it after {call.name}")
        return Value(shape, {}, call.name)
    corner = (0,) * result.ndim
    for dim in range(result.ndim):
        index: tuple[Any, ...] = (*corner[:dim], slice(None), *corner[dim + 1 :])
        line = result[index]
        view = [1] * result.ndim
        view[dim] = len(line)
        if len(line) > 1 and bool((result == line.view(view)).all()) and _varies(line):
            return Value(shape, {dim: line.numpy().copy()}, call.name)
    if not _varies(result.reshape(-1)):
        call.flow.freeze(labels, f"{call.name} picks a single channel")
        return Value(shape, {}, call.name)
    return _tied(call, result, labels)


def _tied(call: Call, result: Tensor, labels: Labels) -> Value:
    """Channels are spread over several dimensions: tie those that share an index along one of them.

    The dimension that leaves the most units is taken; the trial growth finds out if that was wrong.
    """
    slices = [result.movedim(dim, 0).reshape(size, -1) for dim, size in enumerate(result.shape)]
    counts = [_num_units(part) for part in slices]
    dim = max(range(result.ndim), key=counts.__getitem__)
    if counts[dim] < 2:
        call.flow.freeze(labels, f"{call.name} spreads channels over several dimensions")
        return Value(tuple(result.shape), {}, call.name)
    heads = slices[dim][:, 0].numpy().copy()
    for column in range(1, slices[dim].shape[1]):
        call.flow.unify(heads, slices[dim][:, column].numpy().copy(), call.name)
    return Value(tuple(result.shape), {dim: heads}, call.name)


def _num_units(slices: Tensor) -> int:
    """Units that remain when the channels in each row are tied."""
    known, local = np.unique(slices.numpy(), return_inverse=True)
    rows = local.reshape(slices.shape)
    pairs = [(rows[:, column], rows[:, column + 1]) for column in range(rows.shape[1] - 1)]
    return len(np.unique(components(len(known), pairs)))


def _varies(line: Tensor) -> bool:
    return bool((line != line[0]).any())


def _merge(first: Any, second: Any) -> Any:
    if isinstance(first, tuple):
        return tuple(_merge(a, b) for a, b in zip(first, second, strict=True))
    return Value(first.shape, {**first.axes, **second.axes}, first.origin)


def _as_weight(source: Value, moved: Any) -> Any:
    """A moved parameter is still a parameter."""
    if isinstance(moved, tuple):
        return tuple(_as_weight(source, part) for part in moved)
    if isinstance(moved, Value):
        return replace(moved, weight=source.weight, owner=source.owner)
    return moved


def indexing(call: Call) -> Any:
    """`x[...]`: a container's item, or a tensor's slices and picks.

    Dimensions that are picked from by a tensor are mixed; those that it leaves alone pass.
    """
    container, index = call.args
    if not isinstance(container, Value):
        return container[index]
    parts = index if isinstance(index, tuple) else (index,)
    return movement(replace(call, args=(container, tuple(_first(part) for part in parts))))


def _first(part: Any) -> Any:
    """What picks the first position as often as a tensor picks any."""
    return torch.zeros(part.shape, dtype=torch.int64) if isinstance(part, Value) else part


def concatenation(call: Call) -> Value:
    """`cat`: labels are strung together along its dimension and unified along all others."""
    values = tuple(call.args[0] if call.args else call.kwargs["tensors"])
    along = normal_dim(call.argument(1, "dim", call.kwargs.get("axis", 0)), values[0].ndim)
    axes = _unified(call, values, [dim for dim in range(values[0].ndim) if dim != along])
    if any(along in value.axes for value in values):
        parts = [_labels_or_anonymous(call, index, v, along) for index, v in enumerate(values)]
        axes[along] = np.concatenate(parts)
    return call.output(axes)


def stacking(call: Call) -> Value:
    """`stack`: labels are unified; the new dimension carries none."""
    values = tuple(call.args[0] if call.args else call.kwargs["tensors"])
    at = normal_dim(call.argument(1, "dim", 0), values[0].ndim + 1)
    axes = _unified(call, values, list(range(values[0].ndim)))
    return call.output({dim + (dim >= at): labels for dim, labels in axes.items()})


def _unified(call: Call, values: tuple[Value, ...], dims: list[int]) -> dict[int, Labels]:
    axes: dict[int, Labels] = {}
    for dim in dims:
        labelled = [value.axes[dim] for value in values if dim in value.axes]
        for labels in labelled:
            if len(labelled) < len(values):
                call.flow.freeze(labels, f"meets untracked channels in {call.name}")
            call.flow.unify(labelled[0], labels, call.name)
            axes[dim] = labelled[0]
    return axes


def _labels_or_anonymous(call: Call, index: int, value: Value, dim: int) -> Labels:
    if dim in value.axes:
        return value.axes[dim]
    return call.flow.anonymous(f"{call.key}:{index}", value.shape[dim])


def gated_linear_unit(call: Call) -> Value:
    """`glu`: the second half gates the first, so the halves' channels are pairs."""
    value = call.value
    dim = call.setting("dim") if call.module is not None else call.argument(1, "dim", -1)
    dim = normal_dim(dim, value.ndim)
    axes = dict(value.axes)
    if dim in axes:
        half = len(axes[dim]) // 2
        call.flow.unify(axes[dim][:half], axes[dim][half:], call.name)
        axes[dim] = axes[dim][:half]
    return call.output(axes)
