"""How a network is trained: optimiser, schedule, regularisation and augmentation."""

import math
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from neuroexapt.errors import TrainingError
from neuroexapt.training.augment import Augment


class Recipe(BaseModel):
    """Everything about training that is not the model, the data or the budget.

    Attributes:
        optimizer: SGD with momentum, or AdamW.
        lr: peak learning rate.
        momentum: of SGD.
        nesterov: look ahead along the momentum (SGD).
        weight_decay: on weights of two and more dimensions; biases and norms have none.
        batch_size: images a step.
        label_smoothing: share of the target that is spread over all classes.
        schedule: shape of the learning rate over the budget, see `lr_factor`.
        warmup: share of the budget over which the learning rate rises to its peak.
        start: learning rate at the very start of the warm-up, relative to the peak.
        amp: train in half precision where the device gains by it.
        channels_last: lay images out in memory with the channels last, in which convolutions are
            quicker on most devices. A model that reshapes by `view` may need `reshape` instead.
        augment: how training images are varied.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    batch_size: int = Field(default=128, ge=1)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["cosine", "triangle", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    start: float = Field(default=0.1, gt=0, le=1)
    amp: bool = False
    channels_last: bool = False
    augment: Augment = Augment()


_CIFAR = Recipe(lr=0.2, batch_size=256, label_smoothing=0.1, augment=Augment(shift=4, flip=True))
_RECIPES = {
    "digits": Recipe(batch_size=64, augment=Augment(shift=1)),
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}


def default_recipe(dataset: str) -> Recipe:
    """Return a recipe that suits a data set known by name, or a plain one for any other."""
    return _RECIPES.get(dataset, Recipe())


def lr_factor(recipe: Recipe, progress: float) -> float:
    """Return the learning rate relative to its peak.

    It rises in a straight line from `start` to 1 over the warm-up. From there `cosine` falls along
    half a cosine to 0, `triangle` in a straight line to 0, and `constant` stays.

    Args:
        recipe: gives schedule, warm-up and start.
        progress: share of the budget that is spent, 0 to 1. It may be epochs, steps or
            floating-point operations: a network whose steps grow dearer then anneals in time.

    Raises:
        ValueError: if `progress` is not between 0 and 1.

    Example:
        >>> lr_factor(Recipe(schedule="triangle", warmup=0.2, start=0.5), 0.1)
        0.75
        >>> lr_factor(Recipe(schedule="triangle", warmup=0.2), 0.6)
        0.5
    """
    if not 0 <= progress <= 1:
        raise ValueError(f"progress is a share of the budget, 0 to 1, not {progress}")
    if progress < recipe.warmup:
        return recipe.start + (1 - recipe.start) * progress / recipe.warmup
    left = (1 - progress) / (1 - recipe.warmup)
    match recipe.schedule:
        case "cosine":
            return (1 - math.cos(math.pi * left)) / 2
        case "triangle":
            return left
        case "constant":
            return 1.0


def set_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, progress: float) -> float:
    """Give every parameter group the learning rate of this moment.

    Args:
        optimizer: its groups are changed.
        recipe: gives peak and schedule.
        progress: as in `lr_factor`.

    Returns:
        The learning rate.
    """
    lr = recipe.lr * lr_factor(recipe, progress)
    for group in optimizer.param_groups:
        group["lr"] = lr
    return lr


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser for a model's trainable parameters.

    They form two groups. Weights of two and more dimensions are decayed. Biases, norm scales and
    other vectors are not: a decayed norm scale only rescales what the next layer undoes.

    Raises:
        TrainingError: if no parameter is trainable.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError(
            "no parameter of the model is trainable; set requires_grad on those to be trained"
        )
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def build_criterion(recipe: Recipe) -> nn.Module:
    """Return the loss to train with: cross-entropy, smoothed as the recipe says."""
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
