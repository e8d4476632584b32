"""Better activations: a blend towards a candidate, and its end."""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, fx, nn

from neuroexapt.edits.addition import Addition
from neuroexapt.edits.base import Context, Edit
from neuroexapt.edits.insert import Insertion, is_in_place, replace_uses
from neuroexapt.edits.rewrite import Ancestry, Rewrite, copied
from neuroexapt.edits.site import Place, place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel

Activation: TypeAlias = Literal[
    "elu", "gelu", "hardswish", "leaky_relu", "mish", "relu", "silu", "tanh"
]
CANDIDATES: dict[Activation, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardswish": nn.Hardswish,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
    "mish": nn.Mish,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NONLINEAR = frozenset((*CANDIDATES, "celu", "hardsigmoid", "hardtanh", "logsigmoid", "prelu"))
NONLINEAR |= frozenset(("relu6", "rrelu", "selu", "sigmoid", "softplus", "softsign"))
"""Names of activations, as functions and methods have them; modules' without case or underscore."""
_SQUEEZED = frozenset(name.replace("_", "") for name in NONLINEAR)


class Blend(nn.Module):
    """Goes a learned part of the way from one activation to another, channel by channel.

    Args:
        channels: how many.
        behind: dimensions of the input behind the channels.

    Attributes:
        amount: shape (channels,): 0 is all the first, 1 all the second; 0 at birth.

    Example:
        >>> blend = Blend(channels=3, behind=0)
        >>> blend(torch.ones(2, 3), torch.zeros(2, 3)).tolist()
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]
    """

    def __init__(self, channels: int, behind: int) -> None:
        super().__init__()
        self.behind = behind
        self.amount = nn.Parameter(torch.zeros(channels))

    def forward(self, present: Tensor, candidate: Tensor) -> Tensor:
        """Shape as the inputs'."""
        amount: Tensor = self.amount
        for _ in range(self.behind):
            amount = amount.unsqueeze(-1)
        return present + amount * (candidate - present)


class Activate(Addition):
    """Blend an activation with a candidate, channel by channel; the blend starts at 0.

    What the blend learns to be is ended by `Settle`.

    Attributes:
        node: the activation: a module's name, or a functional call's node.
        to: the candidate.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> living.apply(Activate(node="1", to="silu")).max_error
        0.0
        >>> living.graph_module.edit0.blend.amount.tolist()
        [0.0, 0.0, 0.0]
    """

    kind: Literal["activate"] = "activate"
    node: str
    to: Activation

    def insert(self, insertion: Insertion, context: Context) -> fx.Node:
        """Compute the candidate beside the activation, and let readers read the blend."""
        living = insertion.living
        node = living.node(self.node)
        if not is_nonlinearity(living, node):
            raise EditError(
                f"{self.node!r} is no activation; give one, such as "
                + (", ".join(repr(n) for n in activations(living)[:3]) or "(this model has none)")
            )
        if activation_name(living, node) == self.to:
            raise EditError(f"{self.node!r} is {self.to} already; blend towards another one")
        where = place(living, node)
        before = node.all_input_nodes[0]
        if not context.replaying:
            insertion.liveness.check([before], node)
        _blend(insertion, node, before, where, CANDIDATES[self.to]())
        return node

    def __str__(self) -> str:
        """One line for people."""
        return f"activate {self.node} towards {self.to}"


def _blend(
    insertion: Insertion, node: fx.Node, before: fx.Node, where: Place, candidate: nn.Module
) -> None:
    act, x = insertion.node(node.name), insertion.node(before.name)
    read, last = x, act.prev  # the input as it is by then: something may have overwritten it
    overwritten = [user for user in x.users if user > act] if is_in_place(node) else []
    if is_in_place(node):
        read = last = insertion.apply(last, "kept", torch.clone, x)
    other = insertion.call(last, "candidate", candidate, read)
    module = Blend(where.channels, len(where.shape) - 1 - where.dim)
    blended = insertion.call(act, "blend", module, act, other)
    replace_uses(act, blended, keep=(blended,))
    for user in overwritten:  # it read what the activation had left in its input's place
        user.replace_input_with(x, blended)


class Settle(Edit):
    """End a blend of activations: keep one of the two for all channels.

    Exact where every channel's amount is 0 (to keep the first) or 1 (the second). Otherwise the
    edit changes the function and is refused unless `preserving=False` consents to that.

    Attributes:
        blend: the blend's name, such as "edit3.blend".
        keep: which of the two.
        preserving: False consents to a change of function; `Change.max_error` tells its size.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> _ = living.apply(Activate(node="1", to="silu"))
        >>> living.apply(Settle(blend="edit0.blend", keep="first")).params_after
        23
    """

    kind: Literal["settle"] = "settle"
    blend: str
    keep: Literal["first", "second"]

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """Read the one that is kept in place of the blend."""
        node = living.node(self.blend)
        blend = _blend_of(living, node)
        if blend is None:
            known = ", ".join(repr(name) for name in blends(living)) or "(none here)"
            raise EditError(f"{self.blend!r} is no blend of activations; there are {known}")
        goal = 0.0 if self.keep == "first" else 1.0
        exact = bool((blend.amount == goal).all())
        if self.preserving and not context.replaying and not exact:
            raise EditError(
                f"{self!r} would change the model's function: not every channel's amount is "
                f"{goal:.0f}; nothing was changed. Consent with preserving=False: Change.max_error "
                "then tells by how much"
            )
        return _without(living, node, blend, 0 if self.keep == "first" else 1)

    def __str__(self) -> str:
        """One line for people."""
        return f"settle {self.blend} on its {self.keep}"


def _without(living: LivingModel, node: fx.Node, blend: Blend, kept: int) -> Rewrite:
    graph = copied(living.graph_module.graph)
    copy: fx.Node = next(n for n in graph.nodes if n.name == node.name)
    winner, loser = copy.args[kept], copy.args[1 - kept]
    assert isinstance(winner, fx.Node) and isinstance(loser, fx.Node), "a blend reads two nodes"
    copy.replace_all_uses_with(winner)
    graph.erase_node(copy)
    for unread in (loser, *loser.all_input_nodes):
        if not unread.users and (unread is loser or unread.target is torch.clone):
            graph.erase_node(unread)
    gone = Ancestry(f"{node.target}.amount", new=None, old=blend.amount)
    return Rewrite(graph, {}, (gone,))


def _blend_of(living: LivingModel, node: fx.Node) -> Blend | None:
    if node.op != "call_module":
        return None
    module = living.graph_module.get_submodule(str(node.target))
    return module if isinstance(module, Blend) else None


def blends(living: LivingModel) -> dict[str, Blend]:
    """The model's blends by name.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> _ = living.apply(Activate(node="1", to="silu"))
        >>> list(blends(living))
        ['edit0.blend']
    """
    nodes = living.graph_module.graph.nodes
    found = {str(node.target): _blend_of(living, node) for node in nodes}
    return {name: blend for name, blend in found.items() if blend is not None}


def activations(living: LivingModel) -> tuple[str, ...]:
    """Names of the model's activations, as edits accept them, in the order of the graph.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())
        >>> activations(LivingModel(net, torch.zeros(2, 4)))
        ('1', '3')
    """
    nodes: list[fx.Node] = list(living.graph_module.graph.nodes)
    last = {str(n.target): n for n in nodes if n.op == "call_module"}
    return tuple(
        str(n.target) if last.get(str(n.target)) is n else n.name
        for n in nodes
        if is_nonlinearity(living, n)
    )


def is_nonlinearity(living: LivingModel, node: fx.Node) -> bool:
    """Whether a node is an activation."""
    if len(node.all_input_nodes) != 1 and not isinstance(_module(living, node), nn.PReLU):
        return False
    return _name(living, node) in _SQUEEZED


def activation_name(living: LivingModel, node: fx.Node) -> str | None:
    """Which candidate an activation is; None for another one."""
    name = _name(living, node)
    return next((known for known in CANDIDATES if known.replace("_", "") == name), None)


def _module(living: LivingModel, node: fx.Node) -> nn.Module | None:
    if node.op != "call_module":
        return None
    return living.graph_module.get_submodule(str(node.target))


def _name(living: LivingModel, node: fx.Node) -> str:
    """What a node computes, without case, underscores or where it was called from."""
    name: Any = node.target
    if node.op == "call_module":
        name = type(_module(living, node)).__name__
    elif callable(name):
        name = getattr(name, "__name__", "")
    return str(name).lower().replace("_", "") if node.op.startswith("call") else ""
