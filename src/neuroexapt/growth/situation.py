"""What a policy goes by when it is to say where a network grows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroexapt.graph import LivingModel
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.evidence import Look
from neuroexapt.signals import Readings

ALIKE = 0.8
"""Share of the held-out loss from which the sensed loss is hardly less: losses jump."""
RISEN = 1.1
"""By what the held-out loss has to exceed its lowest for that not to be chance."""


@dataclass(frozen=True, eq=False)
class Situation:
    """A network at the moment when it might grow.

    Attributes:
        living: the network.
        readings: what it says it needs.
        data: the batches (inputs, targets) that were sensed.
        criterion: outputs and targets to a mean loss.
        config: when, where and how much.
        budget: limits.
        generator: the only source of randomness.
        scales: kind of edit, or "other" -> by what to multiply the prior's savings in this run.
        elasticity: how fast the held-out loss falls by training on, -d log(loss) / d log(compute);
            None while it isn't known.
        num_young: how many of the model's latest edits are too young for their outcome to show.
        looks: what earlier sensings showed of all edits together, the latest last.
        part: of the additions, whose gains are to be measured.
        held_out_loss: the present one; None where it isn't told.
        lowest_loss: the lowest held-out loss so far, likewise.
        scale: the largest ratio of the sensed to the held-out loss so far; 0 where none is told.
    """

    living: LivingModel
    readings: Readings
    data: Sequence[Any]
    criterion: Callable[[Any, Any], Tensor]
    config: GrowthConfig
    budget: Budget
    generator: torch.Generator
    scales: Mapping[str, float]
    elasticity: float | None
    num_young: int = 0
    looks: Sequence[Look] = ()
    part: float = 1.0
    held_out_loss: float | None = None
    lowest_loss: float | None = None
    scale: float = 0.0

    @property
    def unlearnt(self) -> float:
        """What the sensed loss would be if the data weren't known any better than held-out data.

        Nothing known by heart is assumed where the two were closest so far: they may be on
        different scales.
        """
        return self.scale * (self.held_out_loss or 0.0)

    @property
    def learnable(self) -> float:
        """Share of the held-out loss that fitting the training data better could save, at most 1.

        What a network has learnt by heart costs nothing where it was trained, and can't be gained
        there any more: where the held-out loss is clearly above that, it isn't for lack of size.
        """
        if self.unlearnt <= 0:
            return 1.0
        return min(max(self.readings.loss, 0.0) / (ALIKE * self.unlearnt), 1.0)

    @property
    def overfits(self) -> bool:
        """Whether the held-out loss has clearly risen, and the training loss hasn't with it."""
        if self.held_out_loss is None or self.lowest_loss is None:
            return False
        return self.learnable < 1 and self.held_out_loss > RISEN * self.lowest_loss
