"""Neuron division: a unit and its newborn twin share what the unit did."""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from neuroexapt.edits.base import Context, Edit, plural
from neuroexapt.edits.carry import newborn_like
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.width import Resizing, added, checked_units, growable, resize
from neuroexapt.graph import LivingModel, Member, Role
from neuroexapt.graph.groups import Layout, grown


class Split(Edit):
    """Divide units of a group.

    Each gets a twin with the same incoming weights and norm statistics; whatever reads them sees
    the outgoing weights a shared as a/2 + d and a/2 - d. The function is kept exactly; the random d
    makes their gradients differ, so that they part.

    Attributes:
        group: name of the channel group.
        units: which units divide.
        variation: size of d relative to the outgoing weights; above 0.

    Source: Net2WiderNet, Chen et al. 2016, arXiv:1511.05641, with a random difference added.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> change = living.apply(Split(group="0", units=(0, 2)))
        >>> change.params_before, change.params_after, change.max_error < 1e-5
        (23, 37, True)
        >>> [tuple(parameter.shape) for parameter in living.parameters()]
        [(5, 4), (5,), (2, 5), (2,)]
    """

    kind: Literal["split"] = "split"
    group: str
    units: tuple[int, ...]
    variation: float = Field(default=0.25, gt=0)

    def num_added(self, living: LivingModel) -> int:
        """Exactly how many parameters the twins have."""
        group = growable(living, self.group)
        parents = checked_units(group, self.units)
        newborn = added(living, group, lambda units: int(np.count_nonzero(np.isin(units, parents))))
        return sum(newborn.values())

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """Append a twin for each unit to every member of the group."""
        return resize(living, self.resizing(living, context))

    def resizing(self, living: LivingModel, context: Context) -> Resizing:
        """How the group changes.

        Raises:
            EditError: if the edit doesn't fit the model.
        """
        group = growable(living, self.group)
        parents = checked_units(group, self.units)

        def fill(taken: Tensor, member: Member, layout: Layout) -> Tensor:
            if member.role is not Role.CONSUMER:
                return taken
            return divide_outgoing(taken, member.dim, layout, self.variation, context.generator)

        return Resizing(group, lambda units: grown(units, parents), fill)

    def __str__(self) -> str:
        """One line for people."""
        return f"split {plural(len(self.units), 'unit')} of {self.group}"


def divide_outgoing(
    weight: Tensor, dim: int, layout: Layout, variation: float, generator: torch.Generator
) -> Tensor:
    """Share outgoing weights between parents and twins, keeping their sum.

    Args:
        weight: a consumer's weights, already laid out anew: twins hold copies of their parents.
        dim: the dimension that reads the units.
        layout: which positions are newborn, and whom they copy.
        variation: size of the random difference d, relative to the spread of the weights.
        generator: the only source of randomness.

    Returns:
        The same shape: parents a/2 + d, twins a/2 - d.
    """
    twins = np.flatnonzero(layout.newborn >= 0)
    place = {
        int(source): index
        for index, source in enumerate(layout.source)
        if layout.newborn[index] < 0
    }
    parents = [place[int(layout.source[twin])] for twin in twins]
    first, second = (torch.as_tensor(p, device=weight.device) for p in (parents, twins))
    outgoing = weight.index_select(dim, second)
    spread = _spread(outgoing, dim, weight)
    difference = newborn_like(outgoing.shape, weight, generator) * spread * variation
    parent, twin = _shares(outgoing, difference)
    return weight.index_copy(dim, first, parent).index_copy(dim, second, twin)


def _shares(whole: Tensor, difference: Tensor) -> tuple[Tensor, Tensor]:
    """Half plus and half minus the difference, with no rounding of their sum.

    Both shares are multiples of the whole's last place, and of its order at most: they are
    represented exactly, and so is what they add up to. In float64, which nothing is checked beyond,
    their sum may be off by a rounding.
    """
    if whole.dtype == torch.float64:
        return whole / 2 + difference, whole / 2 - difference
    precision = torch.finfo(whole.dtype)
    total, difference = whole.double(), difference.double()
    order = torch.ldexp(torch.ones_like(total), torch.frexp(total).exponent)
    last_place = (order / 2).clamp_min(precision.smallest_normal) * precision.eps
    share = torch.round((total / 2 + difference) / last_place) * last_place
    share = share.clamp(torch.maximum(-order, total - order), torch.minimum(order, total + order))
    share = torch.where(total == 0, difference, share)
    return share.to(whole.dtype), (total - share).to(whole.dtype)


def _spread(outgoing: Tensor, dim: int, weight: Tensor) -> Tensor:
    """Root mean square of each unit's outgoing weights; of all weights where it has none yet."""
    others = [d for d in range(outgoing.ndim) if d != dim]
    own = outgoing.square().mean(dim=others, keepdim=True).sqrt()
    overall = weight.square().mean().sqrt()
    overall = torch.where(overall > 0, overall, torch.ones_like(overall) / weight.shape[dim] ** 0.5)
    return torch.where(own > 0, own, overall)
