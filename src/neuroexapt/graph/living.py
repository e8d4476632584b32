"""A model that can change its own structure."""

import copy
import difflib
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self, TypeVar, cast

import torch
from torch import fx, nn
from torch.optim import Optimizer

from neuroexapt.errors import EditError, TraceError
from neuroexapt.graph.admission import (
    by_name,
    check_inputs,
    check_module,
    check_traced,
    check_visible,
    given_names,
    reference,
    refuse_names,
)
from neuroexapt.graph.apart import Apart, one_sided, unseen
from neuroexapt.graph.assemble import assemble, attribute, referenced
from neuroexapt.graph.cost import Cost, num_parameters
from neuroexapt.graph.coupling import Coupling, couple
from neuroexapt.graph.groups import ChannelGroup
from neuroexapt.graph.inputs import ExampleInput, Inputs, as_inputs
from neuroexapt.graph.lookup import Lookup
from neuroexapt.graph.modes import keep_own, own_modes
from neuroexapt.graph.portable import graph_of, records
from neuroexapt.graph.shapes import record_shapes
from neuroexapt.graph.shield import shielded
from neuroexapt.graph.through import Through, Ways, checked_names, found_through, nodes_of
from neuroexapt.graph.tracer import Leaf
from neuroexapt.graph.tracing import check_leaves, trace

ChangeT_co = TypeVar("ChangeT_co", covariant=True)

GRAPHS_OWN = frozenset(dir(fx.GraphModule)) - frozenset(dir(nn.Module)) | {"meta"}
"""What a traced model's parts can't be called."""
TIED = "a weight of it is tied to one outside of the part that is living"
ADOPTED = {
    "_graph_module",
    "_modules",
    "_parameters",
    "_buffers",
    "_non_persistent_buffers_set",
    "_coupling",
    "_cost",
    "_lookup",
    "_past",
}
"""What a living model takes from its graph module, or derives from it."""


class Applicable(Protocol[ChangeT_co]):
    """What `LivingModel.apply` accepts: an edit."""

    @property
    def apply_to(self) -> Callable[..., ChangeT_co]:
        """Takes model, optimiser, seed and options; changes the model, and tells what changed."""
        ...


class LivingModel(nn.Module):
    """Any traceable `nn.Module`, as a graph that edits can change.

    It behaves as the module that it was made from: same `forward`, same parameter names. Edits
    exchange what is inside; this object stays the same, so references to it never go stale.
    Parameters are shared with the original model until an edit replaces them. Parts that `forward`
    never uses aren't part of it.

    Args:
        model: the model; left as it is.
        example_input: one batch as the model gets it: a tensor, a tuple, or a dict of keywords.
        leaves: modules to keep whole, by qualified name or by type.

    Raises:
        TraceError: if the model can't be traced, or doesn't run on `example_input`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(1, 4))
        >>> [(group.name, group.size, group.frozen) for group in living.groups]
        [('0', 3, None), ('2', 2, 'an output of the model')]
    """

    _edits: tuple[Any, ...]
    _coupling: Coupling | None
    _cost: Cost | None
    _lookup: Lookup | None
    _past: Ways | None
    _tied: frozenset[str] = frozenset()
    _unseen: tuple[Apart, ...] | None = None
    _apart: tuple[Apart, ...] | None = None
    _through: Through | None = None

    @shielded()
    def __init__(
        self, model: nn.Module, example_input: ExampleInput, leaves: Iterable[Leaf] = ()
    ) -> None:
        super().__init__()
        check_module(model)
        if isinstance(model, LivingModel):
            raise TraceError("the model is living already: edit it, or a deepcopy of it")
        check_visible(model)
        refuse_names(GRAPHS_OWN, [*model._modules, *model._parameters, *model._buffers])
        inputs = as_inputs(example_input).map(_detached)
        check_inputs(inputs)
        whole = tuple(leaves)
        check_leaves(model, whole)
        modes = own_modes(model, whole)
        expected = reference(model, inputs, modes)
        example = by_name(model, inputs)
        traced = trace(model, whole, given_names(model, inputs), modes, example)
        _check_names(traced)
        self._edits = ()
        self.example_inputs = inputs
        self._adopt(traced)
        self.example_inputs = check_traced(model, traced, inputs, expected)

    @classmethod
    @shielded()
    def within(
        cls,
        parent: nn.Module,
        name: str,
        example_input: ExampleInput,
        leaves: Iterable[Leaf] = (),
    ) -> "LivingModel":
        """Make a submodule living, in place: `parent.name` becomes the living model.

        Args:
            parent: the whole model, which need not be traceable.
            name: qualified name of the submodule to grow.
            example_input: one batch as `parent` gets it.
            leaves: as for `LivingModel`, relative to the submodule.

        Raises:
            TraceError: if there is no such submodule, it is never called, or can't be traced.
        """
        check_module(parent)
        try:
            part = parent.get_submodule(name)
        except AttributeError as error:
            raise TraceError(
                f"{type(parent).__name__} has no submodule {name!r}; see named_modules()"
            ) from error
        caught: list[Inputs] = []
        hook = part.register_forward_pre_hook(
            lambda _module, args, kwargs: caught.append(Inputs(args, kwargs)), with_kwargs=True
        )
        try:
            reference(parent, as_inputs(example_input))
        finally:
            hook.remove()
        if not caught:
            raise TraceError(f"{type(parent).__name__} never calls {name!r} on this example_input")
        inputs = caught[0]
        given = inputs.args if not inputs.kwargs else by_name(part, inputs)
        living = cls(part, given, leaves)
        outside = {
            id(item)
            for path, item in parent.named_parameters(remove_duplicate=False)
            if not path.startswith(f"{name}.")
        }
        living._tied = frozenset(
            path
            for path, item in part.named_parameters(remove_duplicate=False)
            if id(item) in outside
        )
        owner, _, attribute = name.rpartition(".")
        setattr(parent.get_submodule(owner), attribute, living)
        return living

    @property
    def graph_module(self) -> fx.GraphModule:
        """The present graph and its modules; an edit exchanges it, and never changes it."""
        return cast(fx.GraphModule, self.__dict__["_graph_module"])

    @property
    def edits(self) -> tuple[Any, ...]:
        """Every edit so far, in order: the lineage."""
        return self._edits

    @property
    def groups(self) -> tuple[ChannelGroup, ...]:
        """The channel groups, in order of their first producers."""
        return self._coupled().groups

    def _coupled(self) -> Coupling:
        if self._coupling is None:
            self.cost()
            found = couple(self.graph_module, self._kept_nodes())
            self._coupling = found.frozen_where(self._tied, TIED)
        return self._coupling

    @property
    def unseen(self) -> tuple[Apart, ...]:
        """What the outputs don't see of the inputs; found by trying, when it is first asked for."""
        if self._unseen is None:
            self._unseen = unseen(self.graph_module, self.example_inputs)
        return self._unseen

    @property
    def kept_apart(self) -> tuple[Apart, ...]:
        """What the outputs don't see of the inputs, and edits mustn't show them.

        Later tokens of a language model, what a mask hides, the other tower's input: all that is
        `unseen`, but for positions where a model treats each by itself. Set it to () where outputs
        may see everything, and to `unseen` where even such positions are to stay apart.
        """
        return one_sided(self.unseen) if self._apart is None else self._apart

    @kept_apart.setter
    def kept_apart(self, apart: Iterable[Apart]) -> None:
        self._apart = tuple(apart)

    @property
    def kept_through(self) -> tuple[str, ...]:
        """Names of nodes that outputs see the inputs through, and through nothing else.

        As the code of an autoencoder: nothing is connected past these nodes, or added to them, and
        their width stays. All of them together have to stand in the way, as the mean and the spread
        in a variational one do; a module stands for all of its calls. A way that leads past them
        already, as from the condition that a decoder is given, may. None by default, for in most
        networks a way past a narrow layer is what they lack. It is no edit: who replays a model's
        edits on another one sets it there, too.

        Warns:
            UserWarning: when set, if one of several outputs sees all inputs past them.

        Raises:
            EditError: when set, if there is no such node, or all ways lead past them.

        Example:
            >>> net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2), nn.Linear(2, 8))
            >>> living = LivingModel(net, torch.zeros(2, 8))
            >>> living.kept_through = ("2",)
            >>> living.group("2").frozen
            'outputs see the inputs only through it (kept_through)'
            >>> living.leads_past("1", "3"), living.leads_past("0", "1")
            (True, False)
        """
        return () if self._through is None else self._through.names

    @kept_through.setter
    def kept_through(self, names: str | Iterable[str]) -> None:
        given = checked_names(names)
        through, warning = None, None
        if given:
            self.cost()  # shapes
            nodes = {name: self._calls(name) for name in given}
            through, warning = found_through(self.graph_module.graph, nodes)
        self._through = through
        self._coupling = self._past = None
        if warning is not None:
            warnings.warn(warning, stacklevel=2)

    @property
    def through(self) -> Through | None:
        """What `kept_through` was set to, and the ways past it by then."""
        return self._through

    def leads_past(self, source: str, target: str) -> bool:
        """Whether to add a node's output to another one's would show what goes `kept_through`.

        Raises:
            EditError: if there is no node of that name.
        """
        if self._through is None:
            return False
        new = self._ways().between(self.node(source), self.node(target))
        return not new <= self._through.past

    def keeps(self, name: str) -> bool:
        """Whether a node is one of those of `kept_through`."""
        return self._through is not None and self.node(name) in self._kept_nodes()

    def _kept_nodes(self) -> list[fx.Node]:
        return [node for name in self.kept_through for node in self._calls(name)]

    def _calls(self, name: str) -> list[fx.Node]:
        """All calls of a module, or the node of that name."""
        return nodes_of(self.graph_module.graph, name) or [self.node(name)]

    def _ways(self) -> Ways:
        """What is connected past the nodes of `kept_through`."""
        if self._past is None:
            self.cost()  # shapes
            self._past = Ways(self.graph_module.graph, self._kept_nodes())
        return self._past

    def channel_dims(self, node: fx.Node) -> tuple[int, ...]:
        """Dimensions of a node's output that carry channels which coupling can follow."""
        return tuple(self._coupled().axes.get(node.name, ()))

    def example_output(self, node: fx.Node) -> Any:
        """What a node gives for the example input, as fake tensors (shape and type only)."""
        self._coupled()
        return node.meta.get("example")

    def group(self, name: str) -> ChannelGroup:
        """The group of that name.

        Raises:
            EditError: if there is none; suggests the nearest names.
        """
        if (found := self._coupled().named.get(name)) is not None:
            return found
        member = next(
            (g for g in self.groups if any(_owns(name, m.tensor) for m in g.producers)), None
        )
        hint = (
            f"it is coupled to the group {member.name!r}"
            if member
            else _nearest(name, [group.name for group in self.groups])
        )
        raise EditError(f"there is no channel group {name!r}; {hint}")

    def node(self, name: str) -> fx.Node:
        """The graph node of that name: a module's last call, or a traced-through module's exit.

        Raises:
            EditError: if there is none; suggests the nearest names.
        """
        found = self._looked_up().named.get(name)
        if found is None:
            raise EditError(f"there is no node {name!r}; {_nearest(name, self.nodes)}")
        return found

    @property
    def computed(self) -> frozenset[fx.Node]:
        """The nodes that depend on the inputs, and these themselves."""
        return self._looked_up().computed

    def _looked_up(self) -> Lookup:
        if self._lookup is None:
            self._lookup = Lookup.of(self.graph_module.graph)
        return self._lookup

    @property
    def nodes(self) -> list[str]:
        """Names of all nodes that edits can be placed at: module names, else the graph's."""
        return [
            str(n.target) if n.op == "call_module" else n.name
            for n in self.graph_module.graph.nodes
            if n.op not in ("output", "get_attr")
        ]

    def cost(self) -> Cost:
        """Parameters, and multiply-accumulates of one forward pass for one sample.

        Raises:
            TraceError: if an operation, such as `.numpy()`, needs values where only shapes are.
        """
        if self._cost is None:
            try:
                macs = record_shapes(self.graph_module, self.example_inputs)
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0]
                raise TraceError(
                    f"the shapes inside this model can't be told without values ({reason}); put "
                    "what leaves torch's tensors into a submodule and name it in leaves=, or grow "
                    'a submodule: LivingModel.within(model, "name", example_input)'
                ) from error
            self._cost = Cost(num_parameters(self), macs)
        return self._cost

    def apply(  # type: ignore[override]  # an edit here; nn.Module.apply takes a function
        self,
        edit: Applicable[ChangeT_co],
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        seed: int = 0,
        **options: Any,
    ) -> ChangeT_co:
        """Change the model by an edit, all or nothing.

        Args:
            edit: what to change. (A function is applied to every module, as in `nn.Module.apply`.)
            optimizer: carried across: it goes on with the new parameters and the inherited state.
            seed: the only source of randomness.
            **options: what the edit needs beyond that; see `Edit.apply_to`.

        Returns:
            What changed: error, costs before and after, seconds, which parameters continue which.

        Raises:
            EditError: if the edit is refused; model and optimiser are as they were.

        Example:
            >>> from neuroexapt import Split
            >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
            >>> living = LivingModel(net, torch.zeros(1, 4))
            >>> optimizer = torch.optim.Adam(living.parameters())
            >>> change = living.apply(Split(group="0", units=(1,)), optimizer)
            >>> change.params_before, change.params_after
            (23, 30)
            >>> [str(edit) for edit in living.edits]
            ['split 1 unit of 0']
        """
        if isinstance(edit, type) or not (hasattr(edit, "apply_to") or callable(edit)):
            raise EditError(
                f"{edit!r} is no edit; give one such as Split(group=..., units=...), or a function "
                "to call with every module"
            )
        if not hasattr(edit, "apply_to"):
            return cast(ChangeT_co, super().apply(cast(Any, edit)))
        with shielded():
            return edit.apply_to(self, optimizer, seed, **options)

    def become(self, graph_module: fx.GraphModule, edit: object, cost: Cost) -> None:
        """Exchange the graph for what an edit made of it, its shapes recorded; note the edit."""
        self._apart = self.kept_apart  # by what it was first, not by what edits make of it
        self._unseen = None
        self._adopt(graph_module)
        self._cost = cost
        self._edits = (*self._edits, edit)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the original model."""
        return self.graph_module(*args, **kwargs)

    def train(self, mode: bool = True) -> "LivingModel":
        """Set train or eval mode; parts that the original `train()` keeps in one stay in it."""
        self.graph_module.train(mode)
        keep_own(self.graph_module, self.graph_module.meta["modes"][mode])
        self.training = self.graph_module.training
        return self

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move or cast everything, the example input with it."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.example_inputs = self.example_inputs.map(fn)
        self._coupling, self._cost = None, None
        return self

    def extra_repr(self) -> str:
        """How often it changed."""
        return f"edits={len(self._edits)}"

    def __deepcopy__(self, memo: dict[int, Any]) -> "LivingModel":
        made = object.__new__(type(self))
        memo[id(self)] = made
        own = {name: value for name, value in vars(self).items() if name not in ADOPTED}
        vars(made).update(copy.deepcopy(own, memo))
        old = self.graph_module
        parts = {path: attribute(old, path) for path in referenced(old.graph)}
        made._adopt(assemble(old, copy.deepcopy(old.graph), copy.deepcopy(parts, memo)))
        return made

    def __getstate__(self) -> dict[str, Any]:
        """All but the graph module, which would be traced anew: its graph, and what it knows."""
        graph_module = self.graph_module
        state = {**vars(self), "_coupling": None, "_cost": None, "_lookup": None, "_past": None}
        del state["_graph_module"]
        state["_written"] = records(graph_module.graph), dict(graph_module.meta)
        state["_traced_name"] = type(graph_module).__name__
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        (written, meta), name = state["_written"], state["_traced_name"]
        kept = {k: v for k, v in state.items() if k not in ("_written", "_traced_name")}
        super().__setstate__(kept)  # type: ignore[no-untyped-call]
        made = assemble(self, graph_of(written), {}, meta["aliases"], meta["modes"])
        type(made).__name__ = name
        self._adopt(made)

    def _adopt(self, graph_module: fx.GraphModule) -> None:
        """Take over a graph module: its children, parameters and buffers are this model's own."""
        self.__dict__["_graph_module"] = graph_module
        self._modules = graph_module._modules
        self._parameters = graph_module._parameters
        self._buffers = graph_module._buffers
        self._non_persistent_buffers_set = graph_module._non_persistent_buffers_set
        self.training = graph_module.training
        self._coupling = None
        self._cost = None
        self._lookup = None
        self._past = None


def _detached(tensor: torch.Tensor) -> torch.Tensor:
    """Without history; one made in inference mode, as an ordinary copy."""
    return tensor.clone() if tensor.is_inference() else tensor.detach()


def _check_names(traced: fx.GraphModule) -> None:
    """Refuse parts that a living model's own attributes would hide."""
    own = {name for name in vars(LivingModel) if not hasattr(nn.Module, name)}
    parts = (traced._modules, traced._parameters, traced._buffers)
    refuse_names(own | {"example_inputs"}, {name for part in parts for name in part})


def _owns(name: str, tensor: str) -> bool:
    return tensor == name or tensor.rpartition(".")[0] == name


def _nearest(name: str, names: Iterable[str]) -> str:
    known = list(dict.fromkeys(names))
    close = difflib.get_close_matches(name, known, n=3) or known[:5]
    return "the nearest are " + ", ".join(repr(n) for n in close)
