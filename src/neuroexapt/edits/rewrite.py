"""What an edit gives before anything is changed: a new graph, new parts, and their ancestry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from neuroexapt.graph.assemble import Attribute


@dataclass(frozen=True, eq=False)
class Ancestry:
    """How a new tensor continues an old one.

    Attributes:
        name: path of the tensor in the new model.
        new: the tensor now; None for one that is gone.
        old: the tensor before; None for one that is entirely new.
        layouts: changed dimension -> which old position each new one inherits; -1 for newborn ones.
        like: for an entirely new parameter, the existing one whose optimiser settings it takes.
    """

    name: str
    new: Tensor | None
    old: Tensor | None = None
    layouts: Mapping[int, Tensor] = field(default_factory=dict)
    like: Tensor | None = None

    def inherit(self, old: Tensor) -> Tensor:
        """State of the old tensor's shape, in the new one's: inherited or zero.

        Args:
            old: any tensor of the old parameter's shape, such as a momentum buffer.

        Returns:
            A tensor of the new parameter's shape.
        """
        for dim, source in self.layouts.items():
            source = source.to(old.device)
            taken = old.index_select(dim, source.clamp_min(0))
            view = [1] * taken.ndim
            view[dim] = len(source)
            old = torch.where((source >= 0).view(view), taken, torch.zeros_like(taken))
        return old


@dataclass(frozen=True, eq=False)
class Rewrite:
    """An edit's outcome, not yet adopted.

    Attributes:
        graph: the new graph (a copy).
        replaced: path -> new or replaced module or tensor.
        ancestry: for each new parameter, what it continues.
    """

    graph: fx.Graph
    replaced: Mapping[str, Attribute]
    ancestry: tuple[Ancestry, ...]


def copied(graph: fx.Graph) -> fx.Graph:
    """A copy of a graph with the same node names and metadata."""
    new = fx.Graph()
    mapping: dict[fx.Node, fx.Node] = {}
    output = new.graph_copy(graph, mapping, return_output_node=True)
    assert isinstance(output, tuple), "every traced graph has an output"
    value, node = output
    made = new.output(value)
    made.meta = dict(node.meta)
    return new
