"""How much sensing may look at, so that it keeps to its share of the compute."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_map

from neuroexapt.graph import Inputs, LivingModel
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.signals.pairs import checked
from neuroexapt.signals.untouched import untouched
from neuroexapt.training.layout import laid_out, takes_channels_last
from neuroexapt.training.loaders import generators_kept
from neuroexapt.training.modes import device_of

FEWEST = {"arbiter": 64}
"""Policy -> samples of which it needs so many to tell a gain from noise."""
FEWEST_OTHERWISE = 32
"""The same for policies that measure no gains."""
FIRST_GUESS = {"arbiter": 60.0}
"""Policy -> FLOPs of sensing a sample and MAC of the model, before anything was sensed."""
FIRST_GUESS_OTHERWISE = 4.0
"""The same for policies that measure no gains."""
ENOUGH = 256
"""Samples with which all additions are looked at; with fewer, a part of them with more samples."""
SMALLEST_PART = 0.15
"""Of the additions, drawn anew each time."""
CHECKING = 0.25
"""Share of what sensing may spend that is kept for checking edits."""
WITHOUT_ADDITIONS = 0.2
"""About how much of the whole sensing takes without any additions."""


@dataclass(frozen=True)
class Scope:
    """What a sensing looks at.

    Attributes:
        samples: how many, at most.
        part: of the additions whose gains could be measured: 1 for all.
    """

    samples: float
    part: float = 1.0

    @property
    def cost(self) -> float:
        """Of a sample, relative to looking at all additions."""
        return WITHOUT_ADDITIONS + (1 - WITHOUT_ADDITIONS) * self.part


@dataclass
class Sampling:
    """What a sample costs to sense, learnt as it goes.

    Attributes:
        fewest: samples under which sensing waits until it can afford them.
        flops_a_mac: FLOPs of sensing one sample, for each of the model's multiply-accumulates, with
            all additions.
        thins: whether a part of the additions may be left out.
    """

    fewest: int
    flops_a_mac: float
    thins: bool = False

    @classmethod
    def first(cls, policy: str) -> "Sampling":
        """Before anything was sensed."""
        return cls(
            FEWEST.get(policy, FEWEST_OTHERWISE),
            FIRST_GUESS.get(policy, FIRST_GUESS_OTHERWISE),
            thins=policy in FIRST_GUESS,
        )

    def affordable(self, flops: float, macs: int) -> Scope | None:
        """What may be looked at; None if too little for it to make sense.

        Args:
            flops: that may be spent; infinite without a limit.
            macs: of the model.
        """
        samples = flops / (self.flops_a_mac * max(macs, 1))
        part = min(max(samples / ENOUGH, SMALLEST_PART), 1.0) if self.thins else 1.0
        scope = Scope(samples / Scope(samples, part).cost, part)
        return scope if scope.samples >= self.fewest else None

    def beside_checks(self, flops: float, macs: int, check: int, first: bool) -> Scope | None:
        """The same, so that enough is left to check edits.

        Where data are so few that this would be never, the first growth may pass the share by the
        check of one edit.

        Args:
            flops: that may be spent.
            macs: of the model.
            check: FLOPs of checking one edit.
            first: whether nothing has grown yet, and the share may be passed.
        """
        scope = self.affordable(min(flops * (1 - CHECKING), flops - check), macs)
        if scope is not None or not first:
            return scope
        scope = self.affordable(flops, macs)
        return scope and Scope(self.fewest, scope.part)

    def learn(self, flops: int, num_samples: int, macs: int, scope: Scope) -> None:
        """Take down what a sensing cost."""
        self.flops_a_mac = flops / (num_samples * max(macs, 1) * scope.cost)


def allowance(config: GrowthConfig, train_flops: float, progress: float) -> float:
    """FLOPs that sensing and checks may have taken by now.

    That is their share of what was trained, or more of it early, where what is learnt pays longest:
    of the whole training, as far as `progress` tells its length, a part that grows as the root of
    the time that there is to grow in.

    Example:
        >>> config = GrowthConfig(sensing_share=0.05, until=0.8)
        >>> allowance(config, train_flops=2.0, progress=0.2)
        0.25
        >>> allowance(config, train_flops=8.0, progress=0.8)
        0.5
    """
    if not train_flops:
        return math.inf
    passed = min(progress / config.until, 1.0)
    early = train_flops / progress * math.sqrt(passed) if progress > 0 else 0.0
    return config.sensing_share * max(train_flops, early)


def drawn(
    living: LivingModel, loader: Iterable[Any], num_batches: int, samples: float
) -> list[Any]:
    """The first few batches of a loader, cut to so many samples; random numbers stay as they were.

    Raises:
        DataError: if one of them is no batch.
    """
    device = device_of(living)
    layout = partial(laid_out, channels_last=takes_channels_last(living))
    found: list[Any] = []
    left = samples
    with untouched(living, device), generators_kept([loader]):
        for inputs, targets in islice(checked(loader), num_batches):
            size = int(min(inputs.batch_size, left))
            if size < min(inputs.batch_size, 2):
                break
            left -= size
            found.append(_cut((inputs.map(layout), targets), size))
    return found


def _cut(batch: tuple[Inputs, Any], size: int) -> tuple[Any, Any]:
    inputs, targets = batch
    first = inputs.map(lambda tensor: tensor[:size])
    given: Any = first.kwargs or first.args
    alone = isinstance(given, tuple) and len(given) == 1
    return given[0] if alone else given, tree_map(
        lambda leaf: leaf[:size] if isinstance(leaf, Tensor) else leaf, targets
    )
