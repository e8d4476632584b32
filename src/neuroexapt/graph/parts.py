"""Outcomes of which the call itself says into how many parts they come."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx


def num_parts(node: fx.Node) -> int | None:
    """Number of parts that a node gives, or None where that follows from the shapes.

    `chunk` may give fewer than it is asked for. Reading the missing ones fails then: nothing is
    computed with a wrong number.
    """
    rule = _PARTS.get(node.target) if node.op in ("call_function", "call_method") else None
    if rule is None:
        return None
    keywords, count = rule
    given = list(node.args[1:2])
    given += [node.kwargs[keyword] for keyword in keywords if keyword in node.kwargs]
    return count(given[0]) if given else None


def _constant(asked: Any) -> int | None:
    return asked if isinstance(asked, int) else None


def _sections(asked: Any) -> int | None:
    return len(asked) if isinstance(asked, list | tuple) else None


def _cuts(asked: Any) -> int | None:
    return len(asked) + 1 if isinstance(asked, list | tuple) else _constant(asked)


_BY_NAME: Mapping[str, tuple[tuple[str, ...], Callable[[Any], int | None]]] = {
    "chunk": (("chunks",), _constant),
    "split": (("split_size", "split_size_or_sections"), _sections),
    "split_with_sizes": (("split_sizes",), _sections),
    "tensor_split": (("indices_or_sections", "indices", "sections"), _cuts),
}
_PARTS: Mapping[Any, tuple[tuple[str, ...], Callable[[Any], int | None]]] = {
    **_BY_NAME,
    **{getattr(torch, name): rule for name, rule in _BY_NAME.items()},
}


class Parts(fx.Proxy):
    """A traced outcome with a known number of parts: it has a length, and can be iterated."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, count: int) -> None:
        super().__init__(node, tracer)
        self.count = count

    def __len__(self) -> int:
        return self.count
