"""Grow a group on paper and run the labels through the graph again: does everything still fit?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import fx

from neuroexapt.graph.flow import Mismatch, Role
from neuroexapt.graph.interpret import Environment, Interpretation, where
from neuroexapt.graph.rules import elementwise
from neuroexapt.graph.rules.call import nested_values
from neuroexapt.graph.rules.table import FUNCTIONS, METHODS
from neuroexapt.graph.value import Labels, Value


@dataclass
class Trial:
    """The flow that checks: whatever was unified must be equal now.

    Attributes:
        values: path -> the tensor with its present labels; grown ones replace the others.
        anonymous_labels: key -> labels of channels that no parameter makes.
        newborn: the first label that didn't exist before.
    """

    values: Mapping[str, Value]
    anonymous_labels: Mapping[str, Labels]
    newborn: int
    masks: list[str] = field(default_factory=list)

    def parameter(self, path: str) -> Value:
        """The tensor at `path`."""
        return self.values[path]

    def unify(self, first: Labels, second: Labels, where: str) -> None:
        """Compare."""
        if not np.array_equal(first, second):
            raise Mismatch(f"{where} wouldn't line up with one channel more")

    def freeze(self, labels: Labels, reason: str) -> None:
        """A trial grows only what isn't frozen: a newborn unit that freezes is a contradiction."""
        if (labels >= self.newborn).any():
            raise Mismatch(reason)

    def mark(self, labels: Labels, role: Role, name: str) -> None:
        """Roles don't change."""

    def mask(self, key: str, dim: int, labels: Labels) -> None:  # noqa: ARG002 - a Flow's signature
        """Masks don't change."""
        self.masks.append(key)

    def anonymous(self, key: str, size: int) -> Labels:
        """The labels that these channels had."""
        labels = self.anonymous_labels[key]
        if len(labels) != size:
            raise Mismatch(f"the size of an untracked tensor changes at {key}")
        return labels


def contradiction(
    graph_module: fx.GraphModule,
    environment: Environment,
    flow: Trial,
    touched: set[fx.Node],
) -> str | None:
    """Run the graph on grown values, from the touched nodes on, as far as anything differs.

    Args:
        graph_module: the traced model.
        environment: every node's outcome before.
        flow: the trial, with grown parameters.
        touched: nodes that read a grown parameter.

    Returns:
        Why it doesn't fit, or None.
    """
    interpretation = Interpretation(graph_module, flow)
    changed: dict[fx.Node, object] = {}
    merged = _Overlay(environment, changed)
    for node in graph_module.graph.nodes:
        if node not in touched and not any(n in changed for n in node.all_input_nodes):
            continue
        if _computes_with_size(node, merged, changed):
            return f"{where(node)} computes with the number of channels"
        try:
            outcome = interpretation.node(node, merged)
        except Mismatch as mismatch:
            return str(mismatch)
        if node.op == "output":
            if not _same(outcome, environment[node]):
                return "an output of the model"
        elif not _same(outcome, environment[node]):
            changed[node] = outcome
    return None


def _computes_with_size(
    node: fx.Node, outcomes: Mapping[fx.Node, object], changed: Mapping[fx.Node, object]
) -> bool:
    """Whether numbers that follow the group's size enter a tensor's values, not its shape."""
    if not any(isinstance(changed.get(n), int | float) for n in node.all_input_nodes):
        return False
    if not any(True for n in node.all_input_nodes for _ in nested_values(outcomes[n])):
        return isinstance(node.meta.get("example"), torch.Tensor)
    table: Mapping[Any, Any] = METHODS if node.op == "call_method" else FUNCTIONS
    return table.get(node.target) in (elementwise.elementwise, elementwise.creates)


class _Overlay(dict[fx.Node, object]):
    """Changed outcomes over unchanged ones."""

    def __init__(self, below: Environment, above: dict[fx.Node, object]) -> None:
        super().__init__()
        self.below, self.above = below, above

    def __getitem__(self, node: fx.Node) -> object:
        return self.above[node] if node in self.above else self.below[node]


def _same(first: object, second: object) -> bool:
    ours, theirs = list(nested_values(first)), list(nested_values(second))
    if ours or theirs:
        return len(ours) == len(theirs) and all(
            a.same_as(b) for a, b in zip(ours, theirs, strict=True)
        )
    return bool(first == second)
