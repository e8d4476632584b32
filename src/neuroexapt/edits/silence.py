"""Whether a place has a say: layers that start with zero weights silence what goes through them."""

import operator
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.assemble import attribute

NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
PRODUCTS = frozenset((operator.mul, operator.imul, torch.mul, torch.multiply, "mul", "mul_"))
"""Functions and methods by which a scale of the user's own may be applied."""


@dataclass(frozen=True, eq=False)
class Liveness:
    """Which nodes have a say, as a model's weights are now.

    Attributes:
        fed: nodes that the model's inputs reach by a way without all-zero weights, itself included.
        heard: nodes from which such a way leads to the output, itself not included.
    """

    fed: frozenset[fx.Node]
    heard: frozenset[fx.Node]

    @classmethod
    def of(cls, living: LivingModel) -> "Liveness":
        """Look at every layer's weights once."""
        nodes: list[fx.Node] = list(living.graph_module.graph.nodes)
        passing = {node for node in nodes if not _is_zero(living, node)}
        fed: set[fx.Node] = set()
        for node in nodes:
            reached = node.op == "placeholder" or not fed.isdisjoint(node.all_input_nodes)
            if reached and node in passing:
                fed.add(node)
        heard: set[fx.Node] = set()
        for node in reversed(nodes):
            if any(
                user.op == "output" or (user in heard and user in passing) for user in node.users
            ):
                heard.add(node)
        return cls(frozenset(fed), frozenset(heard))

    def check(self, reads: Iterable[fx.Node], writes: fx.Node) -> None:
        """Refuse a place where what starts at zero would meet another zero, and so never learn.

        Args:
            reads: nodes that the new part reads.
            writes: the node whose output it changes.

        Raises:
            EditError: if a node that is read is always zero, or what is written is never heard.
        """
        silent = [node for node in reads if node not in self.fed]
        silent += [writes] if writes not in self.heard else []
        if silent:
            raise EditError(
                f"{silent[0].name!r} is silenced by a layer whose weights are all zero, so what is "
                "added there would get no gradient; train for a step first, or choose another place"
            )


def _is_zero(living: LivingModel, node: fx.Node) -> bool:
    """Whether a node is a layer whose weights or scales are all zero, or a product with such."""
    if node.op != "call_module":
        return node.target in PRODUCTS and any(
            source.op == "get_attr" and not bool(_held(living, source).any())
            for source in node.all_input_nodes
        )
    module = living.graph_module.get_submodule(str(node.target))
    scales = isinstance(module, NORMS)
    own = dict(module.named_parameters(recurse=False))
    weights = [p for name, p in own.items() if p.ndim > 1 or (scales and name == "weight")]
    return bool(weights) and not any(bool(weight.any()) for weight in weights)


def _held(living: LivingModel, node: fx.Node) -> Tensor:
    held = attribute(living.graph_module, str(node.target))
    assert isinstance(held, Tensor), f"{node.target} is no tensor"
    return held
