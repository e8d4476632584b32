"""A new edge across any distance."""

import operator
from typing import Literal

import torch
from torch import fx, nn

from neuroexapt.edits.addition import Addition
from neuroexapt.edits.base import Context
from neuroexapt.edits.deepen import CONVOLUTIONS
from neuroexapt.edits.insert import Insertion, replace_uses, settled
from neuroexapt.edits.site import Place, before_activation, check_order, place
from neuroexapt.errors import EditError

POOLS = {
    1: nn.functional.adaptive_avg_pool1d,
    2: nn.functional.adaptive_avg_pool2d,
    3: nn.functional.adaptive_avg_pool3d,
}


class Connect(Addition):
    """Add what one node gives, projected, to what another gives.

    The source is pooled (or repeated) to the target's positions and projected to its channels by a
    1x1 convolution or linear layer whose weights are zero, so the function is kept; the sum enters
    before the target's activation.

    Attributes:
        source: node that is read: a module's or block's name.
        target: node that is added to; for an activation, what it activates.

    Example:
        >>> from neuroexapt import LivingModel
        >>> net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> living.apply(Connect(source="1", target="3")).max_error
        0.0
        >>> living.get_submodule("edit0.project")
        Linear(in_features=6, out_features=2, bias=False)
    """

    kind: Literal["connect"] = "connect"
    source: str
    target: str

    def insert(self, insertion: Insertion, context: Context) -> fx.Node:
        """Insert pooling, projection and sum."""
        living = insertion.living
        source_node = settled(living.node(self.source))
        target_node = before_activation(living, living.node(self.target))
        if source_node is target_node:
            raise EditError(f"{self.source!r} and {self.target!r} are the same place; connect two")
        check_order(living, self.source, source_node, self.target, target_node)
        if not context.replaying:  # then weights are still to be loaded
            insertion.liveness.check([source_node], target_node)
        source, target = place(living, source_node), place(living, target_node)
        x, y = insertion.node(source_node.name), insertion.node(target_node.name)
        fitted = _fit(insertion, y, x, source, target)
        last = fitted if fitted is not x else y
        projection = _projection(source, target)
        with torch.no_grad():
            projection.weight.zero_()
        added = insertion.call(last, "project", projection, fitted)
        total = insertion.apply(added, "sum", operator.add, y, added)
        sizes = [node for node in y.users if node.name == f"{insertion.prefix}_shape"]
        replace_uses(y, total, keep=(total, *sizes))
        return target_node

    def __str__(self) -> str:
        """One line for people."""
        return f"connect {self.source} -> {self.target}"


def _fit(insertion: Insertion, after: fx.Node, x: fx.Node, source: Place, target: Place) -> fx.Node:
    """Bring the source to the target's positions.

    Raises:
        EditError: if their positions can't be matched.
    """
    if source.is_map and not target.is_map and len(target.shape) == 2:
        dims = tuple(range(2, len(source.shape)))
        return insertion.apply(after, "pool", torch.mean, x, dims)
    if source.is_map != target.is_map or len(source.shape) != len(target.shape):
        raise EditError(
            f"a connection from shape {source.shape} to {target.shape} has no meaning here: both "
            "must be feature maps of one rank, or sequences, or the target a vector"
        )
    if not source.is_map:
        if source.shape[:-1] != target.shape[:-1]:
            raise EditError(f"positions differ: {source.shape[:-1]} and {target.shape[:-1]}")
        return x
    if source.spatial == target.spatial:
        return x
    shape = insertion.apply(after, "shape", getattr, after, "shape")
    size = insertion.apply(shape, "size", operator.getitem, shape, slice(2, None))
    if all(a >= b for a, b in zip(source.spatial, target.spatial, strict=True)):
        return insertion.apply(size, "pool", POOLS[len(target.spatial)], x, size)
    return insertion.apply(size, "pool", nn.functional.interpolate, x, size)


def _projection(source: Place, target: Place) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d:
    if not target.is_map:
        return nn.Linear(source.channels, target.channels, bias=False)
    return CONVOLUTIONS[len(target.spatial)](source.channels, target.channels, 1, bias=False)
