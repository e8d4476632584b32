"""What outputs see of the inputs only through some nodes, as a decoder through its code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import fx
from torch.utils._pytree import tree_leaves

from neuroexapt.errors import EditError
from neuroexapt.graph.lookup import Lookup

Way: TypeAlias = tuple[str, int]
"""From an input, by its node's name, to an output, by its number."""
LIKE_FIRST = frozenset(
    f"{kind}_like" for kind in ("zeros", "ones", "empty", "full", "rand", "randn", "randint")
) | {"new_zeros", "new_ones", "new_empty", "new_full"}
"""Functions and methods that take no more than sizes, types and devices of what they get first."""
FIRST_LIKE = frozenset({"view_as", "reshape_as", "expand_as", "type_as", "to"})
"""Methods that take no more than those of whatever they get besides."""


@dataclass(frozen=True)
class Through:
    """Nodes that all ways from inputs to outputs lead through, but for some.

    Attributes:
        names: of the nodes, as `LivingModel.node` takes them; a module's are all of its calls.
        past: ways that don't, and needn't: as of a condition that a decoder is given.
    """

    names: tuple[str, ...]
    past: frozenset[Way]

    def broken_by(self, graph: fx.Graph) -> str | None:
        """What a graph does that it mustn't, in words; None if nothing.

        Args:
            graph: with the shapes of its nodes.
        """
        found = {name: nodes_of(graph, name) for name in self.names}
        if gone := [name for name, nodes in found.items() if not nodes]:
            return f"take {gone[0]!r} away, which outputs see the inputs through"
        ways = Ways(graph, [node for nodes in found.values() for node in nodes])
        if new := ways.all() - self.past:
            along = " -> ".join(ways.along(min(new)))
            return f"let outputs see inputs past {' and '.join(self.names)}, along {along}"
        return None


def nodes_of(graph: fx.Graph, name: str) -> list[fx.Node]:
    """All calls of a module, or the node of that name; empty if there is none."""
    if calls := [n for n in graph.nodes if n.op == "call_module" and n.target == name]:
        return calls
    node = Lookup.of(graph).named.get(name)
    return [] if node is None else [node]


def checked_names(names: str | Iterable[str]) -> tuple[str, ...]:
    """Names as they are given to `LivingModel.kept_through`.

    Raises:
        EditError: if they are none.
    """
    found = (names,) if isinstance(names, str) else names
    if not isinstance(found, Iterable) or not all(isinstance(n, str) and n for n in found):
        raise EditError(
            f"kept_through is set to {names!r}; give the names of nodes, or () for none"
        )
    return tuple(dict.fromkeys(found))


def found_through(
    graph: fx.Graph, nodes: Mapping[str, Sequence[fx.Node]]
) -> tuple[Through, str | None]:
    """What outputs see through some nodes, and a warning if some outputs don't.

    Args:
        graph: with the shapes of its nodes.
        nodes: by the names that they were given by.

    Raises:
        EditError: if all outputs see all that they see past the nodes.
    """
    told = " and ".join(map(repr, nodes))
    chosen = [node for several in nodes.values() for node in several]
    if inputs := [node.name for node in chosen if node.op == "placeholder"]:
        raise EditError(f"{inputs[0]!r} is an input; name what outputs see the inputs through")
    past = Ways(graph, chosen)
    left = past.all()
    everything = {way for way in Ways(graph, ()).all() if way[1] not in past.own}
    if not everything:
        raise EditError(f"{told} is what the model gives out; name what leads to it")
    if everything <= left:
        raise EditError(
            f"outputs see all inputs past {told} ({past.told(left)}); name the nodes that they see "
            "them through, all together"
        )
    numbers = sorted({number for _, number in everything})
    free = [n for n in numbers if {w for w in everything if w[1] == n} <= left]
    warning = None
    if free:
        shown = past.told(way for way in left if way[1] == free[0])
        warning = (
            f"output {free[0]} sees all that it sees of the inputs past {told} ({shown}), and may "
            "go on to; if it mustn't, name the nodes that it sees them through, too"
        )
    return Through(tuple(nodes), left), warning


class Ways:
    """What is connected in a graph past some nodes. Sizes, types and devices tell nothing.

    Args:
        graph: the graph, with the shapes of its nodes.
        through: the nodes that don't count.

    Attributes:
        own: numbers of the outputs that are such nodes themselves.
    """

    def __init__(self, graph: fx.Graph, through: Iterable[fx.Node]) -> None:
        blocked = frozenset(through)
        self._sources = {node: _sources(node) for node in graph.nodes}
        users: dict[fx.Node, list[fx.Node]] = {node: [] for node in graph.nodes}
        for node, sources in self._sources.items():
            for source in sources:
                users[source].append(node)
        (output,) = (node for node in graph.nodes if node.op == "output")
        self._outputs = [leaf for leaf in tree_leaves(output.args) if isinstance(leaf, fx.Node)]
        self.own = frozenset(n for n, leaf in enumerate(self._outputs) if leaf in blocked)
        self._heard: dict[fx.Node, frozenset[str]] = {}
        for node in graph.nodes:
            own = {node.name} if node.op == "placeholder" else set()
            heard = own.union(*(self._heard[source] for source in self._sources[node]))
            self._heard[node] = frozenset() if node in blocked else frozenset(heard)
        self._leads: dict[fx.Node, frozenset[int]] = {}
        for node in reversed(graph.nodes):
            numbers = {number for number, leaf in enumerate(self._outputs) if leaf is node}
            onward = (self._leads[user] for user in users[node] if user not in blocked)
            self._leads[node] = frozenset(numbers.union(*onward))

    def all(self) -> frozenset[Way]:
        """All that there are."""
        return frozenset(
            (name, number)
            for number, leaf in enumerate(self._outputs)
            for name in self._heard[leaf]
        )

    def between(self, source: fx.Node, target: fx.Node) -> frozenset[Way]:
        """Those that there would be if a node's output were added to another one's."""
        return frozenset(
            (name, number) for name in self._heard[source] for number in self._leads[target]
        )

    def told(self, ways: Iterable[Way]) -> str:
        """One way from each input, in words."""
        chosen = {name: self.along((name, number)) for name, number in sorted(ways, reverse=True)}
        return "; ".join(" -> ".join(nodes) for nodes in chosen.values())

    def along(self, way: Way) -> list[str]:
        """The names of the nodes along one way."""
        name, number = way
        node, found = self._outputs[number], []
        while node.op != "placeholder":
            found.append(node.name)
            node = next(source for source in self._sources[node] if name in self._heard[source])
        return [node.name, *reversed(found)]


def _sources(node: fx.Node) -> Sequence[fx.Node]:
    """The nodes whose values a node's depend on, and not their sizes, types or devices alone."""
    example = node.meta.get("example")
    if example is not None and not any(isinstance(x, torch.Tensor) for x in tree_leaves(example)):
        return ()
    called = node.op in ("call_function", "call_method")
    name = getattr(node.target, "__name__", str(node.target)) if called else ""
    if name in LIKE_FIRST:
        return [source for source in node.all_input_nodes if source is not node.args[0]]
    return node.all_input_nodes[:1] if name in FIRST_LIKE else node.all_input_nodes
