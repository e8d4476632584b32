"""Operations that treat every channel by itself."""

from collections.abc import Sequence
from dataclasses import replace

from neuroexapt.graph.rules.call import Call, nested_values
from neuroexapt.graph.value import Labels, Value


def elementwise(call: Call) -> Value:
    """Same position in, same position out, inputs broadcast: channels that meet are unified."""
    values = tuple(call.values())
    ndim = max(value.ndim for value in values)
    axes: dict[int, Labels] = {}
    for dim in range(ndim):
        aligned = [(v, dim - ndim + v.ndim) for v in values if dim - ndim + v.ndim >= 0]
        labels = meet(call, aligned)
        if labels is not None:
            axes[dim] = labels
    return call.output(axes)


def meet(call: Call, aligned: Sequence[tuple[Value, int]]) -> Labels | None:
    """Labels of one output dimension, from the input dimensions broadcast along it."""
    labelled = [value.axes[dim] for value, dim in aligned if dim in value.axes]
    if not labelled:
        return None
    blind = next((v for v, dim in aligned if dim not in v.axes and v.shape[dim] > 1), None)
    widest = max(labelled, key=len)
    for labels in labelled:
        if blind is not None:
            call.flow.freeze(labels, f"meets {blind.origin or 'an input'} in {call.name}")
        if len(labels) == len(widest):
            call.flow.unify(widest, labels, call.name)
        else:
            call.flow.freeze(labels, f"a single channel is broadcast over many in {call.name}")
    if blind is not None and len(widest) == 1:
        return None
    return widest


def dropout(call: Call) -> Value:
    """Elementwise or channel-wise random zeros: remembers that newborn pairs must share a mask."""
    value = call.value
    for dim, labels in value.axes.items():
        if dim > 0:
            call.flow.mask(call.key, dim, labels)
    return call.output(value.axes)


def constant_dropout(call: Call) -> Value:
    """Functional dropout with a constant mode: when on, its masks can't be shared."""
    value = call.value
    probability = call.argument(1, "p", 0.5)
    training = call.argument(2, "training", True)
    if training and probability > 0:
        for labels in value.axes.values():
            call.flow.freeze(labels, f"{call.name} draws masks whatever the mode")
    return call.output(value.axes)


def prelu(call: Call) -> Value:
    """A slope a channel, or one for all."""
    value = call.value
    slope = call.parameter("weight")
    if slope is None:
        slope = next(nested_values(call.argument(1, "weight")))
    dim = 1 if value.ndim > 1 else 0
    if slope.shape[0] > 1 and dim in value.axes:
        call.flow.unify(value.axes[dim], slope.axes[0], call.name)
    return call.output(value.axes)


def casts(call: Call) -> Value:
    """The first tensor, of another type or elsewhere; a second one lends only these."""
    value = call.value
    return replace(call.output(value.axes), weight=value.weight, owner=value.owner)


def creates(call: Call) -> Value:
    """A new tensor that takes only type or sizes from its inputs."""
    return call.output({})
