"""A network as what it is grown from: edits over the seed, and weights."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroexapt.edits import AnyEdit
from neuroexapt.errors import EvolutionError
from neuroexapt.graph import LivingModel


@dataclass(frozen=True, eq=False)
class Genome:
    """Edits over the seed network, with the weights that they came to.

    Attributes:
        edits: in order, those that the seed network has had included.
        weights: parameters and persistent buffers by name, on the CPU; no tensor is shared with any
            network or other genome.
    """

    edits: tuple[AnyEdit, ...]
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, living: LivingModel) -> "Genome":
        """Take down a network; nothing that happens to it afterwards changes the genome."""
        state: Mapping[str, Any] = living.state_dict()
        weights = {
            name: value.detach().cpu().clone()
            for name, value in state.items()
            if isinstance(value, Tensor)
        }
        return cls(living.edits, weights)

    def develop(self, seed: LivingModel) -> LivingModel:
        """Build the network.

        Args:
            seed: the network that the lineage begins with; it stays as it is. If it has had edits,
                the genome's edits begin with them.

        Returns:
            A network that shares nothing with the genome or the seed, on the seed's device.

        Raises:
            EditError: if the edits don't fit; then the seed is another one.
        """
        living = copy.deepcopy(seed)
        for edit in self.edits[len(seed.edits) :]:
            edit.apply_to(living, check=False, replaying=True)
        return self.load_into(living)

    def load_into(self, living: LivingModel) -> LivingModel:
        """Give a network of the same structure the genome's weights, and return it.

        Raises:
            EvolutionError: if it has another structure.
        """
        own: Mapping[str, Any] = living.state_dict()
        unlike = [n for n, v in self.weights.items() if n not in own or own[n].shape != v.shape]
        if unlike:
            raise EvolutionError(
                f"the weights of {unlike[0]!r} don't fit: the member was grown from another "
                "network than this evolution's seed"
            )
        with torch.no_grad():
            for name, value in self.weights.items():
                own[name].copy_(value)
        return living
