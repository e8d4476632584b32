"""How a search is run: its phases, how alpha is trained, how choices are drawn."""

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuroexapt.search.temperature import ORIGINAL as ORIGINAL_ANNEALING
from neuroexapt.search.temperature import Annealing
from neuroexapt.training import Recipe

Phase: TypeAlias = Literal["warm-up", "search", "growth", "final"]
SEARCHING: tuple[Phase, ...] = ("search", "growth")
"""Those in which alpha is trained."""
ENOUGH, FEWEST = 9, 4
"""Measurements of the curvature that the published rule takes, and that tell anything at all."""


class AlphaConfig(BaseModel):
    """How the architecture parameters are trained, by Adam.

    Attributes:
        lr: learning rate.
        betas: decay of Adam's moments.
        weight_decay: towards indifference.
        data: what alpha is trained on: what the weights are, or what is held out from them.
        every: so many batches of the weights, or epochs, pass between alpha's turns.
        unit: what `every` counts. By batches, a turn is one step; by epochs, a pass over the data.
        num_running: operations of each decision that run at alpha's steps: those drawn without
            replacement, the first of which is the choice and the others tell what they would have
            done instead. With 1 alpha only hears of the choice; None runs all.
        horizon: how far ahead what operations would still learn counts for them (see `Prospects`):
            learning rate of the weights times steps; 0 for not at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=3e-3, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    data: Literal["training", "held-out"] = "held-out"
    every: int = Field(default=2, ge=1)
    unit: Literal["batches", "epochs"] = "batches"
    num_running: int | None = Field(default=2, ge=1)
    horizon: float = Field(default=5.0, ge=0)


class ExpansionConfig(BaseModel):
    """Growth within a search: when the committed network's accuracy has stopped rising.

    Attributes:
        patience: epochs over which it must not have risen; 5 at least.
        most: expansions in all.
        reheat: temperature afterwards, relative to where it started; it is never lowered.
        num_samples: held-out samples by which the place is chosen.
        open: whether the new layers' operations are decided on, too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: int = Field(default=8, ge=5)
    most: int = Field(default=2, ge=1)
    reheat: float = Field(default=0.6, gt=0)
    num_samples: int = Field(default=256, ge=8)
    open: bool = True


class MeasureConfig(BaseModel):
    """Measuring what `diagnose` looks at while the search goes: curvature, gradients, and the like.

    It leaves no trace in what the search finds. So what it takes isn't counted as training either,
    as that of judging isn't: it decides nothing, and a search that ends with its FLOPs would end
    earlier the more it is looked at.

    Attributes:
        every: measure at every so many epochs in which alpha is trained. None for about nine
            times, which is what it takes to tell a rise of the curvature, but every second epoch at
            most where that leaves four.
        samples: of the training and of the held-out data, to take gradients of; four times as many
            are classified, and of a fourth the curvature is taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int | None = Field(default=None, ge=1)
    samples: int = Field(default=128, ge=8)

    def interval(self, planned: int) -> int:
        """At each which epoch is measured, of so many in which alpha is trained.

        Example:
            >>> [MeasureConfig().interval(planned) for planned in (5, 13, 38)]
            [1, 2, 4]
        """
        if self.every is not None:
            return self.every
        return max(min(max(planned // ENOUGH, 2), planned // FEWEST), 1)


class SearchConfig(BaseModel):
    """Everything about a search but the space and the data.

    Attributes:
        epochs: all phases together; with `max_flops`, those before the final phase.
        max_flops: training FLOPs to stop at (2 for each multiply-accumulate); the final phase goes
            on until they are spent, and the learning rate falls with them. An expansion may pass
            them by what finding its place takes. None stops by epochs.
        warmup: epochs for which operations are drawn evenly, and alpha rests.
        growth: epoch from which the phase "growth" is told; it changes nothing by itself.
        final: epoch from which the likeliest operations alone are trained on.
        restart: whether the learning rate then goes through its schedule once more, in what is left
            of the search; otherwise it goes on falling.
        relaxation: how operations are mixed: a hard draw by Gumbel-softmax, of which only what was
            drawn runs; or all of them weighted by softmax, as DARTS does.
        explore_every: every so many epochs after the warm-up operations are drawn evenly, for
            weights that alpha has given up may only be untrained: what is drawn less is trained
            less, and so looks worse. 0 for never.
        expansion: growth within the search; None for none.
        measure: what it measures of itself for `diagnose`; None for nothing.
        annealing: of the temperature.
        alpha: how the architecture parameters are trained.
        recipe: how the weights are; batches and augmentation are the loader's. The learning rate
            changes once an epoch.
        seed: of the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=60, ge=1)
    max_flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    warmup: int = Field(default=10, ge=0)
    growth: int | None = None
    final: int | None = None
    restart: bool = False
    relaxation: Literal["gumbel", "softmax"] = "gumbel"
    explore_every: int = Field(default=2, ge=0)
    expansion: ExpansionConfig | None = None
    measure: MeasureConfig | None = None
    annealing: Annealing = Annealing()
    alpha: AlphaConfig = AlphaConfig()
    recipe: Recipe = Recipe(lr=0.025, weight_decay=3e-4, nesterov=False, warmup=0.0)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _in_order(self) -> "SearchConfig":
        bounds = [self.warmup, self.growth, self.final, self.epochs]
        known = [bound for bound in bounds if bound is not None]
        if known != sorted(known) or self.warmup >= self.epochs:
            raise ValueError(
                f"the warm-up ends at epoch {self.warmup}, growth begins at {self.growth}, the "
                f"final phase at {self.final}, and {self.epochs} epochs are trained; give epochs "
                "in this order"
            )
        return self

    def phase(self, epoch: int) -> Phase:
        """What an epoch, counted from 0, is for.

        Example:
            >>> [SearchConfig(epochs=4, warmup=1, final=3).phase(epoch) for epoch in range(4)]
            ['warm-up', 'search', 'search', 'final']
        """
        if epoch < self.warmup:
            return "warm-up"
        if epoch >= (self.epochs if self.final is None else self.final):
            return "final"
        if self.growth is not None and epoch >= self.growth:
            return "growth"
        return "search"

    @property
    def planned(self) -> int:
        """Epochs in which alpha is trained, in the whole search."""
        return sum(self.phase(epoch) in SEARCHING for epoch in range(self.epochs))

    def measures(self, epoch: int) -> bool:
        """Whether the search is measured after an epoch, counted from 0.

        Example:
            >>> config = SearchConfig(epochs=6, warmup=1, final=5, measure=MeasureConfig(every=2))
            >>> [config.measures(epoch) for epoch in range(6)]
            [False, False, True, False, True, False]
        """
        if self.measure is None or self.phase(epoch) not in SEARCHING:
            return False
        every = self.measure.interval(self.planned)
        return (epoch - self.warmup) % every == every - 1

    def explores(self, epoch: int) -> bool:
        """Whether operations are drawn evenly in an epoch, whatever alpha says."""
        phase = self.phase(epoch)
        if phase in ("warm-up", "final") or not self.explore_every:
            return phase == "warm-up"
        return (epoch - self.warmup) % self.explore_every == self.explore_every - 1


def as_count(value: Any, otherwise: int) -> int:
    """A number of epochs to plan for, as a record takes it; what none is gets refused later.

    Example:
        >>> as_count(10.0, 60), as_count("ten", 60)
        (10, 60)
    """
    whole = isinstance(value, (int, float)) and value == value // 1 and value > 0
    return int(value) if whole else otherwise


def overridden(known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings, some of which are given; a mapping within overrides one by one, too.

    Example:
        >>> overridden({"alpha": {"lr": 1, "every": 5}}, {"alpha": {"lr": 2}, "epochs": 3})
        {'alpha': {'lr': 2, 'every': 5}, 'epochs': 3}
    """
    found = dict(known)
    for name, value in given.items():
        inner = found.get(name)
        if isinstance(inner, Mapping) and isinstance(value, Mapping):
            found[name] = overridden(inner, value)
        else:
            found[name] = value
    return found


def improved(epochs: int = 60, seed: int = 0) -> SearchConfig:
    """Improved ASO-SE: alpha learns on held-out data, the network grows, and trains on at the end.

    The last fifth of the epochs is for the network that was chosen, and the learning rate rises
    again for it: while the network searched, each of its weights was trained only when drawn.
    """
    return SearchConfig(
        epochs=epochs,
        warmup=min(10, round(0.15 * epochs)),
        final=round(0.8 * epochs),
        restart=True,
        expansion=ExpansionConfig(),
        seed=seed,
    )


def original(epochs: int = 60, seed: int = 0) -> SearchConfig:
    """Original ASO-SE: 15 % warm-up, 30 % search, 35 % growth that reaches nothing, 20 % final.

    Alpha takes a step every 5 batches, on the training data, while the temperature falls fast.
    """
    return SearchConfig(
        epochs=epochs,
        warmup=round(0.15 * epochs),
        growth=round(0.45 * epochs),
        final=round(0.8 * epochs),
        explore_every=0,
        annealing=ORIGINAL_ANNEALING,
        alpha=AlphaConfig(
            lr=3e-4, data="training", every=5, unit="batches", num_running=1, horizon=0.0
        ),
        seed=seed,
    )


def darts(epochs: int = 60, seed: int = 0) -> SearchConfig:
    """DARTS of first order, as a control: all operations run, alpha steps at every batch.

    Source: Liu et al. 2019, arXiv:1806.09055.
    """
    return SearchConfig(
        epochs=epochs,
        warmup=0,
        relaxation="softmax",
        explore_every=0,
        alpha=AlphaConfig(lr=3e-4, weight_decay=1e-3, every=1, num_running=None),
        seed=seed,
    )
