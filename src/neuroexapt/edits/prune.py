"""Remove units."""

from typing import Literal

from neuroexapt.edits.base import Context, Edit, plural
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.width import checked_units, growable, resize
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.groups import pruned


class Prune(Edit):
    """Remove units of a group, everywhere.

    Exact where their outgoing weights are zero. Otherwise the edit changes the function, and is
    refused with the error it would make, unless `preserving=False` consents to that.

    Attributes:
        group: name of the channel group.
        units: which units go; at least one must stay.
        preserving: False consents to a change of function; `Change.max_error` tells its size.
    """

    kind: Literal["prune"] = "prune"
    group: str
    units: tuple[int, ...]

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:  # noqa: ARG002 - an Edit's
        """Drop the units from every member of the group."""
        group = growable(living, self.group)
        removed = checked_units(group, self.units)
        if len(removed) >= group.size:
            raise EditError(
                f"pruning would leave no unit of the group {self.group!r}; keep at least one"
            )
        return resize(living, group, lambda units: pruned(units, removed), lambda taken, *_: taken)

    def __str__(self) -> str:
        """One line for people."""
        return f"prune {plural(len(self.units), 'unit')} of {self.group}"
