"""Follow a model's `forward` once, and note what a graph can't do."""

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import fx, nn
from torch.fx.proxy import ParameterProxy
from torch.fx.proxy import TraceError as FxTraceError

from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.branches import Branches, UndecidedError, guarded, kept
from neuroexapt.graph.parts import is_rank, is_shape, is_split_of_channels, num_parts
from neuroexapt.graph.patterns import following_einops, operation
from neuroexapt.graph.traced import Parts, Traced
from neuroexapt.graph.transformers import plain_forward

Leaf: TypeAlias = str | type[nn.Module]

TRACING_FAILURES = (
    FxTraceError,
    TypeError,
    RuntimeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
    NameError,
)
"""What a user's `forward` may raise when it is run on proxies."""


CREATORS: tuple[Callable[..., Any], ...] = (
    torch.zeros,
    torch.ones,
    torch.empty,
    torch.full,
    torch.eye,
    torch.arange,
    torch.linspace,
    torch.tensor,
    torch.rand,
    torch.randn,
    torch.randint,
    torch.randperm,
)
"""What makes a tensor from sizes: torch would run it at once, though the sizes are traced."""


NO_EXAMPLE: Mapping[str, Any] = MappingProxyType({})
NO_GRADIENTS = (
    "switches gradients off around parts with parameters, which a graph can't do; set "
    "requires_grad_(False) on them"
)
AUTOCAST = "enters autocast, which a graph can't do; enter it around the call of the model"
DRAWS = (
    "draws from Python's or NumPy's random numbers, which a graph would do only once; draw from "
    "torch's"
)
"""What a `forward` does that no graph can, and what could be done instead."""

_Context: TypeAlias = tuple[bool, int]
"""Whether there are gradients, and how many autocasts have been entered."""


class LeafTracer(fx.Tracer):
    """A tracer that knows its leaves and remembers where it was when it failed.

    A graph has no contexts, so it also remembers whose `forward` keeps parameters from getting
    gradients (`torch.no_grad`) or enters autocast, in `switching`; and who draws other random
    numbers than torch's, since what they decide is decided once for all.

    Buffers are read when the graph runs, as parameters are: what `forward` makes of them would
    otherwise be a constant.

    Where `forward` goes one way or another by sizes or types, it goes as for the example, and the
    graph refuses what would have gone another way.
    """

    def __init__(self, leaves: Iterable[Leaf], example: Mapping[str, Any] = NO_EXAMPLE) -> None:
        """Modules named or typed in `leaves` stay whole, as most of those of torch.nn do."""
        super().__init__(autowrap_functions=CREATORS, param_shapes_constant=True)
        self._autowrap_search.append(torch)  # users write torch.zeros, seldom zeros alone
        self.leaves = tuple(leaves)
        self.path: list[str] = []
        self.failed_in: str | None = None
        self.switching: dict[str, str] = {}
        self.num_autocasts = 0
        self._outside = self._context()
        self._entered: list[tuple[str, _Context]] = [("", self._outside)]
        self._opened: set[str] = set()
        self._example = example
        self._branches: Branches | None = None
        self._deciding = False
        self._ranks: dict[fx.Node, int] = {}

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """As usual, with an eye on what a graph can't do."""
        with _counting_autocasts(self), self._noting_draws(""), following_einops():
            return super().trace(root, concrete_args)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A proxy, with a length where the call says the number of parts."""
        count = num_parts(node)
        return Traced(node, self) if count is None else Parts(node, self, count)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        """The parts, where their number is known."""
        count = obj.count if isinstance(obj, Parts) else self._length(obj)
        if count is None:
            return cast(Iterator[fx.Proxy], super().iter(obj))
        return (cast(fx.Proxy, cast(Any, obj)[index]) for index in range(count))

    def length(self, obj: fx.Proxy) -> int:
        """The number of parts, or of dimensions where these are sizes.

        Raises:
            RuntimeError: if another batch may have another one.
        """
        count = self._length(obj)
        return fx.Proxy.__len__(obj) if count is None else count

    def _length(self, obj: fx.Proxy) -> int | None:
        known = self._known(obj.node) if self._has_steady_length(obj.node) else None
        if not isinstance(known, list | tuple):
            return None
        counted = self.create_proxy("call_function", len, (obj,), {})
        kept(self, counted, len(known), "number of parts")
        return len(known)

    def _has_steady_length(self, node: fx.Node) -> bool:
        """Whether a node gives as many parts for other batches."""
        if node.op == "call_module" or is_shape(node):
            return True
        first = node.args[0] if node.args else None
        inner = self._known(first) if isinstance(first, fx.Node) else None
        return isinstance(inner, torch.Tensor) and is_split_of_channels(node, inner.ndim)

    def index(self, obj: fx.Proxy) -> int:
        """A number that follows from the number of dimensions, or 1 for a condition that holds.

        Raises:
            TypeError: if it is anything else.
        """
        known = self._known(obj.node)
        if isinstance(known, bool):
            guarded(self, obj, known)
            return int(known)
        if not isinstance(known, int) or not is_rank(obj.node):
            raise TypeError(f"{obj.node.name!r} cannot be interpreted as an integer")
        kept(self, obj, known, "number")
        return known

    def ndim(self, obj: fx.Proxy) -> int:
        """The number of dimensions of a tensor.

        Raises:
            TypeError: if the example doesn't tell it.
        """
        if obj.node not in self._ranks:
            known = self._known(obj.node)
            if not isinstance(known, torch.Tensor):
                raise TypeError(f"it isn't known how many dimensions {obj.node.name!r} has")
            dimensions = self.create_proxy("call_method", "dim", (obj,), {})
            kept(self, dimensions, known.ndim, "number of dimensions")
            self._ranks[obj.node] = known.ndim
        return self._ranks[obj.node]

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a condition of the user's code holds, by the example where values don't matter.

        Raises:
            FxTraceError: where they do.
        """
        with self._looking() as branches:
            outcome = branches.outcome(obj.node)
        if outcome is None:
            return bool(super().to_bool(obj))
        guarded(self, obj, outcome)
        return outcome

    def _known(self, node: fx.Node) -> Any:
        """What a node gives for the example; None if that can't be told."""
        try:
            with self._looking() as branches:
                return branches.value(node)
        except UndecidedError:
            return None

    @contextmanager
    def _looking(self) -> Iterator[Branches]:
        """Let the model's parts be called for what the example gives."""
        if self._branches is None:
            self._branches = Branches(self.root, self._example, self._called)
        self._deciding = True
        try:
            yield self._branches
        finally:
            self._deciding = False

    def _called(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a module gives in eval mode, in which statistics stay."""
        modes = [(part, part.training) for part in module.modules()]
        try:
            for part, _ in modes:
                part.training = False
            return module(*args, **kwargs)
        finally:
            for part, training in modes:
                part.training = training

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Leaves of torch.nn and those asked for."""
        if module_qualified_name in self._opened:
            return False
        return self._is_asked_for(m, module_qualified_name) or super().is_leaf_module(
            m, module_qualified_name
        )

    def _is_asked_for(self, m: nn.Module, name: str) -> bool:
        return any(
            name == leaf if isinstance(leaf, str) else isinstance(m, leaf) for leaf in self.leaves
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace into a module, remembering the innermost one that fails.

        One that `forward` makes, such as a slice of a `Sequential`, is no part of the model: it is
        traced through.
        """
        if self._deciding:
            return forward(*args, **kwargs)
        try:
            name = self.path_of_module(m)
        except NameError:
            return forward(*args, **kwargs)
        plain = None
        if not self._is_asked_for(m, name) and "forward" not in vars(m):
            plain = plain_forward(m, args, kwargs) or operation(m)
        if plain is not None:
            forward = _doing(m, plain, forward)
            self._opened.add(name)
        self._entered.append((name, self._context()))
        try:
            with self._noting_draws(name):
                return super().call_module(m, forward, args, kwargs)
        except TRACING_FAILURES:
            self.failed_in = self.failed_in or name
            raise
        finally:
            self._entered.pop()

    @contextmanager
    def _noting_draws(self, owner: str) -> Iterator[None]:
        """Note the innermost module that draws random numbers of Python's or NumPy's."""
        before, known = _drawn(), len(self.switching)
        yield
        if len(self.switching) == known and _drawn() != before:
            self.switching[owner] = DRAWS

    def create_node(self, kind: str, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """As usual; what is done where gradients or autocast are switched is noted."""
        gradients, autocasts = self._context()
        without = gradients != self._outside[0] and self._has_parameters(kind, target)
        if without or autocasts != self._outside[1]:
            inside = reversed(self._entered)
            owner = next(path for path, entered in inside if entered == self._outside)
            self.switching[owner] = NO_GRADIENTS if without else AUTOCAST
        return super().create_node(kind, target, *args, **kwargs)

    def _context(self) -> _Context:
        return torch.is_grad_enabled(), self.num_autocasts

    def _has_parameters(self, kind: str, target: Any) -> bool:
        if kind == "get_attr":
            return isinstance(attribute(self.root, target), nn.Parameter)
        return kind == "call_module" and any(
            True for _ in self.root.get_submodule(str(target)).parameters()
        )

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        """A proxy for a parameter or buffer, the value of anything else."""
        if self._deciding:
            return attr_val
        if not isinstance(attr_val, torch.Tensor) or isinstance(attr_val, nn.Parameter):
            return super().getattr(attr, attr_val, parameter_proxy_cache)
        names = [name for name, buffer in self.root.named_buffers() if buffer is attr_val]
        if not names:
            return attr_val
        name = names[0]
        if name not in parameter_proxy_cache:
            proxy = partial(_BufferProxy, self, name=name, buffer=attr_val)
            made = self.create_proxy("get_attr", name, (), {}, proxy_factory_fn=proxy)
            parameter_proxy_cache[name] = made
        return parameter_proxy_cache[name]


def _doing(
    module: nn.Module, instead: Callable[..., Any], call: Callable[..., Any]
) -> Callable[..., Any]:
    """A call of a module in which it does something else; its hooks are called as ever."""

    def called(*args: Any, **kwargs: Any) -> Any:
        vars(module)["forward"] = instead
        try:
            return call(*args, **kwargs)
        finally:
            del vars(module)["forward"]

    return called


def _drawn() -> tuple[object, ...]:
    """How far Python's and NumPy's random numbers have been drawn."""
    numpys = np.random.get_state(legacy=False)  # noqa: NPY002 - the one that users draw from
    state = numpys["state"]
    return random.getstate(), state["key"].tobytes(), state["pos"]


class _BufferProxy(ParameterProxy):
    """As a parameter's: its shape is known."""

    def __init__(self, tracer: fx.Tracer, node: fx.Node, name: str, buffer: torch.Tensor) -> None:
        fx.Proxy.__init__(self, node, tracer)
        self.param = buffer  # type: ignore[assignment]  # only its shape is looked at
        self.name = name


@contextmanager
def _counting_autocasts(tracer: LeafTracer) -> Iterator[None]:
    """Let the tracer know how many autocasts are entered, switched on or off.

    torch's own state doesn't tell one that is switched off where none was on.
    """
    autocast: Any = torch.autocast
    enter, leave = autocast.__enter__, autocast.__exit__

    def entering(self: Any) -> Any:
        tracer.num_autocasts += 1
        return enter(self)

    def leaving(self: Any, *error: Any) -> Any:
        tracer.num_autocasts -= 1
        return leave(self, *error)

    autocast.__enter__, autocast.__exit__ = entering, leaving
    try:
        yield
    finally:
        autocast.__enter__, autocast.__exit__ = enter, leave
