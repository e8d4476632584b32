"""Weight layers of a living model, where each ends, and which ones read each other."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import fx

from neuroexapt.edits import Activate, Attend, Connect
from neuroexapt.edits.insert import is_in_place, settled
from neuroexapt.graph import LivingModel
from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.rules import elementwise, linear, norms, products
from neuroexapt.graph.rules.table import FUNCTIONS, METHODS, module_rule

PRODUCTS = (products.matmul, products.einsum)
WEIGHTS = (linear.linear, linear.convolution, linear.transposed_convolution, *PRODUCTS)
FOLLOWERS = (
    elementwise.elementwise,
    elementwise.prelu,
    elementwise.dropout,
    elementwise.constant_dropout,
    norms.batch_norm,
    norms.instance_norm,
    norms.group_norm,
    norms.layer_norm,
    norms.response_norm,
)

_Reading: TypeAlias = tuple[fx.Node, list[fx.Node], list[fx.Node]]
"""A weight layer, the layers that it reads directly, and all upstream of it."""


@dataclass(frozen=True)
class Layer:
    """A convolution or linear map with the norm, activation and dropout that follow it.

    Attributes:
        name: of the weight layer, as edits accept it: the module's, or a functional node's.
        node: name of its node in the graph.
        output: name, as edits accept it, of the last of what follows: what a connection would read.
        output_node: name of its node in the graph.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))
        >>> layers(LivingModel(net, torch.zeros(2, 4)))[0]
        Layer(name='0', node='_0', output='2', output_node='_2')
    """

    name: str
    node: str
    output: str
    output_node: str


def layers(living: LivingModel) -> tuple[Layer, ...]:
    """The weight layers, in the order of the graph.

    A module that is called several times counts once, at its last call, which is where edits find
    it. Weights that connections and attention brought belong to these and are no layers.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [(layer.name, layer.output) for layer in layers(LivingModel(net, torch.zeros(1, 4)))]
        [('0', '1'), ('2', '2')]
    """
    return tuple(_named(_View(living)))


def adjacent(living: LivingModel) -> frozenset[tuple[str, str]]:
    """Pairs of layers (source, target) of which the target reads the source's output directly.

    Directly means with no other layer between; sums, concatenations, pooling and connections that
    were grown may be.
    """
    view = _View(living)
    return _adjacent(view, list(_reading(view)))


def distant_pairs(living: LivingModel) -> tuple[tuple[Layer, Layer], ...]:
    """Pairs of layers (source, target), the target downstream of the source but not adjacent.

    In the order of the graph: by source, then by target.
    """
    view = _View(living)
    known = {layer.node: layer for layer in _named(view)}
    position = {node: index for index, node in enumerate(known)}
    reading = list(_reading(view))
    near = _adjacent(view, reading)
    pairs = [
        (known[source.name], known[target.name])
        for target, _, upstream in reading
        for source in upstream
        if source.name in known and target.name in known
    ]
    distant = [
        (source, target) for source, target in pairs if (source.name, target.name) not in near
    ]
    return tuple(sorted(distant, key=lambda pair: (position[pair[0].node], position[pair[1].node])))


def last_layers(living: LivingModel, output: fx.Node) -> tuple[fx.Node, ...]:
    """Nodes of the weight layers from which a node is computed with no other layer between."""
    view = _View(living)
    found: dict[fx.Node, None] = {}
    seen: set[fx.Node] = set()
    waiting = [output]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if view.is_layer(node):
            found[node] = None
        elif not view.is_grown(node) or node.name in view.merges:
            waiting += view.data(node)
    return tuple(found)


class _View:
    """A model's graph, indexed once."""

    def __init__(self, living: LivingModel) -> None:
        self.living = living
        self.nodes: list[fx.Node] = list(living.graph_module.graph.nodes)
        self.last_call = {str(n.target): n for n in self.nodes if n.op == "call_module"}
        self.grown: set[str] = set()
        self.merges: set[str] = set()
        for index, edit in enumerate(living.edits):
            if isinstance(edit, Connect | Attend | Activate):
                self.grown.add(f"edit{index}")
                self.merges |= {f"edit{index}_{name}" for name in ("sum", "scaled", "blend")}

    def is_grown(self, node: fx.Node) -> bool:
        """Whether a node is a part of a connection, an attention or a blend that was grown."""
        return bool(self.grown) and node.name.partition("_")[0] in self.grown

    def label(self, node: fx.Node) -> str:
        """A name that all calls of a module share."""
        return str(node.target) if node.op == "call_module" else node.name

    def name(self, node: fx.Node) -> str | None:
        """The name by which edits find this very node; None if a module's last call hides it."""
        if self.last_call.get(self.label(node)) is node:
            return self.label(node)
        return None if node.name in self.last_call else node.name

    def rule(self, node: fx.Node) -> Callable[..., Any] | None:
        """The coupling rule of what a node does."""
        target: Any = node.target
        if node.op == "call_module":
            module = self.living.graph_module.get_submodule(target)
            if isinstance(module, ByMode):
                return FUNCTIONS.get(module.function)
            return module_rule(module)
        if node.op == "call_function":
            return FUNCTIONS.get(target)
        return METHODS.get(target) if node.op == "call_method" else None

    def is_tensor(self, node: fx.Node) -> bool:
        """Whether a node gives activations."""
        example = self.living.example_output(node)
        return isinstance(example, torch.Tensor) and example.is_floating_point()

    def data(self, node: fx.Node) -> list[fx.Node]:
        """A node's inputs that depend on the model's inputs."""
        return [n for n in node.all_input_nodes if n in self.living.computed and self.is_tensor(n)]

    def is_layer(self, node: fx.Node) -> bool:
        """Whether a node maps activations by weights."""
        if node.op not in ("call_module", "call_function", "call_method"):
            return False
        if self.is_grown(node) or not self.is_tensor(node):
            return False
        rule = self.rule(node)
        return rule in WEIGHTS and (rule not in PRODUCTS or len(self.data(node)) == 1)

    def weight_layers(self) -> list[fx.Node]:
        """The nodes of all weight layers."""
        return [node for node in self.nodes if self.is_layer(node)]


def _named(view: _View) -> Iterator[Layer]:
    for node in view.weight_layers():
        label = view.label(node)
        if view.name(node) == label:
            last = [(n, name) for n in _chain(view, node) if (name := view.name(n)) is not None][-1]
            yield Layer(label, node.name, last[1], last[0].name)


def _adjacent(view: _View, reading: Iterable[_Reading]) -> frozenset[tuple[str, str]]:
    """Names, so that all calls of one module are one layer."""
    return frozenset(
        (view.label(source), view.label(target)) for target, reads, _ in reading for source in reads
    )


def _chain(view: _View, node: fx.Node) -> list[fx.Node]:
    """The layer's node and what follows it, one after the other, up to where it branches."""
    chain = [node]
    while True:
        current = chain[-1]
        users = [user for user in current.users if view.is_tensor(user) or user.op == "output"]
        users = [user for user in users if not view.is_grown(user) or user.name in view.merges]
        if len(users) == 1 and _follows(view, users[0], current):
            chain.append(users[0])
        elif any(is_in_place(user) and user.args[0] is current for user in users):
            chain.append(settled(current))
        else:
            return chain


def _follows(view: _View, user: fx.Node, current: fx.Node) -> bool:
    """Whether a node is this layer's own norm, activation or dropout, or grown into it."""
    if user.name in view.merges:
        return user.args[0] is current
    if view.rule(user) not in FOLLOWERS or view.data(user) != [current]:
        return False
    before, after = (view.living.example_output(n) for n in (current, user))
    return bool(before.shape == after.shape)


def _reading(view: _View) -> Iterator[_Reading]:
    """What each weight layer reads, in the order of the graph."""
    found = view.weight_layers()
    # Sets of layers as the bits of whole numbers: their union costs next to nothing.
    bit = {node: 1 << index for index, node in enumerate(found)}
    arriving: dict[fx.Node, int] = {}
    upstream: dict[fx.Node, int] = {}
    for node in view.nodes:
        reads = above = 0
        for source in node.all_input_nodes:
            reads |= arriving[source]
            above |= upstream[source] | arriving[source]
        arriving[node] = bit.get(node, reads)
        upstream[node] = above
        if node in bit:
            yield node, _members(found, reads), _members(found, above)


def _members(nodes: list[fx.Node], bits: int) -> list[fx.Node]:
    return [node for index, node in enumerate(nodes) if bits >> index & 1]
