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
