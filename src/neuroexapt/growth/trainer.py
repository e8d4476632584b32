"""Dynamic Neural Morphogenesis in one call."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from neuroexapt.edits import Change
from neuroexapt.graph import LivingModel
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.epochs import Loop
from neuroexapt.growth.grower import Grower
from neuroexapt.training import History, Recipe, build_criterion, build_optimizer, first_batch
from neuroexapt.training.modes import device_of
from neuroexapt.training.settings import explained


class DNMConfig(BaseModel):
    """What `DNMTrainer` goes by.

    Attributes:
        recipe: optimiser, schedule and regularisation.
        growth: when and how much to grow.
        budget: limits of growth.
        seed: of growth's random choices.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: Recipe = Recipe()
    growth: GrowthConfig = GrowthConfig()
    budget: Budget = Budget()
    seed: int = Field(default=0, ge=0)


class DNMTrainer:
    """Trains a model that grows while it trains.

    Args:
        model: any traceable module, or a `LivingModel`.
        config: a `DNMConfig`, or a mapping with its fields.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed; or if the model is none.

    Attributes:
        grower: after training, what grew and why.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.randn(256, 2)
        >>> batches = list(zip(x.split(64), (x[:, 0] * x[:, 1] > 0).long().split(64)))
        >>> trainer = DNMTrainer(net, {"growth": {"every": 2, "split_probability": 1.0}})
        >>> evolved, history, changes = trainer.train_with_dynamic_morphogenesis(
        ...     batches, batches, epochs=6
        ... )
        >>> len(history), len(changes) > 0
        (6, True)
    """

    def __init__(
        self, model: nn.Module, config: DNMConfig | Mapping[str, Any] | None = None
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ValueError(f"a {type(model).__name__} is no model; give an nn.Module")
        self.model = model
        given = config if config is not None else {}
        try:
            self.config = DNMConfig.model_validate(given)
        except ValidationError as error:
            raise ValueError(f"the config: {explained(error, DNMConfig)}") from error
        self.grower: Grower | None = None

    def train_with_dynamic_morphogenesis(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any], epochs: int
    ) -> tuple[LivingModel, History, list[Change]]:
        """Train, sense and grow.

        Args:
            train_loader: yields (inputs, targets).
            val_loader: likewise, held out; growth is judged on it.
            epochs: how many.

        Returns:
            The evolved model, one record an epoch, and everything that changed, in order.

        Raises:
            TraceError: if the model can't be seen as a graph.
            DataError: if a loader yields nothing usable.
            TrainingError: if nothing in the model is trainable, or a loss isn't finite.
            ValueError: if `epochs` isn't positive.
        """
        if epochs < 1:
            raise ValueError(f"epochs is {epochs}; give at least 1")
        living = self._living(train_loader)
        optimizer = build_optimizer(living, self.config.recipe)
        criterion = build_criterion(self.config.recipe)
        self.grower = Grower(
            living, optimizer, criterion, self.config.budget, self.config.growth, self.config.seed
        )
        loop = Loop(living, optimizer, criterion, self.config.recipe, epochs, grower=self.grower)
        changes: list[Change] = []
        for _, grown in loop.run(train_loader, val_loader):
            changes.extend(grown)
        return living, loop.history, changes

    def _living(self, train_loader: Iterable[Any]) -> LivingModel:
        if isinstance(self.model, LivingModel):
            return self.model
        inputs, _ = first_batch(train_loader)
        return LivingModel(self.model, inputs[:2].to(device_of(self.model)))
