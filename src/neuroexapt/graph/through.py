"""What outputs see of the inputs only through some nodes, as a decoder through its code."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from torch import fx

from neuroexapt.graph.lookup import Lookup

Way: TypeAlias = tuple[str, int]
"""From an input, by its node's name, to an output, by its number."""


@dataclass(frozen=True)
class Through:
    """Nodes that all ways from inputs to outputs lead through, but for some.

    Attributes:
        names: of the nodes, as `LivingModel.node` takes them.
        past: ways that don't, and needn't: as of a condition that a decoder is given.
    """

    names: tuple[str, ...]
    past: frozenset[Way]

    def broken_by(self, graph: fx.Graph) -> str | None:
        """What a graph does that it mustn't, in words; None if nothing."""
        named = Lookup.of(graph).named
        if gone := [name for name in self.names if name not in named]:
            return f"take {gone[0]!r} away, which outputs see the inputs through"
        ways = Ways(graph, [named[name] for name in self.names])
        if new := ways.all() - self.past:
            along = " -> ".join(ways.along(min(new)))
            return f"let outputs see inputs past {' and '.join(self.names)}, along {along}"
        return None


class Ways:
    """What is connected in a graph past some nodes.

    Args:
        graph: the graph.
        through: the nodes that don't count.

    Attributes:
        own: numbers of the outputs that are such nodes themselves.
    """

    def __init__(self, graph: fx.Graph, through: Iterable[fx.Node]) -> None:
        blocked = frozenset(through)
        self._heard: dict[fx.Node, frozenset[str]] = {}
        self._leads: dict[fx.Node, frozenset[int]] = {}
        (output,) = (node for node in graph.nodes if node.op == "output")
        self._outputs = list(_leaves(output.args))
        self.own = frozenset(n for n, leaf in enumerate(self._outputs) if leaf in blocked)
        for node in graph.nodes:
            own = {node.name} if node.op == "placeholder" else set()
            heard = own.union(*(self._heard[source] for source in node.all_input_nodes))
            self._heard[node] = frozenset() if node in blocked else frozenset(heard)
        for node in reversed(graph.nodes):
            numbers = {number for number, leaf in enumerate(self._outputs) if leaf is node}
            leads = numbers.union(*(self._leads[user] for user in node.users))
            self._leads[node] = frozenset() if node in blocked else frozenset(leads)

    def all(self) -> frozenset[Way]:
        """All that there are."""
        return frozenset(
            (name, number)
            for number, leaf in enumerate(self._outputs)
            for name in self._heard[leaf]
        )

    def between(self, source: fx.Node, target: fx.Node) -> frozenset[Way]:
        """Those that there would be if a node's output went into another one."""
        return frozenset(
            (name, number) for name in self._heard[source] for number in self._leads[target]
        )

    def along(self, way: Way) -> list[str]:
        """The names of the nodes along one way."""
        name, number = way
        node, found = self._outputs[number], []
        while node.op != "placeholder":
            found.append(node.name)
            node = next(source for source in node.all_input_nodes if name in self._heard[source])
        return [node.name, *reversed(found)]


def _leaves(of: object) -> Iterator[fx.Node]:
    """The nodes among a model's outputs, in order."""
    if isinstance(of, fx.Node):
        yield of
    elif isinstance(of, dict):
        for value in of.values():
            yield from _leaves(value)
    elif isinstance(of, tuple | list):
        for value in of:
            yield from _leaves(value)
