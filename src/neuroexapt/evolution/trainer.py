"""Dynamic Neural Morphogenesis in one call."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch import Tensor, nn

from neuroexapt.edits import Change
from neuroexapt.errors import EvolutionError, TrainingError
from neuroexapt.evolution.birth import MOST_SEED
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.objectives import Limits
from neuroexapt.evolution.succession import Succession, succeed
from neuroexapt.evolution.world import check_length
from neuroexapt.graph import LivingModel
from neuroexapt.growth import Budget, Grower, GrowthConfig, Loop
from neuroexapt.training import (
    History,
    Recipe,
    build_criterion,
    build_optimizer,
    first_batch,
    lr_factor,
)
from neuroexapt.training.loop import are_classified
from neuroexapt.training.modes import device_of, mode
from neuroexapt.training.recipe import PLAIN
from neuroexapt.training.settings import validated


class DNMConfig(BaseModel):
    """What `DNMTrainer` goes by.

    Attributes:
        recipe: optimiser, schedule and regularisation.
        growth: when and how much to grow.
        budget: limits of growth, and of evolution where that has none of its own; once its
            training FLOPs are spent, neither begins any more.
        evolution: how a population of networks is evolved from the model every so many epochs; None
            for never, since a generation trains several networks. Recipe and seed are the
            trainer's, with the learning rate of the moment; its limits hold for growth, too;
            `founding`, `max_flops`, `polish` and `finalists` do nothing.
        evolve_every: epochs between evolutions.
        generations: of each evolution.
        seed: of all random choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe = PLAIN
    growth: GrowthConfig = GrowthConfig()
    budget: Budget = Budget()
    evolution: EvolutionConfig | None = None
    evolve_every: int = Field(default=10, ge=1)
    generations: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("recipe", mode="before")
    @classmethod
    def _over_the_plain_one(cls, given: Any) -> Any:
        return PLAIN.model_dump() | dict(given) if isinstance(given, Mapping) else given


class DNMTrainer:
    """Trains a model that grows while it trains, and gives way to better ones evolved from it.

    For models of one input tensor, with one tensor of targets; for all else, `Grower` in a loop of
    your own. Classifiers are judged by their accuracy, all others by the loss.

    Args:
        model: any traceable module, or a `LivingModel`.
        config: a `DNMConfig`, or a mapping with its fields.
        criterion: outputs and targets to a mean loss, as `nn.MSELoss()`; None for the cross-entropy
            of classes, with the recipe's label smoothing.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed; or if the model is none,
            or the criterion.

    Attributes:
        grower: after training, what grew and why.
        successions: a record of every evolution: what it found, took, and whether it was better.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.randn(256, 2)
        >>> batches = list(zip(x.split(64), (x[:, 0] * x[:, 1] > 0).long().split(64)))
        >>> growth = {"every": 2, "sensing_share": 0.5}  # by default 0.05: for more data than these
        >>> trainer = DNMTrainer(net, {"growth": growth})
        >>> evolved, history, changes = trainer.train_with_dynamic_morphogenesis(
        ...     batches, batches, epochs=6
        ... )
        >>> len(history), len(changes) > 0
        (6, True)

        A regression, which has no accuracy:

        >>> batches = list(zip(x.split(64), x.prod(1, keepdim=True).split(64)))
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> trainer = DNMTrainer(net, {"growth": growth}, nn.MSELoss())
        >>> evolved, history, changes = trainer.train_with_dynamic_morphogenesis(
        ...     batches, batches, epochs=6
        ... )
        >>> history.best.val_accuracy is None, history.best.val_loss < history[0].val_loss
        (True, True)
    """

    def __init__(
        self,
        model: nn.Module,
        config: DNMConfig | Mapping[str, Any] | None = None,
        criterion: Callable[[Any, Tensor], Tensor] | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"a {type(model).__name__} is no model; give an nn.Module")
        self.model = model
        self.config = validated(DNMConfig, config, "the config")
        if criterion is not None and not callable(criterion):
            raise ValueError(
                f"a {type(criterion).__name__} is no criterion; give a callable that takes outputs "
                "and targets and returns their mean loss, as nn.MSELoss()"
            )
        if criterion is not None and self.config.recipe.label_smoothing:
            raise ValueError(
                "the recipe smooths labels, which the criterion given would not; leave "
                "label_smoothing at 0, and let the criterion do it"
            )
        self.criterion = criterion
        self.grower: Grower | None = None
        self.successions: list[Succession] = []

    def train_with_dynamic_morphogenesis(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any], epochs: int
    ) -> tuple[LivingModel, History, list[Change]]:
        """Train, sense and grow; evolve, if the configuration says so.

        An evolution starts from the model and costs training FLOPs, which the history's include.
        Only a network that does better on the held-out data than the model itself does by then
        takes its place, inside the same `LivingModel`; the optimiser is carried along.

        Args:
            train_loader: yields (inputs, targets).
            val_loader: likewise, held out; growth and evolution are judged on it.
            epochs: how many.

        Returns:
            The evolved model, one record an epoch, and everything that changed, in order.

        Raises:
            TraceError: if the model can't be seen as a graph.
            DataError: if a loader yields nothing usable.
            TrainingError: if nothing in the model is trainable, a loss isn't finite, or nothing is
                classified and there is no criterion.
            EvolutionError: if the model passes evolution's limits, the loader has no length, or
                nothing is classified, which evolution goes by; before any training.
            ValueError: if `epochs` isn't positive.
        """
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; give at least 1")
        living = self._living(train_loader)
        optimizer = build_optimizer(living, self.config.recipe)
        criterion = self.criterion
        if criterion is None:
            criterion = build_criterion(self.config.recipe)
        classified = self._classifies(living, train_loader)
        budget = self._budget(living, train_loader)
        self.grower = Grower(
            living, optimizer, criterion, budget, self.config.growth, self.config.seed
        )
        loop = Loop(
            living,
            optimizer,
            criterion,
            self.config.recipe,
            epochs,
            grower=self.grower,
            classified=classified,
        )
        changes: list[Change] = []
        self.successions = []
        for _, grown in loop.run(train_loader, val_loader):
            changes.extend(grown)
            if self.config.evolution is not None and self._is_time(loop):
                settings = self._settings(self.config.evolution, loop)
                told, changed = succeed(
                    loop, train_loader, val_loader, settings, self.config.generations
                )
                self.successions.append(told)
                changes.extend(changed)
        return living, loop.history, changes

    def _classifies(self, living: LivingModel, train_loader: Iterable[Any]) -> bool:
        """Whether there is an accuracy to go by; without a criterion of one's own there has to be.

        Raises:
            TrainingError: if there is none, and no criterion either.
            EvolutionError: if there is none, and networks are to evolve.
        """
        inputs, targets = (part.to(device_of(living)) for part in first_batch(train_loader))
        with mode(living, training=False), torch.no_grad():
            outputs = living(inputs)
        classified = are_classified(outputs, targets)
        if not classified and self.criterion is None:
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
            raise TrainingError(
                f"outputs of shape {shape} with {targets.dtype} targets of shape "
                f"{tuple(targets.shape)} are no classifier's; give DNMTrainer a criterion that "
                "takes them, as nn.MSELoss(), or targets that are classes"
            )
        if not classified and self.config.evolution is not None:
            raise EvolutionError(
                "evolution judges networks by their accuracy, but these outputs and targets are no "
                "classifier's; leave evolution out, or give targets that are classes"
            )
        return classified

    def _budget(self, living: LivingModel, train_loader: Iterable[Any]) -> Budget:
        """The budget, with evolution's limits where these are narrower.

        Raises:
            EvolutionError: if the model passes these, or the loader has no length.
        """
        budget, evolution = self.config.budget, self.config.evolution
        if evolution is None:
            return budget
        check_length(train_loader)
        bounds = _narrowest(budget, evolution.limits)
        excess = evolution.limits.model_copy(update=bounds).passed_by(living)
        if excess is not None:
            raise EvolutionError(
                f"the model has {excess} by the limits of growth and evolution; give a smaller "
                "one, or a higher limit"
            )
        return budget.model_copy(update=bounds)

    def _is_time(self, loop: Loop) -> bool:
        """An evolution is due, there is training to follow it, and the budget isn't spent."""
        due = not loop.finished and loop.epoch % self.config.evolve_every == 0
        return due and not self.config.budget.spent(loop.flops)

    def _settings(self, evolution: EvolutionConfig, loop: Loop) -> EvolutionConfig:
        """The evolution's settings, with what it has from the trainer."""
        recipe, budget, limits = self.config.recipe, self.config.budget, evolution.limits
        factor = lr_factor(recipe, loop.progress())
        rates = {name: factor * getattr(recipe, name) for name in ("lr", "matrix_lr", "vector_lr")}
        bounds = _narrowest(budget, limits)
        changed = {
            "recipe": recipe.model_copy(update=rates),
            "limits": limits.model_copy(update=bounds),
            "max_flops": None,
            "seed": (self.config.seed * 1000 + loop.epoch) % MOST_SEED,
        }
        return evolution.model_copy(update=changed)

    def _living(self, train_loader: Iterable[Any]) -> LivingModel:
        if isinstance(self.model, LivingModel):
            return self.model
        inputs, _ = first_batch(train_loader)
        return LivingModel(self.model, inputs[:2].to(device_of(self.model)))


def _narrowest(budget: Budget, limits: Limits) -> dict[str, float | None]:
    """Of what growth and evolution may reach, the smaller of each."""
    found = {}
    for name in ("params", "macs", "latency_ms"):
        both = getattr(budget, name), getattr(limits, name)
        found[name] = min((bound for bound in both if bound is not None), default=None)
    return found
