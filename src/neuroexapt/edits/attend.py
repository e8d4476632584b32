"""Attention that starts with no say: which channels matter, or which positions."""

import operator
from typing import Literal

import torch
from pydantic import Field
from torch import fx, nn

from neuroexapt.edits.addition import Addition
from neuroexapt.edits.attention import SelfAttention, draw_
from neuroexapt.edits.base import Context
from neuroexapt.edits.insert import Insertion, replace_uses, settled
from neuroexapt.edits.site import Place, check_order, place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel

FEWEST = 4
"""Hidden channels that an attention has at least."""


class Attend(Addition):
    """Add attention to what a node gives.

    Attributes:
        after: the node: a module's name, or that of a block whose output is meant.
        form: "channels": x * 2 sigmoid(last(silu(first(mean of the source over its positions)))),
            squeeze-and-excitation, with the last layer's weights zero: a factor of 1.
            "positions": x + self-attention over all positions, its last layer's weights zero.
        source: node whose channels drive the factors, by default `after` itself; "channels" only.
        hidden: channels in between; by default a quarter of those read for "channels", half for
            "positions".
        heads: of the self-attention; "positions" only.
        causal: whether each position reads only itself and those before it; "positions" only, and
            of sequences.

    Source: Hu et al. 2018, arXiv:1709.01507; Vaswani et al. 2017, arXiv:1706.03762.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        >>> living = LivingModel(net, torch.zeros(2, 1, 8, 8))
        >>> change = living.apply(Attend(after="1"))
        >>> change.max_error, change.params_after - change.params_before
        (0.0, 76)
    """

    kind: Literal["attend"] = "attend"
    after: str
    form: Literal["channels", "positions"] = "channels"
    source: str | None = None
    hidden: int | None = Field(default=None, gt=0)
    heads: int = Field(default=1, gt=0)
    causal: bool = False

    def num_added(self, living: LivingModel) -> int:
        """How many weights the new layers have, biases aside."""
        where = place(living, settled(living.node(self.after)))
        if self.form == "positions":
            return 4 * where.channels * (self.hidden or 1)
        source = settled(living.node(self.source)) if self.source is not None else where.node
        return (place(living, source).channels + where.channels) * (self.hidden or 1)

    def insert(self, insertion: Insertion, context: Context) -> fx.Node:
        """Insert the attention and let everything that read the node read its outcome."""
        living = insertion.living
        where = place(living, settled(living.node(self.after)))
        build = _positions if self.form == "positions" else _channels
        build(insertion, self, where, context)
        return where.node

    def __str__(self) -> str:
        """One line for people."""
        driven = f", driven by {self.source}" if self.source is not None else ""
        causal = ", causal" if self.causal else ""
        return f"attend after {self.after} ({self.form}{driven}{causal})"


def _channels(insertion: Insertion, edit: Attend, where: Place, context: Context) -> None:
    living = insertion.living
    if edit.heads > 1 and not context.replaying:  # earlier versions let that pass
        raise EditError(
            f"attention over channels has no heads, but heads is {edit.heads}; leave heads out, or "
            'use form="positions"'
        )
    if edit.causal:
        raise EditError(
            "attention over channels takes the mean over all positions, and can't be causal; leave "
            'causal out, or use form="positions"'
        )
    source = settled(living.node(edit.source)) if edit.source is not None else where.node
    if source is not where.node:
        check_order(living, str(edit.source), source, edit.after, where.node)
    if not context.replaying:
        insertion.liveness.check([source, where.node], where.node)
    read = place(living, source)
    hidden = edit.hidden or max(read.channels // 4, FEWEST)
    first, last = nn.Linear(read.channels, hidden), nn.Linear(hidden, where.channels)
    with torch.no_grad():
        scale = (2 / read.channels) ** 0.5
        first.weight.copy_(torch.randn(first.weight.shape, generator=context.generator) * scale)
        for tensor in (first.bias, last.weight, last.bias):
            tensor.zero_()
    x, driver = insertion.node(where.node.name), insertion.node(source.name)
    pooled = _pooled(insertion, x, driver, read)
    inner = insertion.call(pooled if pooled is not driver else x, "first", first, pooled)
    inner = insertion.call(inner, "act", nn.SiLU(), inner)  # never dead, unlike a rectifier
    outer = insertion.call(inner, "last", last, inner)
    share = insertion.apply(outer, "sigmoid", torch.sigmoid, outer)
    factor = insertion.apply(share, "factor", operator.mul, share, 2)
    for index in range(len(where.shape) - 2):
        dim = -1 if where.dim == 1 else 1
        factor = insertion.apply(factor, f"spread{index}", torch.unsqueeze, factor, dim)
    scaled = insertion.apply(factor, "scaled", operator.mul, x, factor)
    keep = [scaled, *(user for user in x.users if user.name.startswith(f"{insertion.prefix}_"))]
    replace_uses(x, scaled, keep=keep)


def _pooled(insertion: Insertion, after: fx.Node, driver: fx.Node, read: Place) -> fx.Node:
    """The mean of the driver over its positions; itself where it has none."""
    dims = tuple(dim for dim in range(1, len(read.shape)) if dim != read.dim)
    return insertion.apply(after, "pool", torch.mean, driver, dims) if dims else driver


def _positions(insertion: Insertion, edit: Attend, where: Place, context: Context) -> None:
    if edit.source is not None:
        raise EditError(
            f"attention over positions reads its own node, not {edit.source!r}; leave source out, "
            'or use form="channels"'
        )
    if len(where.shape) < 3 or (not where.is_map and len(where.shape) > 3):
        raise EditError(
            f"{edit.after!r} gives shape {where.shape}, which has no positions to attend over; "
            "attend after a feature map (samples, channels, ...) or a sequence (samples, "
            "positions, channels)"
        )
    if edit.causal and len(where.spatial) > 1:
        raise EditError(
            f"{edit.after!r} gives shape {where.shape}, whose positions have no order of which "
            "some are earlier; leave causal out, or attend after a sequence"
        )
    if not context.replaying:
        insertion.liveness.check([where.node], where.node)
    hidden = edit.hidden or max(where.channels // 2 // edit.heads * edit.heads, FEWEST * edit.heads)
    if hidden % edit.heads:
        raise EditError(f"hidden is {hidden}, no multiple of the {edit.heads} heads; make it one")
    spatial = len(where.spatial) if where.is_map else 0
    attention = SelfAttention(where.channels, hidden, edit.heads, spatial, edit.causal)
    draw_(attention, context.generator)
    x = insertion.node(where.node.name)
    read = insertion.call(x, "attention", attention, x)
    total = insertion.apply(read, "sum", operator.add, x, read)
    replace_uses(x, total, keep=(read, total))
