"""Derive the channel groups of a traced model."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from torch import fx

from neuroexapt.graph.components import components
from neuroexapt.graph.flow import Mismatch, Role, freeze_all
from neuroexapt.graph.groups import ChannelGroup, Member, Site, grown, kinds
from neuroexapt.graph.interpret import Environment, Interpretation, parameters_under, where
from neuroexapt.graph.recorder import Recorder, Space, maker
from neuroexapt.graph.rules.call import nested_values, unlabelled
from neuroexapt.graph.trial import Trial, contradiction
from neuroexapt.graph.value import Labels, Value

NO_CONSUMER = "nothing reads it through weights that could start at zero"
TWO_ROLES = "a tied weight both makes and reads it"
UNEVEN = "its channels are used unevenly"
KEPT = "outputs see the inputs only through it (kept_through)"
EVENLY = "some more often than others: with a layer for each use they could grow"


@dataclass(frozen=True, eq=False)
class Coupling:
    """What coupling found.

    Attributes:
        groups: the channel groups, in order of their first producers.
        axes: node name -> dimension of its output -> labels of the units along it.
    """

    groups: tuple[ChannelGroup, ...]
    axes: Mapping[str, Mapping[int, Labels]]

    def frozen_where(self, tensors: Collection[str], reason: str) -> "Coupling":
        """The same, with groups frozen that hold one of these tensors."""
        groups = tuple(
            replace(group, frozen=group.frozen or reason)
            if any(member.tensor in tensors for member in group.members)
            else group
            for group in self.groups
        )
        return Coupling(groups, self.axes)

    @cached_property
    def named(self) -> Mapping[str, ChannelGroup]:
        """The groups by name."""
        return {group.name: group for group in self.groups}


def couple(graph_module: fx.GraphModule, kept: Collection[fx.Node] = ()) -> Coupling:
    """Derive the channel groups of a traced model with recorded shapes.

    Values are carried through the graph once; what rules unify becomes one unit. Then every group
    that nothing froze is grown by one unit on paper, and frozen if the graph contradicts.

    Args:
        graph_module: the model.
        kept: nodes whose channels are frozen.
    """
    recorder = Recorder(graph_module)
    environment = _propagate(graph_module, recorder)
    for node in kept:
        for value in nested_values([environment[node]]):
            freeze_all(recorder, value.axes, KEPT)
    units = components(recorder.size, recorder.equal)
    owner = _group_numbers(recorder, units)
    shared = _Shared(graph_module, recorder, environment, units, owner)
    found = [_group(shared, *item) for item in _named(recorder, units, owner).items()]
    made = np.zeros(int(units.max(initial=-1)) + 1, dtype=bool)
    made[units[shared.produced > 0]] = True
    axes = {
        node.name: {
            dim: labels.copy()
            for dim, labels in outcome.axes.items()
            if made[labels].any()  # else positions, as of a learned embedding
        }
        for node, outcome in shared.environment.items()
        if isinstance(outcome, Value)
    }
    return Coupling(tuple(found), axes)


def _propagate(graph_module: fx.GraphModule, recorder: Recorder) -> Environment:
    interpretation = Interpretation(graph_module, recorder)
    environment: Environment = {}
    for node in graph_module.graph.nodes:
        try:
            environment[node] = interpretation.node(node, environment)
        except Mismatch as mismatch:
            for value in nested_values([environment[n] for n in node.all_input_nodes]):
                freeze_all(recorder, value.axes, str(mismatch))
            environment[node] = unlabelled(node.meta.get("example"), where(node))
    return environment


def _marked(recorder: Recorder, role: Role) -> Labels:
    """For each label, 1 where a dimension with this role has it."""
    flags = np.zeros(recorder.size, dtype=np.int64)
    for labels, given, _ in recorder.marks:
        if given is role:
            flags[labels] = 1
    return flags


def _group_numbers(recorder: Recorder, units: Labels) -> Labels:
    """For each unit the number of its group: units of one producer's dimension are together."""
    produced = _marked(recorder, Role.PRODUCER)
    pairs = [
        (units[space.labels][:-1], units[space.labels][1:])
        for space in recorder.spaces
        if len(space.labels) and produced[space.labels].all()
    ]
    return components(int(units.max(initial=-1)) + 1, pairs)


def _named(recorder: Recorder, units: Labels, owner: Labels) -> dict[int, str]:
    """Groups that have a producer, in order of their first one: number -> its name."""
    found: dict[int, str] = {}
    for labels, role, name in recorder.marks:
        number = int(owner[units[labels[0]]]) if role is Role.PRODUCER and len(labels) else None
        if number is not None and number not in found:
            found[number] = _unused(recorder, name, int(labels[0]), set(found.values()))
    return found


def _unused(recorder: Recorder, name: str, label: int, taken: set[str]) -> str:
    """The name, or that of the tensor: weights may be computed, or make channels in both ways."""
    if name and name not in taken:
        return name
    space = next(s for s in recorder.spaces if label in s.labels)
    own = maker(space.tensor)
    return own if own not in taken else f"{space.tensor}[{space.dim}]"


class _Shared:
    """What all groups are derived from, indexed once."""

    def __init__(
        self,
        graph_module: fx.GraphModule,
        recorder: Recorder,
        environment: Environment,
        units: Labels,
        owner: Labels,
    ) -> None:
        self.graph_module, self.recorder = graph_module, recorder
        self.units, self.owner = units, owner
        self.produced = _marked(recorder, Role.PRODUCER)
        self.consumed = _marked(recorder, Role.CONSUMER)
        self.environment = _canonical(environment, units)
        self.spaces: dict[int, list[Space]] = {}
        for space in recorder.spaces:
            for number in np.unique(owner[units[space.labels]]):
                self.spaces.setdefault(int(number), []).append(space)
        self.reasons: dict[int, str] = {}
        for labels, reason in recorder.frozen:
            for number in np.unique(owner[units[labels]]):
                self.reasons.setdefault(int(number), reason)
        self.tensors = {
            path: _relabelled(value, units) for path, value in _paths(graph_module, recorder)
        }
        self.readers: dict[int, set[fx.Node]] = {}
        for node in graph_module.graph.nodes:
            for path in parameters_under(graph_module, node):
                if path in self.tensors:
                    self.readers.setdefault(id(_tensor(graph_module, path)), set()).add(node)
        self.carriers = self._carriers()

    def _carriers(self) -> dict[int, list[Site]]:
        """Group number -> nodes whose output carries it."""
        found: dict[int, list[Site]] = {}
        for node, outcome in self.environment.items():
            if node.op in ("output", "get_attr") or not isinstance(outcome, Value):
                continue
            for dim, labels in outcome.axes.items():
                number = int(self.owner[labels[0]]) if len(labels) else -1
                found.setdefault(number, []).append(Site(node.name, dim, labels))
        return found


def _paths(graph_module: fx.GraphModule, recorder: Recorder) -> Iterable[tuple[str, Value]]:
    for node in graph_module.graph.nodes:
        for path in parameters_under(graph_module, node):
            known = recorder.known.get(id(_tensor(graph_module, path)))
            if known is not None:
                yield path, known


def _tensor(graph_module: fx.GraphModule, path: str) -> object:
    found: object = graph_module
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _relabelled(value: Value, units: Labels) -> Value:
    axes = {dim: units[labels] for dim, labels in value.axes.items()}
    return Value(value.shape, axes, value.origin, value.weight)


def _canonical(environment: Environment, units: Labels) -> Environment:
    """Outcomes with units in place of labels."""

    def convert(item: object) -> object:
        if isinstance(item, Value):
            return _relabelled(item, units)
        if isinstance(item, tuple) and type(item) is tuple:
            return tuple(convert(part) for part in item)
        if isinstance(item, list):
            return [convert(part) for part in item]
        if isinstance(item, dict):
            return {key: convert(part) for key, part in item.items()}
        return item

    return {node: convert(outcome) for node, outcome in environment.items()}


def _group(shared: _Shared, number: int, name: str) -> ChannelGroup:
    spaces = shared.spaces[number]
    first = next(s for s in spaces if shared.produced[s.labels].all())
    order = _order(shared.units[first.labels])
    index = np.full(len(shared.owner), -1, dtype=np.int64)
    index[order] = np.arange(len(order))
    members, conflict = [], None
    for space in spaces:
        role = _role(shared, space)
        if role is None:
            conflict = TWO_ROLES
            role = Role.PASSENGER
        members.append(Member(space.tensor, space.dim, role, index[shared.units[space.labels]]))
    reason = shared.reasons.get(number) or conflict or _uneven(members, len(order))
    if reason is None and not any(m.role is Role.CONSUMER for m in members):
        reason = NO_CONSUMER
    for unit in () if reason else kinds([m.units for m in members], len(order)):
        reason = reason or _trial(shared, members, unit)
    return ChannelGroup(
        name=name,
        size=len(order),
        frozen=reason,
        members=tuple(members),
        site=_site(shared, number, index, members),
        masks=_masks(shared, index),
    )


def _order(units: Labels) -> Labels:
    """Units in order of their first appearance."""
    _, first = np.unique(units, return_index=True)
    return units[np.sort(first)]


def _role(shared: _Shared, space: Space) -> Role | None:
    produced = bool(shared.produced[space.labels].any())
    consumed = bool(shared.consumed[space.labels].any())
    if produced and consumed:
        return None
    return Role.PRODUCER if produced else Role.CONSUMER if consumed else Role.PASSENGER


def _uneven(members: list[Member], size: int) -> str | None:
    for member in members:
        counts = np.bincount(member.units[member.units >= 0], minlength=size)
        if len(set(counts.tolist())) > 1:
            return f"{UNEVEN} by {member.tensor!r}, {EVENLY}"
    return None


def _trial(shared: _Shared, members: list[Member], unit: int) -> str | None:
    """Grow on paper by one unit like the given one."""
    newborn = len(shared.owner)
    grown_axes: dict[int, dict[int, Labels]] = {}
    touched: set[fx.Node] = set()
    for member in members:
        layout = grown(member.units, np.array([unit]))
        tensor = _tensor(shared.graph_module, member.tensor)
        labels = shared.tensors[member.tensor].axes[member.dim][layout.source]
        labels = np.where(layout.newborn >= 0, newborn, labels)
        grown_axes.setdefault(id(tensor), {})[member.dim] = labels
        touched |= shared.readers.get(id(tensor), set())
    values = _Grown(shared, grown_axes)
    anonymous = {key: shared.units[labels] for key, labels in shared.recorder.unmade.items()}
    trial = Trial(values, anonymous, newborn)
    return contradiction(shared.graph_module, shared.environment, trial, touched)


class _Grown(dict[str, Value]):
    """Tensors by path, the grown ones in their new size."""

    def __init__(self, shared: _Shared, grown_axes: dict[int, dict[int, Labels]]) -> None:
        super().__init__()
        self.shared, self.grown_axes = shared, grown_axes

    def __getitem__(self, path: str) -> Value:
        value = self.shared.tensors[path]
        axes = self.grown_axes.get(id(_tensor(self.shared.graph_module, path)))
        if axes is None:
            return value
        shape = list(value.shape)
        for dim, labels in axes.items():
            shape[dim] = len(labels)
        return Value(tuple(shape), {**value.axes, **axes}, value.origin, value.weight)


def _site(shared: _Shared, number: int, index: Labels, members: list[Member]) -> Site | None:
    """The last node that carries each unit equally often, up to the first that reads them.

    As few times as there is such a node for: once, unless a unit is a block of channels.
    """
    size = int((index >= 0).sum())
    readers: set[str] = set()
    for member in members:
        if member.role is Role.CONSUMER:
            tensor = _tensor(shared.graph_module, member.tensor)
            readers |= {node.name for node in shared.readers.get(id(tensor), set())}
    site: Site | None = None
    positions = {node.name: i for i, node in enumerate(shared.graph_module.graph.nodes)}
    first = min((positions[name] for name in readers), default=len(positions))
    for carrier in shared.carriers.get(number, []):
        units = index[carrier.units]
        if (units < 0).any() or len(set(np.bincount(units, minlength=size).tolist())) > 1:
            continue
        repeats = len(units) - (len(site.units) if site is not None else len(units) + 1)
        if repeats < 0 or (repeats == 0 and positions[carrier.node] < first):
            site = Site(carrier.node, carrier.dim, units)
    return site


def _masks(shared: _Shared, index: Labels) -> tuple[Site, ...]:
    found = []
    for key, dim, labels in shared.recorder.masks:
        units = index[shared.units[labels]]
        if (units >= 0).any():
            found.append(Site(key, dim, units))
    return tuple(found)
