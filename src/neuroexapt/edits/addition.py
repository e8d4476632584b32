"""Edits that add operations around a place and leave everything else alone."""

from abc import abstractmethod

from torch import fx

from neuroexapt.edits.base import Context, Edit
from neuroexapt.edits.insert import Insertion, parameters_near
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.graph import LivingModel


class Addition(Edit):
    """An edit that only inserts operations, so that many can be tried on one graph at once."""

    @abstractmethod
    def insert(self, insertion: Insertion, context: Context) -> fx.Node:
        """Insert what the edit adds.

        Args:
            insertion: the graph under construction; `insertion.living` is the model before.
            context: randomness, and whether weights count.

        Returns:
            The node of the model before whose parameters the new ones resemble.

        Raises:
            EditError: if the edit doesn't fit the model.
        """

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """The model's graph with the operations in it."""
        insertion = Insertion.into(living)
        node = self.insert(insertion, context)
        return insertion.finish(parameters_near(living, node))
