"""New units that start with no say."""

from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from neuroexapt.edits.base import Context, Edit
from neuroexapt.edits.carry import newborn_like
from neuroexapt.edits.gradmax import incoming_from_gradient
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.width import Resizing, added, growable, resize
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel, Member, Role
from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.groups import Layout, grown


class Widen(Edit):
    """Add new units to a group.

    Attributes:
        group: name of the channel group.
        count: how many units; even for "paired".
        init: where newborn weights come from.
            "random": incoming random, as spread as their neighbours'; outgoing zero.
            "paired": pairs with equal random incoming weights and opposite random outgoing ones.
            "gradmax": outgoing zero, incoming so that the outgoing gradient is as large as can be;
            needs `loss=` in `LivingModel.apply`.

    Source: "gradmax" after Evci et al. 2022, arXiv:2201.05125, with the roles of the two sides
    exchanged so that newborns pass rectifiers.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> living.apply(Widen(group="0", count=2)).params_after
        37
        >>> x, y = torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)
        >>> loss = lambda model: nn.functional.cross_entropy(model(x), y)
        >>> living.apply(Widen(group="0", count=1, init="gradmax"), loss=loss).params_after
        44
    """

    kind: Literal["widen"] = "widen"
    group: str
    count: int = Field(gt=0)
    init: Literal["random", "paired", "gradmax"] = "random"

    def num_added(self, living: LivingModel) -> int:
        """Exactly how many parameters the new units have."""
        group = growable(living, self.group)
        last = group.size - 1
        newborn = added(
            living, group, lambda units: self.count * int(np.count_nonzero(units == last))
        )
        return sum(newborn.values())

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """Append new units to every member of the group."""
        resizing = self.resizing(living, context)
        if self.init == "gradmax" and context.loss is None and not context.replaying:
            raise EditError(
                'Widen(init="gradmax") looks at gradients: pass loss=, a function from the model '
                "to its loss on some data, to LivingModel.apply"
            )
        rewrite = resize(living, resizing)
        if self.init == "gradmax" and context.loss is not None:
            incoming_from_gradient(living, rewrite, resizing.group, context.loss)
        return rewrite

    def resizing(self, living: LivingModel, context: Context) -> Resizing:
        """How the group changes; without the turn that "gradmax" gives it.

        Raises:
            EditError: if the edit doesn't fit the model.
        """
        group = growable(living, self.group)
        if self.init == "paired" and self.count % 2:
            raise EditError(
                f"paired newborns come in twos: count is {self.count}, give an even one"
            )
        if self.init != "paired" and not context.replaying:
            _check_readers(living, group)
        template = np.full(self.count, group.size - 1, dtype=np.int64)

        def fill(taken: Tensor, member: Member, layout: Layout) -> Tensor:
            return _newborn(living, taken, member, layout, self.init == "paired", context.generator)

        return Resizing(group, lambda units: grown(units, template), fill)

    def __str__(self) -> str:
        """One line for people."""
        return f"widen {self.group} by {self.count} ({self.init})"


def _check_readers(living: LivingModel, group: ChannelGroup) -> None:
    """That outgoing weights which start at zero will be trained, where anything is.

    Raises:
        EditError: naming what is frozen.
    """
    readers = [member.tensor for member in group.members if member.role is Role.CONSUMER]
    trained = any(attribute(living.graph_module, path).requires_grad for path in readers)
    if not trained and any(parameter.requires_grad for parameter in living.parameters()):
        raise EditError(
            f"what reads {group.name!r} is frozen ({', '.join(readers)}): the outgoing weights of "
            "new units start at zero and would stay there; let it be trained, or give init='paired'"
        )


def _newborn(
    living: LivingModel,
    taken: Tensor,
    member: Member,
    layout: Layout,
    paired: bool,
    generator: torch.Generator,
) -> Tensor:
    """Set the newborn positions of one resized tensor."""
    new = np.flatnonzero(layout.newborn >= 0)
    where = torch.as_tensor(new, device=taken.device)
    newborns = torch.as_tensor(layout.newborn[new], device=taken.device)
    shape = list(taken.shape)
    shape[member.dim] = len(new)
    if member.role is Role.PRODUCER:
        values = newborn_like(shape, taken, generator) * _rms(taken)
        values = _twinned(values, member.dim, newborns) if paired else values
        _clear_padding(living, member, values)
        if not isinstance(attribute(living.graph_module, member.tensor), nn.Parameter):
            values = taken.index_select(member.dim, where)  # a fixed filter, as of a blur, stays so
    elif member.role is Role.CONSUMER and not paired:
        values = taken.new_zeros(shape)
    elif member.role is Role.CONSUMER:
        values = newborn_like(shape, taken, generator) * _rms(taken)
        values = _twinned(values, member.dim, newborns)
        signs = (1 - 2 * (newborns % 2)).to(taken.dtype)
        view = [1] * taken.ndim
        view[member.dim] = len(new)
        values = values * signs.view(view)
    else:
        values = torch.full(shape, _neutral(living, member, taken)).to(taken)
    return taken.index_copy(member.dim, where, values)


def _clear_padding(living: LivingModel, member: Member, values: Tensor) -> None:
    """The vector of an embedding's padding is zero and never learns, in newborn channels too."""
    module = living.graph_module.get_submodule(member.tensor.rpartition(".")[0])
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        values[module.padding_idx] = 0


def _twinned(values: Tensor, dim: int, newborns: Tensor) -> Tensor:
    """Newborns 2k + 1 get the values of newborns 2k, position by position."""
    even = torch.nonzero(newborns % 2 == 0).flatten()
    odd = torch.nonzero(newborns % 2 == 1).flatten()
    by_unit = torch.argsort(newborns[even], stable=True), torch.argsort(newborns[odd], stable=True)
    return values.index_copy(dim, odd[by_unit[1]], values.index_select(dim, even[by_unit[0]]))


def _rms(tensor: Tensor) -> Tensor:
    """Root mean square; where all is zero, that of a usual initialisation."""
    size = tensor.float().square().mean().sqrt().to(tensor.dtype)  # halves would underflow
    fan_in = max(tensor[0].numel(), 1)
    return torch.where(size > 0, size, torch.full_like(size, fan_in**-0.5))


def _neutral(living: LivingModel, member: Member, taken: Tensor) -> float:
    """What rides along with a newborn: norms as fresh, biases zero, other scales as their mean."""
    owner, _, name = member.tensor.rpartition(".")
    module = living.graph_module.get_submodule(owner)
    norms = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
    if name in ("running_var",) or (name == "weight" and isinstance(module, norms)):
        return 1.0
    if name in ("running_mean", "bias"):
        return 0.0
    return float(taken.double().mean())
