"""Carry values through a traced graph, one rule an operation."""

import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import fx, nn

from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.flow import Flow, Mismatch, freeze_all
from neuroexapt.graph.rules.call import Call, nested_values, unlabelled
from neuroexapt.graph.rules.table import FUNCTIONS, METHODS, method_of, module_rule, unknown
from neuroexapt.graph.value import Value

Environment: TypeAlias = dict[fx.Node, Any]
FIELDS = ("values", "indices")
"""What torch calls the two outcomes of `max`, `sort` and the like."""


def where(node: fx.Node) -> str:
    """A node in words: "`relu` at layer1.relu"."""
    if node.op == "call_module":
        return f"`{node.target}`"
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "?")
    stack = node.meta.get("nn_module_stack")
    owner = next(reversed(stack)) if stack else ""
    return f"`{name}` in {owner}" if owner else f"`{name}`"


class Interpretation:
    """Evaluates nodes of one graph under a flow.

    Leaves without a rule of their own are looked into: their subgraphs (traced in train and in eval
    mode, see `tracing.py`) are interpreted in their place.
    """

    def __init__(self, graph_module: fx.GraphModule, flow: Flow, prefix: str = "") -> None:
        self.graph_module = graph_module
        self.flow = flow
        self.prefix = prefix

    def node(self, node: fx.Node, environment: Environment) -> Any:
        """The outcome of one node, given those of its inputs."""
        meta = node.meta.get("example")
        if node.op == "placeholder":
            return unlabelled(meta, f"the model input {node.name!r}")
        if node.op == "get_attr":
            return self._attribute(node)
        args = fx.map_arg(node.args, environment.__getitem__)
        kwargs = fx.map_arg(node.kwargs, environment.__getitem__)
        if node.op == "output":
            for value in nested_values(args):
                freeze_all(self.flow, value.axes, "an output of the model")
            return args[0]
        if node.op == "call_module":
            return self._module(node, args, kwargs)
        if node.op == "call_method":
            return self._method(node, args, kwargs)
        return self._function(node, args, kwargs)

    def _call(self, node: fx.Node, target: Callable[..., Any], args: Any, kwargs: Any) -> Call:
        if not args and "input" in kwargs:
            args, kwargs = (kwargs["input"],), {k: v for k, v in kwargs.items() if k != "input"}
        return Call(
            name=where(node),
            target=target,
            args=tuple(args),
            kwargs=kwargs,
            meta=node.meta.get("example"),
            flow=self.flow,
            key=f"{self.prefix}{node.name}",
        )

    def _attribute(self, node: fx.Node) -> Any:
        path = f"{self.prefix}{node.target}"
        target = self.graph_module
        for part in str(node.target).split("."):
            target = getattr(target, part)
        return self.flow.parameter(path) if isinstance(target, torch.Tensor) else target

    def _module(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        module = self.graph_module.get_submodule(str(node.target))
        if isinstance(module, ByMode):
            called = self._call(node, module.function, *module.with_constants(args, kwargs, True))
            return _applied(FUNCTIONS.get(module.function), called)
        path = f"{self.prefix}{node.target}"
        base = self._call(node, module, args, kwargs)
        call = Call(**{**base.__dict__, "module": module, "path": path})
        rule = module_rule(module)
        if rule is None and (subgraphs := node.meta.get("subgraphs")):
            return self._leaf(call, subgraphs, args, kwargs)
        return _applied(rule, call)

    def _leaf(
        self, call: Call, subgraphs: tuple[fx.GraphModule, ...], args: Any, kwargs: Any
    ) -> Any:
        outcomes = [
            interpret(Interpretation(sub, self.flow, f"{call.path}."), args, kwargs)
            for sub in subgraphs
        ]
        first = outcomes[0]
        for other in outcomes[1:]:
            if not _agree(first, other, call):
                return unknown(call)
        return first

    def _method(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        name = str(node.target)
        call = self._call(node, method_of(name), args, kwargs)
        if isinstance(args[0], Value):
            if name == "size":
                dim = call.argument(1, "dim")
                shape = torch.Size(args[0].shape)
                return shape if dim is None else shape[dim]
            if name in ("dim", "ndimension"):
                return args[0].ndim
            if name == "numel":
                return torch.Size(args[0].shape).numel()
            if isinstance(call.meta, bool):  # of what type it is
                return call.meta
            return _applied(METHODS.get(name), call)
        return getattr(args[0], name)(*args[1:], **kwargs)

    def _function(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        assert callable(node.target)
        call = self._call(node, node.target, args, kwargs)
        has_values = any(True for _ in call.values())
        if node.target is getattr and has_values:
            return self._getattr(call)
        if node.target is operator.getitem and not isinstance(args[0], Value):
            return args[0][args[1]]
        if node.target is len and not isinstance(args[0], Value):
            return len(args[0])
        if node.target is torch._assert and not has_values and not args[0]:
            raise Mismatch(f"with one channel more, {str(args[1]).partition(',')[0]}")
        if has_values and isinstance(call.meta, bool):
            return call.meta
        if has_values:
            return _applied(FUNCTIONS.get(node.target), call)
        if isinstance(call.meta, torch.Tensor):
            return unlabelled(call.meta, call.name)
        if call.meta is None:
            return None
        try:
            return node.target(*args, **kwargs)
        except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
            raise Mismatch(f"shape arithmetic in {call.name}") from error

    def _getattr(self, call: Call) -> Any:
        value, name = call.args[0], call.args[1]
        if isinstance(value, tuple):
            return value[FIELDS.index(name)] if name in FIELDS else unknown(call)
        if name == "shape":
            return torch.Size(value.shape)
        if name == "ndim":
            return value.ndim
        if name in ("T", "mT", "H", "mH"):
            moved = Call(
                **{**call.__dict__, "target": lambda t: getattr(t, name), "args": (value,)}
            )
            return METHODS["permute"](moved)
        if isinstance(call.meta, torch.Tensor):
            return unknown(call)
        return call.meta


def _applied(rule: Callable[[Call], Any] | None, call: Call) -> Any:
    """The rule's outcome; without labelled inputs or a rule, what can't be followed."""
    if rule is None or not isinstance(call.meta, torch.Tensor | tuple | list):
        return unknown(call)
    return rule(call)


def _agree(first: Any, second: Any, call: Call) -> bool:
    """Unify the outcomes that a leaf has in train and in eval mode."""
    if isinstance(first, Value) and isinstance(second, Value):
        if first.shape != second.shape or first.axes.keys() != second.axes.keys():
            return False
        for dim, labels in first.axes.items():
            call.flow.unify(labels, second.axes[dim], call.name)
        return True
    if isinstance(first, tuple) and isinstance(second, tuple) and len(first) == len(second):
        return all(_agree(a, b, call) for a, b in zip(first, second, strict=True))
    return bool(first == second)


def interpret(interpretation: Interpretation, args: Any, kwargs: Any) -> Any:
    """Run a whole subgraph on the values of its call; its output isn't a model output."""
    environment: Environment = {}
    inputs: Iterator[Any] = iter(args)
    outcome: Any = None
    for node in interpretation.graph_module.graph.nodes:
        if node.op == "placeholder":
            name = str(node.target)
            if name in kwargs:
                environment[node] = kwargs[name]
            else:
                environment[node] = next(inputs, node.args[0] if node.args else None)
        elif node.op == "output":
            outcome = fx.map_arg(node.args[0], environment.__getitem__)
        else:
            environment[node] = interpretation.node(node, environment)
    return tuple(outcome) if isinstance(outcome, list) else outcome


def parameters_under(module: nn.Module, node: fx.Node) -> list[str]:
    """Qualified names of the tensors that a node reads directly."""
    if node.op == "get_attr":
        return [str(node.target)]
    if node.op != "call_module":
        return []
    target = module.get_submodule(str(node.target))
    names = [name for name, _ in target.named_parameters(remove_duplicate=False)]
    names += [name for name, _ in target.named_buffers(remove_duplicate=False)]
    return [f"{node.target}.{name}" for name in names]
