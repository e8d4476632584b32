"""Outcomes of which the call itself says into how many parts they come."""

import operator
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


def is_shape(node: fx.Node) -> bool:
    """Whether a node gives sizes, as many as there are dimensions, or some of them in a row."""
    if node.target is operator.getitem:
        inner, index = node.args
        return isinstance(index, slice) and isinstance(inner, fx.Node) and is_shape(inner)
    if node.target is getattr:
        return node.args[1] == "shape"
    return node.op == "call_method" and node.target == "size" and len(node.all_input_nodes) == 1


def is_split_of_channels(node: fx.Node, ndim: int) -> bool:
    """Whether a tensor of so many dimensions is split along what are surely its channels.

    Where it is split along samples or positions, another batch may give another number of parts.
    """
    if node.target not in _PARTS:
        return False
    dim = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    return isinstance(dim, int) and dim % ndim in ({1, ndim - 1} if ndim != 3 else {2}) - {0}


def is_rank(node: fx.Node) -> bool:
    """Whether a number follows from nothing but how many dimensions there are."""
    if node.op == "call_method":
        return node.target in ("dim", "ndimension")
    if node.target is getattr:
        return node.args[1] == "ndim"
    inputs = node.all_input_nodes
    return node.op == "call_function" and bool(inputs) and all(map(is_rank, inputs))


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
