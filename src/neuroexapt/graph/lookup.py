"""What is asked of a graph's nodes again and again, gathered in one pass over them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import fx

from neuroexapt.graph.tracing import owner_of


@dataclass(frozen=True, eq=False)
class Lookup:
    """A graph's nodes by name, and by what they depend on.

    Attributes:
        named: name -> a module's last call, else the node of that name, else the last node within
            a traced-through module of that name.
        computed: nodes that depend on the model's inputs, and these themselves.
    """

    named: Mapping[str, fx.Node]
    computed: frozenset[fx.Node]

    @classmethod
    def of(cls, graph: fx.Graph) -> "Lookup":
        """Look at every node once."""
        nodes = [node for node in graph.nodes if node.op not in ("output", "get_attr")]
        named = {path: node for node in nodes for path in _within(node)}
        named |= {node.name: node for node in nodes}
        named |= {str(node.target): node for node in nodes if node.op == "call_module"}
        computed: set[fx.Node] = set()
        for node in graph.nodes:
            if node.op == "placeholder" or not computed.isdisjoint(node.all_input_nodes):
                computed.add(node)
        return cls(MappingProxyType(named), frozenset(computed))


def _within(node: fx.Node) -> Iterator[str]:
    """Paths of all traced modules around a node, the innermost first."""
    path = owner_of(node)
    yield path
    while "." in path:
        path = path.rpartition(".")[0]
        yield path
