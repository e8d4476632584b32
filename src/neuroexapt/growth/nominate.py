"""Nominators: each looks at the readings from one side, and proposes edits.

None of them decides. They name what is possible and what speaks for it; which proposals are worth
their cost is for the arbiter.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from torch import Tensor, fx

from neuroexapt.edits import Activate, Attend, Connect, Deepen, Prune, Settle, Split, Widen
from neuroexapt.edits.activate import Activation, activation_name, activations, blends
from neuroexapt.edits.site import place
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel
from neuroexapt.graph.assemble import attribute
from neuroexapt.growth.proposal import Proposal
from neuroexapt.signals import LayerCorrelation, Readings, layers

MOST_POSITIONS = 256
"""Positions up to which self-attention is proposed: its cost grows with their square."""
Block: TypeAlias = Literal["residual", "bottleneck", "inverted"]
BLOCKS: tuple[Block, ...] = ("residual", "bottleneck", "inverted")
"""Forms of blocks, the plain one first."""
SMOOTH: tuple[Activation, ...] = ("silu", "gelu")
"""What activations are blended towards, the first that one isn't already."""
SETTLED = 0.1
"""How far from 0 or 1 all of a blend's amounts may be for it to be ended."""


def nominate_splits(readings: Readings, living: LivingModel, share: float) -> Iterator[Proposal]:
    """Divide the units with the highest activation entropy, a share of each group."""
    for group in growable(living):
        entropy = readings.entropy.get(group.name)
        if entropy is not None:
            units = entropy.argsort(descending=True, stable=True)[: _part(group, share)].tolist()
            evidence = {"entropy": entropy[units].tolist(), "num_samples": readings.num_samples}
            yield Proposal(Split(group=group.name, units=tuple(units)), evidence)


def nominate_widening(
    readings: Readings,
    living: LivingModel,
    share: float,
    init: Literal["random", "gradmax"] = "random",
) -> Iterator[Proposal]:
    """Add new units, a share of each group."""
    for group in widenable(living):
        evidence = {"entropy": _mean(readings.entropy.get(group.name))}
        yield Proposal(Widen(group=group.name, count=_part(group, share), init=init), evidence)


def nominate_connections(readings: Readings, living: LivingModel) -> Iterator[Proposal]:
    """Connect layers that aren't adjacent, the strongest correlation first."""
    known = {layer.name: layer for layer in layers(living)}
    taken = {(e.source, e.target) for e in living.edits if isinstance(e, Connect)}
    calls = _num_calls(living)
    for pair in readings.correlations:
        source = known[pair.source].output
        if living.leads_past(source, pair.target):
            continue
        if (source, pair.target) not in taken and calls[pair.target] < 2:
            edit = Connect(source=source, target=pair.target)
            yield Proposal(edit, _of_pair(pair, readings))


def nominate_blocks(living: LivingModel, forms: Sequence[Block] = BLOCKS[:1]) -> Iterator[Proposal]:
    """Put a residual block of each of the forms behind each layer.

    Where positions are kept apart, as in causal models, it treats each by itself.
    """
    size = 1 if _keeps_positions_apart(living) else 3
    for name, _ in _layer_outputs(living):
        for form in forms:
            yield Proposal(Deepen(after=name, form=form, kernel_size=size), {})


def nominate_attention(living: LivingModel) -> Iterator[Proposal]:
    """Attend over the channels of each layer, and over positions where they aren't too many.

    Both look at all positions. Where these are kept apart there is none, or, if only later ones
    are, a causal one over positions.
    """
    apart = [each for each in living.kept_apart if each.dim is not None]
    causal = bool(apart)
    if any(each.mask is not None or not each.later for each in apart):
        return
    for name, node in _layer_outputs(living):
        taken = {e.form for e in _attended(living, name) if e.source is None}
        where = place(living, node)
        positions = math.prod(where.spatial) if where.is_map else math.prod(where.shape[1:-1])
        if positions > 1 and "channels" not in taken and not causal:
            yield Proposal(Attend(after=name), {"positions": positions})
        fits = 1 < positions <= MOST_POSITIONS and (not causal or len(where.shape) == 3)
        if fits and "positions" not in taken:
            edit = Attend(after=name, form="positions", causal=causal)
            yield Proposal(edit, {"positions": positions})


def nominate_driving(readings: Readings, living: LivingModel) -> Iterator[Proposal]:
    """Let a distant layer drive the channels of another, the strongest correlation first.

    It is driven by the mean over positions: by nothing where these are kept apart.
    """
    if _keeps_positions_apart(living):
        return
    known = {layer.name: layer for layer in layers(living)}
    outputs = {name for name, _ in _layer_outputs(living)}
    for pair in readings.correlations:
        source, target = known[pair.source].output, known[pair.target].output
        driven = any(edit.source is not None for edit in _attended(living, target))
        past = living.leads_past(source, target)
        if {source, target} <= outputs and not driven and not past:
            yield Proposal(Attend(after=target, source=source), _of_pair(pair, readings))


def nominate_activations(living: LivingModel) -> Iterator[Proposal]:
    """Blend each activation with a smooth one."""
    taken = {e.node for e in living.edits if isinstance(e, Activate)}
    calls = _num_calls(living)
    for name in activations(living):
        node = living.node(name)
        present = activation_name(living, node)
        is_free = not (name in taken or name.startswith("edit") or living.keeps(name))
        if is_free and _has_place(living, node) and _is_once(node, calls):
            to = next(candidate for candidate in SMOOTH if candidate != present)
            yield Proposal(Activate(node=name, to=to), {"present": present or node.name})


def nominate_settling(living: LivingModel, num_young: int = 0) -> Iterator[Proposal]:
    """End blends all of whose amounts are near 0, or all near 1.

    Args:
        living: the model.
        num_young: of its latest edits, whose blends have to be given time: they begin at 0.
    """
    grown_up = len(living.edits) - num_young
    for name, blend in blends(living).items():
        if (made := re.match(r"edit(\d+)", name)) and int(made[1]) >= grown_up:
            continue
        if living.keeps(name):
            continue
        amount = blend.amount.detach()
        for keep, goal in (("first", 0.0), ("second", 1.0)):
            distance = float((amount - goal).abs().max())
            if distance <= SETTLED:
                edit = Settle(blend=name, keep=keep, preserving=False)
                yield Proposal(edit, {"farthest": distance})


def nominate_pruning(readings: Readings, living: LivingModel, share: float) -> Iterator[Proposal]:
    """Remove the units of each group that matter least, at most a share of it; dead ones first."""
    for group in growable(living):
        saliency = readings.saliency.get(group.name)
        if saliency is None or group.size < 2:
            continue
        count = min(_part(group, share), group.size - 1)
        units = saliency.argsort(stable=True)[:count].tolist()
        evidence = {
            "saliency": saliency[units].tolist(),
            "removed": count / group.size,
            "num_dead": int(readings.dead[group.name][units].sum()),
            "num_samples": readings.num_samples,
        }
        yield Proposal(Prune(group=group.name, units=tuple(units), preserving=False), evidence)


def nominate_dead(readings: Readings, living: LivingModel) -> Iterator[Proposal]:
    """Remove the units of each group that gave one and the same value throughout."""
    for group in growable(living):
        dead = readings.dead.get(group.name)
        units = [] if dead is None else dead.nonzero().flatten().tolist()
        if 0 < len(units) < group.size:
            evidence = {"num_dead": len(units), "num_samples": readings.num_samples}
            yield Proposal(Prune(group=group.name, units=tuple(units), preserving=False), evidence)


def _keeps_positions_apart(living: LivingModel) -> bool:
    return any(apart.dim is not None for apart in living.kept_apart)


def growable(living: LivingModel) -> list[ChannelGroup]:
    """The groups that can change their size, and whose units are made by weights that are trained.

    What the user has frozen, as a whitening, stays as it is: newborn units would never learn.
    """
    return [
        group
        for group in living.groups
        if group.frozen is None
        and any(is_trained(living, producer.tensor) for producer in group.producers)
    ]


def widenable(living: LivingModel) -> list[ChannelGroup]:
    """The growable groups that trained weights read: elsewhere outgoing weights would stay zero."""
    return [
        group
        for group in growable(living)
        if any(is_trained(living, consumer.tensor) for consumer in group.consumers)
    ]


def is_trained(living: LivingModel, path: str) -> bool:
    """Whether a parameter is, or a tensor that is none may be."""
    return bool(attribute(living.graph_module, path).requires_grad)


def _attended(living: LivingModel, name: str) -> list[Attend]:
    """The attention between a node and the layer whose output it is."""
    names = [name]
    while made := re.match(r"edit(\d+)_", names[-1]):
        edit = living.edits[int(made[1])]
        if not isinstance(edit, Attend):
            break
        names.append(edit.after)
    return [edit for edit in living.edits if isinstance(edit, Attend) and edit.after in names]


def _of_pair(pair: LayerCorrelation, readings: Readings) -> dict[str, object]:
    return {
        "correlation": pair.correlation,
        "p_value": pair.p_value,
        "num_samples": pair.num_samples,
        "noise_floor": readings.noise_floor,
    }


def _part(group: ChannelGroup, share: float) -> int:
    return max(round(group.size * share), 1)


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _layer_outputs(living: LivingModel) -> Iterator[tuple[str, fx.Node]]:
    """Where layers end whose output carries channels, but for the model's own outputs.

    And but for layers that are called several times, as those of two equal towers: what is added
    to one call would make it another function than the others.
    """
    last = {node for node in living.graph_module.graph.nodes if node.op == "output"}
    calls = _num_calls(living)
    for layer in layers(living):
        node = living.node(layer.output)
        if not last & set(node.users) and _has_place(living, node) and _is_once(node, calls):
            yield layer.output, node


def _num_calls(living: LivingModel) -> Counter[str]:
    """How often each module with parameters is called."""
    graph_module = living.graph_module
    return Counter(
        str(node.target)
        for node in graph_module.graph.nodes
        if node.op == "call_module"
        and any(True for _ in graph_module.get_submodule(str(node.target)).parameters())
    )


def _is_once(node: fx.Node, calls: Counter[str]) -> bool:
    """Whether the layer that a node's output comes from is called once."""
    while calls[str(node.target)] == 0 and len(node.all_input_nodes) == 1:
        (node,) = node.all_input_nodes
    return calls[str(node.target)] < 2


def _has_place(living: LivingModel, node: fx.Node) -> bool:
    try:
        place(living, node)
    except EditError:
        return False
    return True
