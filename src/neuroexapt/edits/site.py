"""Where an edit attaches: a node's output, its channels and its positions."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.rules import elementwise
from neuroexapt.graph.rules.table import FUNCTIONS, METHODS, module_rule


@dataclass(frozen=True)
class Place:
    """A node's output as an edit sees it.

    Attributes:
        node: the node in the present graph.
        dim: the dimension that carries channels.
        channels: its size.
        spatial: sizes of the position dimensions after the channels; empty for channels-last.
        shape: the whole shape with the example input.
    """

    node: fx.Node
    dim: int
    channels: int
    spatial: tuple[int, ...]
    shape: tuple[int, ...]

    @property
    def is_map(self) -> bool:
        """Channels come right after the samples, positions behind them (a convolution's output)."""
        return self.dim == 1 and len(self.shape) > 2


def ancestors(node: fx.Node) -> set[fx.Node]:
    """All nodes that a node depends on."""
    found: set[fx.Node] = set()
    waiting = list(node.all_input_nodes)
    while waiting:
        current = waiting.pop()
        if current not in found:
            found.add(current)
            waiting.extend(current.all_input_nodes)
    return found


def place(living: LivingModel, node: fx.Node) -> Place:
    """The channels and positions of a node's output.

    Raises:
        EditError: if its output is no single tensor with channels that can be followed, either
            second (with up to three position dimensions behind) or last.
    """
    meta = living.example_output(node)
    activations = isinstance(meta, torch.Tensor) and meta.is_floating_point()
    if node not in living.computed or not activations:
        raise EditError(f"{node.name!r} gives no tensor of activations to attach to")
    shape = tuple(int(size) for size in meta.shape)
    dims = living.channel_dims(node)
    usable = [d for d in dims if d == len(shape) - 1 or (d == 1 and 3 <= len(shape) <= 5)]
    if len(dims) != 1 or not usable:
        raise EditError(
            f"the channels of {node.name!r} (shape {shape}) can't be followed; attach to the "
            "output of a layer, norm or activation instead"
        )
    dim = usable[0]
    return Place(node, dim, shape[dim], shape[2:] if dim == 1 else (), shape)


def is_activation(living: LivingModel, node: fx.Node) -> bool:
    """Whether a node applies a function to each element of one tensor."""
    if len(node.all_input_nodes) != 1:
        return False
    if node.op == "call_module":
        module = living.graph_module.get_submodule(str(node.target))
        return module_rule(module) is elementwise.elementwise
    table: dict[Any, Any] = FUNCTIONS if node.op == "call_function" else METHODS
    return table.get(node.target) is elementwise.elementwise


def before_activation(living: LivingModel, node: fx.Node) -> fx.Node:
    """For an activation, the node that it activates; else the node itself."""
    return node.all_input_nodes[0] if is_activation(living, node) else node


def check_order(
    living: LivingModel, source_name: str, source: fx.Node, target_name: str, target: fx.Node
) -> None:
    """Refuse a source that isn't computed before the target.

    Raises:
        EditError: if the source depends on the target, or comes after it.
    """
    if source in ancestors(target):
        return
    if target in ancestors(source):
        raise EditError(
            f"connecting {source_name!r} to {target_name!r} would make a cycle: the source depends "
            "on the target; exchange them"
        )
    position = {node: index for index, node in enumerate(living.graph_module.graph.nodes)}
    if position[source] > position[target]:
        raise EditError(
            f"{source_name!r} is computed after {target_name!r}; exchange source and target"
        )
