"""How a search is run: its phases, how alpha is trained, how choices are drawn."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuroexapt.search.temperature import ORIGINAL as ORIGINAL_ANNEALING
from neuroexapt.search.temperature import Annealing
from neuroexapt.training import Recipe

Phase: TypeAlias = Literal["warm-up", "search", "growth", "final"]


class AlphaConfig(BaseModel):
    """How the architecture parameters are trained, by Adam.

    Attributes:
        lr: learning rate.
        betas: decay of Adam's moments.
        weight_decay: towards indifference.
        data: what alpha is trained on: what the weights are, or what is held out from them.
        every: so many batches of the weights, or epochs, pass between alpha's turns.
        unit: what `every` counts. By batches, a turn is one step; by epochs, a pass over the data.
        run_all: at alpha's steps all operations run, so that each one's part in the gradient is
            known, not only the drawn one's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=6e-4, gt=0)
    betas: tuple[float, float] = (0.5, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    data: Literal["training", "held-out"] = "held-out"
    every: int = Field(default=3, ge=1)
    unit: Literal["batches", "epochs"] = "epochs"
    run_all: bool = True


class SearchConfig(BaseModel):
    """Everything about a search but the space and the data.

    Attributes:
        epochs: all phases together.
        warmup: epochs for which operations are drawn evenly, and alpha rests.
        growth: epoch from which the phase "growth" is told; it changes nothing by itself.
        final: epoch from which the likeliest operations alone are trained on.
        relaxation: how operations are mixed: a hard draw by Gumbel-softmax, of which only what was
            drawn runs; or all of them weighted by softmax, as DARTS does.
        explore_every: every so many epochs after the warm-up operations are drawn evenly, for
            weights that alpha has given up may only be untrained; 0 for never.
        annealing: of the temperature.
        alpha: how the architecture parameters are trained.
        recipe: how the weights are; batches and augmentation are the loader's. The learning rate
            changes once an epoch.
        seed: of the draws.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=60, ge=1)
    warmup: int = Field(default=10, ge=0)
    growth: int | None = None
    final: int | None = None
    relaxation: Literal["gumbel", "softmax"] = "gumbel"
    explore_every: int = Field(default=4, ge=0)
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
        if self.final is not None and epoch >= self.final:
            return "final"
        if self.growth is not None and epoch >= self.growth:
            return "growth"
        return "search"

    def explores(self, epoch: int) -> bool:
        """Whether operations are drawn evenly in an epoch, whatever alpha says."""
        phase = self.phase(epoch)
        if phase in ("warm-up", "final") or not self.explore_every:
            return phase == "warm-up"
        return (epoch - self.warmup) % self.explore_every == self.explore_every - 1


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
        alpha=AlphaConfig(lr=3e-4, data="training", every=5, unit="batches", run_all=False),
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
        alpha=AlphaConfig(lr=3e-4, weight_decay=1e-3, every=1, unit="batches"),
        seed=seed,
    )
