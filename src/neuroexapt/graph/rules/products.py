"""Products of tensors: what is summed over is mixed, all other channels stay apart."""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeAlias

from neuroexapt.graph.rules.call import Call
from neuroexapt.graph.rules.elementwise import meet
from neuroexapt.graph.rules.linear import linear_map, mixing
from neuroexapt.graph.value import Labels, Value

Indices: TypeAlias = tuple[Hashable, ...]
"""An index for each dimension of a tensor, as in Einstein's notation."""


def matmul(call: Call) -> Value:
    """`x @ y`, batched or not; with a parameter for x or y a linear map."""
    first, second = call.args[0], call.argument(1, "other", call.kwargs.get("mat2"))
    if not (isinstance(first, Value) and isinstance(second, Value)):
        return mixing(call)
    num_batches = max(first.ndim, second.ndim, 2) - 2
    rows, columns = ("row",) * (first.ndim > 1), ("column",) * (second.ndim > 1)
    inner = ("inner",)
    return _product(
        call,
        (first, second),
        (
            _batches(first.ndim - 2) + rows + inner,
            _batches(second.ndim - 2) + inner + columns,
        ),
        _batches(num_batches) + rows + columns,
    )


def einsum(call: Call) -> Value:
    """`einsum("bnc,cd->bnd", x, W)`: a linear map with a parameter, else as any product."""
    equation, *_ = call.args
    values = tuple(call.values())
    if not isinstance(equation, str):
        return mixing(call)
    inputs, output = _parsed(equation, [value.ndim for value in values])
    return _product(call, values, inputs, output)


def attention(call: Call) -> Value:
    """Scaled dot products: queries and keys are summed over, channels of the values pass."""
    query, key, value = (call.argument(i, n) for i, n in enumerate(("query", "key", "value")))
    mask, dropout = call.argument(3, "attn_mask"), call.argument(4, "dropout_p", 0.0)
    if call.argument(7, "enable_gqa", False):
        return mixing(call)
    values = [query, key, value]
    owns = [("query", "feature"), ("key", "feature"), ("key", "channel")]
    if isinstance(mask, Value):
        values.append(mask)
        owns.append(("query", "key"))
    inputs = tuple(
        (_batches(each.ndim - 2) + own)[-each.ndim :]
        for each, own in zip(values, owns, strict=True)
    )
    if call.argument(5, "is_causal", False) is not False:
        _freeze(call, values, (-2,), "masks them by their order")
    if dropout != 0:
        _freeze(call, values, range(-10, -1), "drops attention between them")
    widest = max(each.ndim for each in values)
    return contraction(call, values, inputs, (*_batches(widest - 2), "query", "channel"))


def contraction(
    call: Call, values: Sequence[Value], inputs: Sequence[Indices], output: Indices
) -> Value:
    """A sum of products over all indices that `output` lacks (Einstein's convention).

    Args:
        call: the operation.
        values: what is multiplied.
        inputs: for each value its indices; where values share one, they are broadcast along it.
        output: the indices that are left, in order.
    """
    axes: dict[int, Labels] = {}
    for index in dict.fromkeys(chain(*inputs)):
        holders = list(_holders(values, inputs, index))
        if index not in output or any(own.count(index) > 1 for own in inputs):
            reason = f"{call.name} multiplies activations with each other"
            if any(value.weight for value, _ in holders):
                reason = f"read by weights that can't be followed in {call.name}"
            for value, dim in holders:
                if dim in value.axes:
                    call.flow.freeze(value.axes[dim], reason)
            continue
        labels = meet(call, holders)
        if labels is not None:
            axes[output.index(index)] = labels
    return call.output(axes)


def _holders(
    values: Sequence[Value], inputs: Sequence[Indices], index: Hashable
) -> Iterator[tuple[Value, int]]:
    for value, own in zip(values, inputs, strict=True):
        for dim, name in enumerate(own):
            if name == index:
                yield value, dim


def _product(
    call: Call, values: tuple[Value, ...], inputs: tuple[Indices, ...], output: Indices
) -> Value:
    """A linear map, where a parameter makes channels of channels, or a contraction."""
    for place in (1, 0) if len(values) == 2 else ():
        mapped = _linear(call, values, inputs, output, place)
        if mapped is not None:
            return mapped
    return contraction(call, values, inputs, output)


def _linear(
    call: Call,
    values: tuple[Value, ...],
    inputs: tuple[Indices, ...],
    output: Indices,
    place: int,
) -> Value | None:
    """The linear map, if the factor at `place` is a matrix of parameters that reads the other one.

    A matrix on the left may be one over positions, as a graph's: it reads known channels only.
    """
    weight, own, value, indices = values[place], inputs[place], values[1 - place], inputs[1 - place]
    summed, made = ({*own} & {*indices}) - {*output}, ({*own} - {*indices}) & {*output}
    is_matrix = weight.weight and weight.ndim == len(weight.axes) == len({*own}) == 2
    is_plain = {*indices} - {*output} == summed and len({*indices}) == len(indices)
    if not is_matrix or not is_plain or len(summed) != 1 or len(made) != 1:
        return None
    (read,), (new,) = summed, made
    dim = indices.index(read)
    if place == 0 and dim not in value.axes:
        return None
    labels = linear_map(call, value, dim, weight, own.index(new), own.index(read))
    kept = {output.index(indices[d]): axis for d, axis in value.axes.items() if d != dim}
    return call.output(kept | {output.index(new): labels})


def _freeze(call: Call, values: Iterable[Value], dims: Iterable[int], why: str) -> None:
    """Freeze what is labelled along these dimensions, counted from the last."""
    for value in values:
        for dim in dims:
            if value.ndim + dim in value.axes:
                call.flow.freeze(value.axes[value.ndim + dim], f"{call.name} {why}")


def _batches(count: int) -> Indices:
    """Indices of leading dimensions, counted from the last of them since they are broadcast so."""
    return tuple(range(count, 0, -1))


def _parsed(equation: str, ndims: Sequence[int]) -> tuple[tuple[Indices, ...], Indices]:
    """An equation of `torch.einsum` as indices; its ellipses are spelled out."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    inputs = tuple(_spelled(term, ndim) for term, ndim in zip(terms, ndims, strict=True))
    widest = max(ndim - _num_letters(term) for term, ndim in zip(terms, ndims, strict=True))
    if arrow:
        return inputs, _spelled(right, _num_letters(right) + widest)
    letters = sorted(set(left) - {",", "."})
    return inputs, (*_batches(widest), *(each for each in letters if left.count(each) == 1))


def _num_letters(term: str) -> int:
    return len(term.replace(".", ""))


def _spelled(term: str, ndim: int) -> Indices:
    before, dots, after = term.partition("...")
    hidden = _batches(ndim - _num_letters(term)) if dots else ()
    return (*before, *hidden, *after)
