"""Decide by the example which way a `forward` goes, where that depends on sizes and types only."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._pytree import tree_leaves

from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.blame import present_place
from neuroexapt.graph.inputs import FORWARD_FAILURES

UNSTEADY = ("requires_grad", "grad", "grad_fn", "is_leaf")
"""What tensors say of gradients: another time, it is something else."""


class Branches:
    """What the nodes of a graph in the making give for an example, without computing anything.

    Args:
        root: the model that is traced.
        example: name of an input -> its value.
        call: how to call a module of it while it is traced.
    """

    def __init__(
        self,
        root: nn.Module,
        example: Mapping[str, Any],
        call: Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Any],
    ) -> None:
        self._root = root
        self._example = example
        self._call = call
        self._values: dict[fx.Node, Any] = {}
        found = [leaf for leaf in tree_leaves(dict(example)) if isinstance(leaf, FakeTensor)]
        self._mode = found[0].fake_mode if found else FakeTensorMode(allow_non_fake_inputs=True)

    def value(self, node: fx.Node) -> Any:
        """What a node gives.

        Raises:
            UndecidedError: if that can't be told without running the model.
        """
        try:
            with torch.no_grad(), self._mode:
                return self._value(node)
        except FORWARD_FAILURES as error:
            raise UndecidedError from error

    def outcome(self, condition: fx.Node) -> bool | None:
        """Whether a condition holds; None if that depends on the values of tensors."""
        try:
            value = self.value(condition)
            return None if isinstance(value, Tensor) else bool(value)
        except (*FORWARD_FAILURES, UndecidedError):
            return None

    def _value(self, node: fx.Node) -> Any:
        """What a node gives, and with it, in their order, all that it follows from."""
        waiting, needed = [node], set()
        while waiting:
            current = waiting.pop()
            if current not in needed and current not in self._values:
                needed.add(current)
                waiting += current.all_input_nodes
        for other in node.graph.nodes:
            if other in needed:
                self._values[other] = self._computed(other)
        return self._values[node]

    def _computed(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._faked(self._example[str(node.target)])
        if node.op == "get_attr":
            return self._faked(attribute(self._root, str(node.target)))
        args, kwargs = fx.map_arg((node.args, dict(node.kwargs)), self._values.__getitem__)
        if node.op == "call_module":
            return self._call(self._root.get_submodule(str(node.target)), args, kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.target is getattr and args[1] in UNSTEADY:
            raise UndecidedError
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _faked(self, item: Any) -> Any:
        if isinstance(item, FakeTensor) or not isinstance(item, Tensor):
            return item
        return self._mode.from_tensor(item)


class UndecidedError(Exception):
    """It depends on the values of tensors, on gradients, or on what can't be run."""


def guarded(tracer: fx.Tracer, condition: fx.Proxy, outcome: bool) -> None:
    """Let a graph fail where a condition comes out differently than for the example."""
    holds: Any = condition
    if not outcome:
        holds = tracer.create_proxy("call_function", operator.not_, (condition,), {})
    _asserted(tracer, holds, f"the condition {present_place()} isn't {outcome}")


def kept(tracer: fx.Tracer, number: fx.Proxy, known: int, what: str) -> None:
    """Let a graph fail where a number, named in words, is another one than for the example."""
    same = tracer.create_proxy("call_function", operator.eq, (number, known), {})
    _asserted(tracer, same, f"the {what} {present_place()} isn't {known}")


def _asserted(tracer: fx.Tracer, holds: fx.Proxy, otherwise: str) -> None:
    told = f"{otherwise}, as it was for the example_input; trace the model with one like this"
    tracer.create_proxy("call_function", torch._assert, (holds, told), {})
