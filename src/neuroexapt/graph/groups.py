"""Channel groups: the tensors and dimensions that must change size together."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from neuroexapt.graph.flow import Role
from neuroexapt.graph.value import Labels


@dataclass(frozen=True, eq=False)
class Member:
    """One dimension of one tensor in a group.

    Attributes:
        tensor: path of the parameter or buffer, such as "layer1.0.conv1.weight".
        dim: which of its dimensions.
        role: whether it makes the group's channels, carries something along, or reads them.
        units: for each position along the dimension, the group's unit there; -1 where another
            group's.
    """

    tensor: str
    dim: int
    role: Role
    units: Labels = field(repr=False)


@dataclass(frozen=True, eq=False)
class Site:
    """Where a group's activations can be watched, along one dimension.

    Each unit is there equally often: once, or several times where a unit is a block of channels.

    Attributes:
        node: name of the graph node.
        dim: dimension of its output that carries the units.
        units: the unit at each position.
    """

    node: str
    dim: int
    units: Labels = field(repr=False)


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Channels that must change their number together.

    Attributes:
        name: qualified name of the first module that makes them.
        size: number of units; a unit is one channel, or one block where a grouped operation or a
            gate ties several.
        frozen: None, or the reason why it can't grow.
        members: every tensor dimension that changes with it.
        site: where to watch its activations; None where no tensor carries all units equally often.
        masks: nodes that depend on the units without a tensor of their size, dropouts and norms
            without scale: (node, dimension, unit at each position).
    """

    name: str
    size: int
    frozen: str | None
    members: tuple[Member, ...] = field(repr=False)
    site: Site | None = field(default=None, repr=False)
    masks: tuple[Site, ...] = field(default=(), repr=False)

    @property
    def producers(self) -> tuple[Member, ...]:
        """The dimensions that make the units."""
        return tuple(member for member in self.members if member.role is Role.PRODUCER)

    @property
    def consumers(self) -> tuple[Member, ...]:
        """The dimensions that read the units."""
        return tuple(member for member in self.members if member.role is Role.CONSUMER)


@dataclass(frozen=True, eq=False)
class Layout:
    """How a dimension looks after an edit.

    Attributes:
        source: for each new position, the old position that it continues or is modelled on.
        newborn: for each new position, the index of the newborn unit there; -1 where inherited.
    """

    source: Labels
    newborn: Labels

    @property
    def inherited(self) -> Labels:
        """Old position of each new one; -1 for newborn ones."""
        return np.where(self.newborn < 0, self.source, -1)


def grown(units: Labels, parents: Labels) -> Layout:
    """Append one newborn unit for each of `parents`, laid out like its parent.

    A dimension may run through the units several times (a channel-last flatten, the two halves of
    a gate): newborns are appended to each pass. Within a pass, a unit may take several neighbouring
    positions (a channel-first flatten, one group of a convolution).
    """
    source: list[Labels] = []
    newborn: list[Labels] = []
    for start, stop in _passes(units):
        positions = np.arange(start, stop, dtype=np.int64)
        source.append(positions)
        newborn.append(np.full(len(positions), -1, dtype=np.int64))
        for index, parent in enumerate(parents if _has_units(units[start:stop]) else ()):
            copied = positions[units[start:stop] == parent]
            source.append(copied)
            newborn.append(np.full(len(copied), index, dtype=np.int64))
    return Layout(np.concatenate(source), np.concatenate(newborn))


def pruned(units: Labels, removed: Labels) -> Layout:
    """Drop the positions of the removed units."""
    source = np.flatnonzero(~np.isin(units, removed)).astype(np.int64)
    return Layout(source, np.full(len(source), -1, dtype=np.int64))


def kinds(dimensions: Iterable[Labels], size: int) -> list[int]:
    """A unit of each kind, the last first: units of a kind are in the same passes everywhere."""
    presence = [
        np.isin(np.arange(size), units[start:stop])
        for units in dimensions
        for start, stop in _passes(units)
        if _has_units(units[start:stop])
    ]
    table = np.stack([np.ones(size, dtype=bool), *presence])
    _, first = np.unique(table[:, ::-1], axis=1, return_index=True)
    return [size - 1 - int(index) for index in np.sort(first)]


def _has_units(units: Labels) -> bool:
    return bool((units >= 0).any())


def _passes(units: Labels) -> list[tuple[int, int]]:
    """Stretches in which the unit numbers never decrease; each ends just after its last unit."""
    positions = np.flatnonzero(units >= 0)
    if len(positions) == 0:
        return [(0, len(units))]
    drops = np.flatnonzero(np.diff(units[positions]) < 0)
    ends = [*(positions[drops] + 1), positions[-1] + 1]
    if ends[-1] < len(units):
        ends.append(len(units))
    starts = [0, *ends[:-1]]
    return [(int(a), int(b)) for a, b in zip(starts, ends, strict=True)]
