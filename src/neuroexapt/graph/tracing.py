"""See a model as a graph, without losing the difference between train and eval mode."""

import inspect
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

from neuroexapt.errors import TraceError
from neuroexapt.graph.assemble import aliases, assemble, attribute
from neuroexapt.graph.blame import blame, remedy
from neuroexapt.graph.branches import Branches, guarded
from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.modes import NO_OWN, OwnModes, own_modes, put_in_mode
from neuroexapt.graph.parts import Parts, num_parts
from neuroexapt.graph.state import preserve_state, restore_state
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

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A proxy, with a length where the number of parts is known."""
        count = num_parts(node)
        return super().proxy(node) if count is None else Parts(node, self, count)

    def iter(self, obj: fx.Proxy) -> Iterator[fx.Proxy]:
        """The parts, where their number is known."""
        if not isinstance(obj, Parts):
            return cast(Iterator[fx.Proxy], super().iter(obj))
        return (cast(fx.Proxy, cast(Any, obj)[index]) for index in range(obj.count))

    def to_bool(self, obj: fx.Proxy) -> bool:
        """Whether a condition of the user's code holds, by the example where values don't matter.

        Raises:
            FxTraceError: where they do.
        """
        if self._branches is None:
            self._branches = Branches(self.root, self._example, self._called)
        self._deciding = True
        try:
            outcome = self._branches.outcome(obj.node)
        finally:
            self._deciding = False
        if outcome is None:
            return bool(super().to_bool(obj))
        guarded(self, obj, outcome)
        return outcome

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
        plain = None if self._is_asked_for(m, name) else plain_forward(m, args, kwargs)
        if plain is not None:
            forward = plain
            self._opened.add(name)
        self._entered.append((name, self._context()))
        try:
            with self.noting_draws(name):
                return super().call_module(m, forward, args, kwargs)
        except TRACING_FAILURES:
            self.failed_in = self.failed_in or name
            raise
        finally:
            self._entered.pop()

    @contextmanager
    def noting_draws(self, owner: str) -> Iterator[None]:
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


def owner_of(node: fx.Node) -> str:
    """Path of the innermost traced module that a node belongs to; "" for the model itself."""
    stack = node.meta.get("nn_module_stack")
    if not stack:
        return ""
    path = str(next(reversed(stack.values()))[0])
    if node.op == "call_module" and path == node.target:
        return path.rpartition(".")[0]
    return path


def trace(
    model: nn.Module,
    leaves: Iterable[Leaf] = (),
    given: Iterable[str] | None = None,
    modes: OwnModes = NO_OWN,
    example: Mapping[str, Any] = NO_EXAMPLE,
) -> fx.GraphModule:
    """Trace `model` in both modes and join the two graphs.

    Modules whose operations differ between the modes become leaves; function calls that differ only
    in constants become `ByMode` modules (dropout: `nn.Dropout`).

    Args:
        model: what to trace; its modes and attributes are left as they are.
        leaves: names or types of modules to keep whole.
        given: names of the inputs that will be given; the others keep their defaults.
        modes: where its parts have modes of their own; see `own_modes`.
        example: name of an input -> a value, by which conditions on sizes and types are decided.

    Raises:
        TraceError: if `forward` can't be traced; names the module and the remedy.
    """
    asked = list(leaves)
    while True:
        train, evaluation = (
            _trace_once(model, asked, mode, given, modes, example) for mode in (True, False)
        )
        culprits = _differing_owners(train, evaluation, strict=False)
        culprits = culprits or _differing_owners(train, evaluation, strict=True)
        switching = train.switching | evaluation.switching  # type: ignore[attr-defined]
        if "" in switching:
            raise TraceError(
                f"the forward of {type(model).__name__} itself {switching['']}, or put that part "
                "into a submodule, which is then kept whole"
            )
        culprits = list(dict.fromkeys((*culprits, *switching)))
        if not culprits:
            return _joined(model, train, evaluation, modes)
        if "" in culprits:
            raise TraceError(
                f"the forward of {type(model).__name__} itself does different things in train and "
                "in eval mode; put the part that depends on self.training into a submodule"
            )
        asked.extend(culprits)


def trace_in_mode(
    model: nn.Module, training: bool, example: Mapping[str, Any] = NO_EXAMPLE
) -> fx.GraphModule:
    """What `model` does in one mode; everything it calls is shared with it.

    Raises:
        TraceError: as `trace` does.
    """
    modes = own_modes(model)
    graph = _trace_once(model, [], training, None, modes, example)
    if DRAWS in graph.switching.values():  # type: ignore[attr-defined]
        raise TraceError(f"the forward of {type(model).__name__} {DRAWS}")
    return _joined(model, graph, graph, modes)


def check_leaves(model: nn.Module, leaves: Iterable[Leaf]) -> None:
    """Refuse names that are no module's.

    Raises:
        TraceError: naming the first such.
    """
    names = {name for name, _ in model.named_modules()}
    for leaf in leaves:
        if isinstance(leaf, str) and leaf not in names:
            raise TraceError(
                f"leaves names {leaf!r}, which is no module of {type(model).__name__}; "
                "give qualified names as in named_modules(), or module types"
            )


def _trace_once(
    model: nn.Module,
    leaves: list[Leaf],
    training: bool,
    given: Iterable[str] | None,
    modes: OwnModes,
    example: Mapping[str, Any],
) -> fx.Graph:
    tracer = LeafTracer(leaves, example)
    state = preserve_state(model)
    known = {*vars(model), *model._buffers}
    put_in_mode(model, training, modes)
    absent = _absent_inputs(model, given)
    try:
        with _counting_autocasts(tracer), tracer.noting_draws(""):
            graph = tracer.trace(model, absent or None)
        made = {**vars(model), **model._buffers}
    except TRACING_FAILURES as error:
        raise _explained(model, tracer, error) from error
    finally:
        restore_state(state)
    constants = {name: value for name, value in made.items() if name not in known}
    graph.constants = constants  # type: ignore[attr-defined]  # tensors made inside forward
    graph.switching = tracer.switching  # type: ignore[attr-defined]
    _drop_inputs(graph, absent)
    for node in graph.nodes:
        if node.target in CREATORS:
            node.meta.pop("is_wrapped", None)  # which only functions of a module's own can be
    graph.eliminate_dead_code(_has_effects)
    return graph


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


def _has_effects(node: fx.Node) -> bool:
    """Only reading an attribute surely has none; everything else stays where the user put it."""
    return node.op != "get_attr" and not (node.op == "call_function" and node.target is getattr)


def _absent_inputs(model: nn.Module, given: Iterable[str] | None) -> dict[str, Any]:
    if given is None:
        return {}
    names = set(given)
    parameters = inspect.signature(model.forward).parameters.values()
    return {
        p.name: p.default
        for p in parameters
        if p.name not in names and p.default is not inspect.Parameter.empty
    }


def _drop_inputs(graph: fx.Graph, absent: Iterable[str]) -> None:
    """Inputs that keep their defaults leave the graph, with the assertions about them."""
    prefixes = tuple(f"{name}_" for name in absent)
    for node in [n for n in graph.nodes if n.op == "placeholder"]:
        if prefixes and str(node.target).startswith(prefixes) and node.args:
            for user in reversed(list(_descendants(node))):
                graph.erase_node(user)
            graph.erase_node(node)


def _descendants(node: fx.Node) -> dict[fx.Node, None]:
    found: dict[fx.Node, None] = {}
    for user in node.users:
        found[user] = None
        found.update(_descendants(user))
    return found


def _explained(model: nn.Module, tracer: LeafTracer, error: Exception) -> TraceError:
    name = tracer.failed_in
    within = 'or grow a submodule: LivingModel.within(model, "name", example_input)'
    if name is None:
        aside = "put the part that depends on the data into a submodule and name it in leaves="
        return TraceError(
            f"{type(model).__name__} can't be traced: its own forward fails {blame(error)}. "
            + remedy(error, f"{aside}, {within}")
        )
    return TraceError(
        f"{type(model.get_submodule(name)).__name__} at {name!r} can't be traced, as it fails "
        f"{blame(error)}. " + remedy(error, f"keep it whole with leaves=({name!r},), {within}")
    )


def _differing_owners(train: fx.Graph, evaluation: fx.Graph, strict: bool) -> list[str]:
    """Modules whose own operations differ between the modes; if strict, their inputs' names too."""
    first, second = _operations_by_owner(train, strict), _operations_by_owner(evaluation, strict)
    owners = dict.fromkeys((*first, *second))
    return [owner for owner in owners if first.get(owner) != second.get(owner)]


def _operations_by_owner(graph: fx.Graph, strict: bool) -> dict[str, list[Any]]:
    operations: dict[str, list[Any]] = {}
    for node in graph.nodes:
        operations.setdefault(owner_of(node), []).append(_signature(node, strict))
    return operations


def _signature(node: fx.Node, strict: bool) -> tuple[Any, ...]:
    """What a node does, apart from the constants of a function call."""
    inputs = tuple(n.name if strict else "" for n in node.all_input_nodes)
    constants: Any = None
    if node.op == "call_function":
        constants = (len(node.args), tuple(node.kwargs))
    elif node.op == "call_method":
        constants = str(fx.map_arg((node.args, dict(node.kwargs)), lambda _: ""))
    return node.op, node.target, inputs, constants


def _joined(
    model: nn.Module, train: fx.Graph, evaluation: fx.Graph, modes: OwnModes
) -> fx.GraphModule:
    """One graph module for both modes."""
    replaced: dict[str, Any] = dict(train.constants)  # type: ignore[attr-defined]
    for node, other in zip(list(train.nodes), list(evaluation.nodes), strict=True):
        differing = _differing_constants(node, other)
        if differing:
            module = _by_mode(train, node, differing, replaced)
            module.train(model.get_submodule(owner_of(node)).training)
    return assemble(model, train, replaced, aliases(model, train), modes)


def _differing_constants(node: fx.Node, other: fx.Node) -> dict[int | str, tuple[Any, Any]]:
    if node.op != "call_function":
        return {}
    pairs: dict[int | str, tuple[Any, Any]] = {}
    places: list[int | str] = [*range(len(node.args)), *node.kwargs]
    for place in places:
        mine, theirs = (
            n.args[place] if isinstance(place, int) else n.kwargs[place] for n in (node, other)
        )
        if isinstance(mine, bool | int | float) and mine != theirs:
            pairs[place] = (mine, theirs)
    return pairs


DROPOUTS = {
    torch.nn.functional.dropout: nn.Dropout,
    torch.nn.functional.dropout1d: nn.Dropout1d,
    torch.nn.functional.dropout2d: nn.Dropout2d,
    torch.nn.functional.dropout3d: nn.Dropout3d,
}


def _by_mode(
    graph: fx.Graph,
    node: fx.Node,
    differing: dict[int | str, tuple[Any, Any]],
    replaced: dict[str, Any],
) -> nn.Module:
    """Replace a function call by a module that follows the mode."""
    function: Any = node.target
    name = f"{node.name}_by_mode"
    args, kwargs = node.args, dict(node.kwargs)
    if function in DROPOUTS and next(iter(differing.values())) == (True, False):
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        replaced[name] = DROPOUTS[function](p=bound.arguments["p"])
        args, kwargs = (node.args[0] if node.args else kwargs["input"],), {}
    else:
        replaced[name] = ByMode(function, differing)
    with graph.inserting_after(node):
        call = graph.create_node("call_module", name, args, kwargs, name=name)
    call.meta.update(node.meta)
    node.replace_all_uses_with(call)
    graph.erase_node(node)
    made: nn.Module = replaced[name]
    return made
