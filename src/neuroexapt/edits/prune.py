"""Remove units."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from neuroexapt.edits.base import Context, Edit, plural
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.width import Resizing, checked_units, growable, resize
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel
from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.groups import pruned
from neuroexapt.graph.value import Labels


class Prune(Edit):
    """Remove units of a group, everywhere.

    Exact where their outgoing weights are zero. Otherwise the edit changes the function, if not on
    the inputs at hand then on others, and is refused unless `preserving=False` consents to that.

    Attributes:
        group: name of the channel group.
        units: which units go; at least one must stay.
        preserving: False consents to a change of function; `Change.max_error` tells its size.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> _ = nn.init.zeros_(net[2].weight[:, 1])  # nothing reads unit 1
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> living.apply(Prune(group="0", units=(1,))).params_after
        16
        >>> living.apply(Prune(group="0", units=(0,), preserving=False)).params_after
        9
    """

    kind: Literal["prune"] = "prune"
    group: str
    units: tuple[int, ...]

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """Drop the units from every member of the group."""
        group = growable(living, self.group)
        removed = checked_units(group, self.units)
        if len(removed) >= group.size:
            raise EditError(
                f"pruning would leave no unit of the group {self.group!r}; keep at least one"
            )
        if self.preserving and not context.replaying and not _are_silent(living, group, removed):
            raise EditError(
                f"{self!r} would change the model's function: the outgoing weights of these "
                "units aren't zero; nothing was changed. Consent with preserving=False: "
                "Change.max_error then tells by how much"
            )
        return resize(
            living, Resizing(group, lambda units: pruned(units, removed), lambda taken, *_: taken)
        )

    def __str__(self) -> str:
        """One line for people."""
        return f"prune {plural(len(self.units), 'unit')} of {self.group}"


def _are_silent(living: LivingModel, group: ChannelGroup, units: Labels) -> bool:
    """Whether everything that reads these units does so with zero weights."""
    for member in group.consumers:
        weight = attribute(living.graph_module, member.tensor)
        assert isinstance(weight, Tensor), f"{member.tensor} is no tensor"
        positions = torch.from_numpy(np.flatnonzero(np.isin(member.units, units)))
        if bool(weight.detach().index_select(member.dim, positions.to(weight.device)).any()):
            return False
    return True
