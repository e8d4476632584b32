"""A graph as plain records, which can be pickled and keep the names of its nodes."""

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeAlias

from torch import fx
from torch.fx.node import map_aggregate

Target: TypeAlias = str | Callable[..., Any]


@dataclass(frozen=True)
class Reference:
    """An input that is another node's outcome.

    Attributes:
        name: of that node.
    """

    name: str


@dataclass(frozen=True)
class Named:
    """A function, by where it is found: some of torch's don't know their own name.

    Attributes:
        module: to import.
        name: in that module.
    """

    module: str
    name: str


@dataclass(frozen=True)
class NodeRecord:
    """One node.

    Attributes:
        name: unique in its graph.
        op: kind of node, as in `fx.Node`.
        target: the path, method or function that it uses.
        args: positional inputs, nodes as references.
        kwargs: keyword inputs, likewise.
        stack: modules that it was traced in, the outermost first: (call, path).
    """

    name: str
    op: str
    target: Target | Named
    args: Any
    kwargs: Any
    stack: tuple[tuple[str, str], ...]


def records(graph: fx.Graph) -> tuple[NodeRecord, ...]:
    """All nodes of a graph in order; without what was recorded for an example."""
    return tuple(map(_record, graph.nodes))


def _record(node: fx.Node) -> NodeRecord:
    args, kwargs = map_aggregate((node.args, node.kwargs), _referred)
    stack = tuple((call, str(item[0])) for call, item in _stack(node).items())
    return NodeRecord(node.name, node.op, _by_name(node.target), args, kwargs, stack)


def _referred(item: Any) -> Any:
    return Reference(item.name) if isinstance(item, fx.Node) else item


def _by_name(target: Target) -> Target | Named:
    """A function by module and name where that finds it; pickle looks for others by itself."""
    if isinstance(target, str):
        return target
    named = Named(str(target.__module__), getattr(target, "__name__", ""))
    found = getattr(sys.modules.get(named.module), named.name, None)
    return named if found is target else target


def _target(written: Target | Named) -> Target:
    if not isinstance(written, Named):
        return written
    found: Target = getattr(import_module(written.module), written.name)
    return found


def _stack(node: fx.Node) -> dict[str, Any]:
    return node.meta.get("nn_module_stack") or {}


def graph_of(written: Iterable[NodeRecord]) -> fx.Graph:
    """The graph that was recorded."""
    graph = fx.Graph()
    made: dict[str, fx.Node] = {}

    def found(item: Any) -> Any:
        return made[item.name] if isinstance(item, Reference) else item

    for record in written:
        args, kwargs = map_aggregate((record.args, record.kwargs), found)
        node = graph.create_node(record.op, _target(record.target), args, kwargs, name=record.name)
        assert node.name == record.name, f"{record.name} became {node.name}"
        node.meta["nn_module_stack"] = OrderedDict(
            (call, (path, None)) for call, path in record.stack
        )
        made[node.name] = node
    return graph
