"""Normalisations: per-channel ones ride along, those over channels freeze them."""

from neuroexapt.graph.rules.call import Call
from neuroexapt.graph.rules.linear import tie_blocks
from neuroexapt.graph.value import Labels, Value


def batch_norm(call: Call) -> Value:
    """Statistics a channel over samples and positions; scale, shift and statistics ride along."""
    return _per_channel(call, ("weight", "bias", "running_mean", "running_var"), shared=(0,))


def instance_norm(call: Call) -> Value:
    """Statistics a channel and sample."""
    return _per_channel(call, ("weight", "bias", "running_mean", "running_var"), shared=())


def group_norm(call: Call) -> Value:
    """Statistics a block of channels: one block is one unit, whole blocks may come and go."""
    value = call.value
    channels = value.axes.get(1)
    if channels is None:
        return call.output({0: value.axes[0]} if 0 in value.axes else {})
    given = call.argument(1, "num_groups") if call.module is None else call.setting("num_groups")
    block = call.meta.shape[1] // given
    if given == 1:
        call.flow.freeze(channels, f"{call.name} normalises over all channels at once")
    elif call.module is None and len(channels) // block != given:
        call.flow.unify(
            channels, channels[:0], f"{call.name}, whose number of groups is a constant,"
        )
    else:
        tie_blocks(call, channels, channels, len(channels) // block)
    return _per_channel(call, ("weight", "bias"), shared=())


def layer_norm(call: Call) -> Value:
    """Statistics over the last dimensions: any new channel would change them all."""
    value = call.value
    if call.module is not None:
        shape, names = call.setting("normalized_shape"), ("weight", "bias")
        parameters = [call.parameter(name) for name in names]
    else:
        shape = call.argument(1, "normalized_shape")
        parameters = [call.argument(2, "weight"), call.argument(3, "bias")]
    over = range(value.ndim - len(shape), value.ndim)
    for dim in over:
        if dim in value.axes:
            call.flow.freeze(value.axes[dim], f"{call.name} normalises over channels")
    for parameter in parameters:
        if isinstance(parameter, Value):
            for offset, dim in enumerate(over):
                if dim in value.axes and offset in parameter.axes:
                    call.flow.unify(value.axes[dim], parameter.axes[offset], call.name)
    return call.output(value.axes)


def response_norm(call: Call) -> Value:
    """Neighbouring channels compete: their number and order are fixed."""
    value = call.value
    if 1 in value.axes:
        call.flow.freeze(value.axes[1], f"{call.name} normalises over channels")
    return call.output(value.axes)


def _per_channel(call: Call, names: tuple[str, ...], shared: tuple[int, ...]) -> Value:
    value = call.value
    channel = 1 if value.ndim > 1 else 0
    for dim, labels in value.axes.items():
        if dim != channel and (dim > channel or dim in shared):
            call.flow.freeze(labels, f"{call.name} takes statistics over it")
    if channel in value.axes:
        parameters = _parameters(call, names)
        for parameter in parameters:
            call.flow.unify(value.axes[channel], parameter.axes[0], call.name)
        if call.module is not None and not parameters:
            call.flow.mask(call.key, channel, value.axes[channel])
    return call.output(value.axes)


def _parameters(call: Call, names: tuple[str, ...]) -> list[Value]:
    if call.module is not None:
        found = [call.parameter(name) for name in names]
    else:
        found = [
            part for part in (*call.args[1:], *call.kwargs.values()) if isinstance(part, Value)
        ]
    return [parameter for parameter in found if parameter is not None]


def softmax(call: Call) -> Value:
    """Normalises over one dimension."""
    value = call.value
    dim = call.setting("dim") if call.module is not None else call.argument(1, "dim")
    if dim is None:
        dim = 0 if value.ndim in (0, 1, 3) else 1
    labels: Labels | None = value.axes.get(dim % value.ndim)
    if labels is not None:
        call.flow.freeze(labels, f"{call.name} normalises over channels")
    return call.output(value.axes)
