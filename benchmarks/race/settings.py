"""What is raced: regimes, budgets, and every contender's settings, in one place."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from variants import CHOSEN, CHOSEN_LONG, CHOSEN_LONGER, UNCHANGED, Variant

PFLOP = 1e15
"""Floating-point operations; two for each multiply-accumulate."""

GROWTH: dict[str, Any] = {
    "policy": "arbiter",
    "every": 1,
    "until": 0.5,
    "pace": 1.3,
    "max_edits": 4,
    "newborns": {"lr": 1.0, "steps": 0},
}
"""How `dnm` grows where the recipe is the airbench one."""

STEPS = 30
"""After so many, a third of a pass over the images, a network is validated and may grow."""


@dataclass(frozen=True)
class Regime:
    """A kind of training that contenders share.

    Attributes:
        name: of it.
        data: data sets that it is for, the default first.
        budgets: PFLOP, by default.
        widths: budget -> widths of the sweep.
        model: width -> seed model, as `neuroexapt grow --model` takes it.
        recipe: settings of the recipe.
        growth: settings of `dnm` that its variants share.
        chosen: the variant that is raced as `dnm`.
        grown_share: share of the budget that growing contenders get.
        max_macs: budget -> multiply-accumulates that growth never passes; None for any.
        channels: that a searched network may begin with.
        search_epochs: epochs that an evenly drawn network has to be trainable for.
        contenders: by default.
    """

    name: str
    data: tuple[str, ...]
    budgets: tuple[float, ...]
    widths: Callable[[float], tuple[int, ...]]
    model: Callable[[int], str]
    recipe: dict[str, Any]
    growth: dict[str, Any]
    contenders: tuple[str, ...]
    chosen: Variant = UNCHANGED
    grown_share: float = 1.0
    max_macs: Callable[[float], int | None] = lambda _: None
    channels: tuple[int, ...] = (4, 6, 8, 12, 16, 24, 32)
    search_epochs: int = 20


@dataclass(frozen=True)
class Job:
    """One run.

    Attributes:
        regime: name of its regime.
        data: name of the data set.
        budget: PFLOP.
        contender: name, with `@variant` for other settings.
        seed: of all that is random in it.
    """

    regime: str
    data: str
    budget: float
    contender: str
    seed: int

    @property
    def name(self) -> str:
        """Of its result file."""
        regime = "" if self.regime == "short" else f"{self.regime}-"
        return f"{self.data}-{regime}{self.budget:g}-{self.contender}-seed{self.seed}"

    @property
    def max_flops(self) -> float:
        """Training FLOPs that it may spend."""
        grows = self.contender.partition("@")[0] in GROWING
        return self.budget * PFLOP * (REGIMES[self.regime].grown_share if grows else 1.0)


@dataclass(frozen=True)
class Place:
    """Where things lie, and what computes.

    Attributes:
        results: folder of result files.
        runs: folder of what is going on.
        data_dir: folder of the data set.
        threads: of the CPU.
        device: where networks are trained.
    """

    results: Path
    runs: Path
    data_dir: Path | None
    threads: int
    device: str = "cpu"


def rounded(width: float) -> int:
    """The nearest multiple of 4, at least 4."""
    return max(4 * round(width / 4), 4)


def sweep(budget: float) -> tuple[int, ...]:
    """Widths around the one that a first measurement found best at 0.03 PFLOP.

    Compute goes with the square of the width, so that these are trained for about 14, 7, 4 and 2
    epochs of CIFAR-10.

    Example:
        >>> sweep(0.01), sweep(0.03), sweep(0.1)
        ((8, 12, 16, 24), (16, 20, 28, 40), (24, 36, 52, 72))
    """
    centre = 28 * math.sqrt(budget / 0.03)
    return tuple(sorted({rounded(factor * centre) for factor in (0.5, 0.7, 1.0, 1.4)}))


LONG, LONGER = 40, 200
"""Passes over the images that the final network of each regime gets for the whole budget."""
TRAINED_ON = 45_000
"""Images of CIFAR that aren't held out."""


def trainable(budget: float, passes: int) -> int:
    """Multiply-accumulates of the largest network that can be trained for so many passes.

    Example:
        >>> trainable(0.015, passes=40)
        1388888
    """
    return int(budget * PFLOP / (6 * TRAINED_ON * passes))


ALL = (
    "dnm",
    "static-final",
    "random-growth",
    "static-seed",
    "static-tuned",
    "aso-se-original",
    "aso-se-improved",
    "gromo",
)
"""Contenders, those first that others are made from."""
GROWING = ("dnm", "random-growth")
FOLLOWING = ("static-final", "random-growth")
"""Contenders that need the result of `dnm` at the same budget and seed."""

LONG_REGIME = Regime(
    name="long",
    data=("cifar10", "cifar100"),
    budgets=(0.015,),
    widths=lambda _: (3, 6),
    model="networks:resnet-{}".format,
    recipe={"channels_last": True},
    growth=GROWTH,
    contenders=("dnm", "static-final", "static-seed"),
    grown_share=0.6,
    max_macs=partial(trainable, passes=LONG),
    chosen=CHOSEN_LONG,
)
"""Past the compute-optimal point, with a standard recipe."""

REGIMES: Mapping[str, Regime] = {
    regime.name: regime
    for regime in (
        Regime(
            name="short",
            data=("cifar10", "cifar100"),
            budgets=(0.01, 0.03, 0.1),
            widths=sweep,
            model="networks:airbench-{}".format,
            recipe={"base": "airbench", "steps_per_epoch": STEPS},
            growth=GROWTH,
            chosen=CHOSEN,
            contenders=ALL,
        ),
        LONG_REGIME,
        replace(
            LONG_REGIME,
            name="longer",
            budgets=(0.0117,),
            widths=lambda _: (2, 3),
            max_macs=partial(trainable, passes=LONGER),
            chosen=CHOSEN_LONGER,
        ),
        Regime(
            name="quick",
            data=("digits",),
            budgets=(2e-6,),
            widths=lambda _: (2, 4, 6),
            model="networks:airbench-{}".format,
            recipe={
                "base": "airbench",
                "batch_size": 128,
                "augment": {"shift": 1},
                "views": "plain",
            },
            growth=GROWTH | {"every": 2, "max_edits": 2, "sensing_share": 0.2},
            contenders=ALL,
            channels=(2, 4, 8),
            search_epochs=10,
        ),
    )
}
