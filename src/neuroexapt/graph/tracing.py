"""See a model as a graph, without losing the difference between train and eval mode."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import fx, nn

from neuroexapt.errors import TraceError
from neuroexapt.graph.assemble import aliases, assemble
from neuroexapt.graph.blame import blame, remedy
from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.modes import NO_OWN, OwnModes, own_modes, put_in_mode
from neuroexapt.graph.state import preserve_state, restore_state
from neuroexapt.graph.tracer import (
    CREATORS,
    DRAWS,
    NO_EXAMPLE,
    TRACING_FAILURES,
    Leaf,
    LeafTracer,
)


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
        TraceError: if `forward` can't be traced; names the modules that fail and the remedy.
    """
    asked, failed = list(leaves), []
    while True:
        try:
            train, evaluation = (
                _trace_once(model, asked, mode, given, modes, example) for mode in (True, False)
            )
        except _PartError as error:  # go on without it, so as to name all that fail
            failed.append(error)
            asked.append(error.name)
            continue
        culprits = _differing_owners(train, evaluation, strict=False)
        culprits = culprits or _differing_owners(train, evaluation, strict=True)
        switching = train.switching | evaluation.switching  # type: ignore[attr-defined]
        if "" in switching:
            raise TraceError(
                f"the forward of {type(model).__name__} itself {switching['']}, or put that part "
                "into a submodule, which is then kept whole"
            )
        culprits = list(dict.fromkeys((*culprits, *switching)))
        if not culprits and failed:
            raise TraceError(_told_of_all(model, failed)) from failed[0].__cause__
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


def _has_effects(node: fx.Node) -> bool:
    """Only reading attributes and sizes surely has none; all else stays where the user put it."""
    reads = node.op == "call_method" and node.target == "size"
    return node.op != "get_attr" and node.target is not getattr and not reads


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


class _PartError(TraceError):
    """A part of the model that can't be traced.

    Attributes:
        name: its qualified name.
        how: it fails, in words.
        error: what was raised.
    """

    def __init__(self, name: str, error: Exception) -> None:
        self.name, self.error = name, error
        self.how = blame(error)
        super().__init__(f"{name!r} can't be traced, as it fails {self.how}")


_WITHIN = 'or grow a submodule: LivingModel.within(model, "name", example_input)'


def _explained(model: nn.Module, tracer: LeafTracer, error: Exception) -> TraceError:
    if tracer.failed_in is not None:
        return _PartError(tracer.failed_in, error)
    aside = "put the part that depends on the data into a submodule and name it in leaves="
    return TraceError(
        f"{type(model).__name__} can't be traced: its own forward fails {blame(error)}. "
        + remedy(error, f"{aside}, {_WITHIN}")
    )


def _told_of_all(model: nn.Module, failed: list[_PartError]) -> str:
    """The first part that fails, in full, and which others there are; one remedy for all."""
    names = [part.name for part in failed]
    outer = [n for n in names if not any(n.startswith(f"{other}.") for other in names)]
    kinds = list(dict.fromkeys(type(model.get_submodule(name)).__name__ for name in outer))
    first = failed[0]
    so = "; so does" if len(names) == 2 else "; so do"
    others = f"{so} {_listed(names[1:])}" if len(names) > 1 else ""
    whole = repr(tuple(outer)) if len(outer) < 4 or len(kinds) > 3 else f"({', '.join(kinds)},)"
    pronoun = "them" if len(outer) > 1 else "it"
    return (
        f"{type(model.get_submodule(first.name)).__name__} at {first.name!r} can't be traced, as "
        f"it fails {first.how}{others}. "
        + remedy(first.error, f"keep {pronoun} whole with leaves={whole}, {_WITHIN}")
    )


def _listed(names: list[str]) -> str:
    """Names in words; of many, the first three and how many there are."""
    shown = ", ".join(map(repr, names[:3]))
    return shown if len(names) < 4 else f"{shown} and {len(names) - 3} more"


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
