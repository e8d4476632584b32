"""How a network is trained: optimiser, schedule, regularisation and augmentation."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn.modules.conv import _ConvNd

from neuroexapt.errors import TrainingError
from neuroexapt.training.augment import Augment
from neuroexapt.training.muon import Muon
from neuroexapt.training.views import Views


class Recipe(BaseModel):
    """Everything about training that is not the model, the data or the budget.

    Attributes:
        optimizer: SGD with momentum, AdamW, or Muon for the filters of convolutions and AdamW for
            everything else, see `Muon`.
        lr: peak learning rate; with Muon that of the filters.
        momentum: of SGD, or of Muon.
        nesterov: look ahead along the momentum (SGD, Muon).
        weight_decay: on weights of two and more dimensions; biases and norms have none.
        matrix_lr: beside Muon, peak learning rate of other weights of two and more dimensions, as
            the last layer's: their steps are that over their number of inputs.
        vector_lr: beside Muon, peak learning rate of biases, norm scales and other vectors.
        batch_size: images a step.
        steps_per_epoch: steps after which an epoch counts as done, that is, after which the network
            is validated and may grow; None for a pass over the images. Trainings of few passes are
            followed more closely with fewer steps.
        clip_norm: longest norm of all gradients together; longer ones are shortened to it, so that
            no step throws a network off that has just become deeper. None for any.
        label_smoothing: share of the target that is spread over all classes.
        schedule: shape of the learning rate over the budget, see `lr_factor`.
        warmup: share of the budget over which the learning rate rises to its peak.
        start: learning rate at the very start of the warm-up, relative to the peak.
        amp: train in half precision where the device gains by it.
        channels_last: lay images out in memory with the channels last, in which convolutions are
            quicker on most devices. A model that reshapes by `view` may need `reshape` instead.
            Training leaves them first where gradients would be wrong, see `takes_channels_last`.
        augment: how training images are varied.
        views: of each image when the final network is tested, see `averaged_outputs`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    optimizer: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = True
    weight_decay: float = Field(default=5e-4, ge=0)
    matrix_lr: float = Field(default=0.1, gt=0)
    vector_lr: float = Field(default=0.02, gt=0)
    batch_size: int = Field(default=128, ge=1)
    steps_per_epoch: int | None = Field(default=None, ge=1)
    clip_norm: float | None = Field(default=None, gt=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    schedule: Literal["cosine", "triangle", "constant"] = "cosine"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    start: float = Field(default=0.1, gt=0, le=1)
    amp: bool = False
    channels_last: bool = False
    augment: Augment = Augment()
    views: Views = "plain"


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "airbench": Recipe(
            optimizer="muon",
            lr=0.24,
            momentum=0.6,
            weight_decay=0.0,
            batch_size=500,
            label_smoothing=0.2,
            schedule="triangle",
            warmup=0.0,
            channels_last=True,
            augment=Augment(shift=2, flip=True),
            views="shifted",
        ),
    }
)
"""Recipes by name. "airbench": small image networks, as the one of that name, trained fast with
Muon; after arXiv:2404.00498, with AdamW for what is no filter."""

CLIP_NORM = 5.0
"""Longer than gradients are where all goes well. Networks become deeper as they grow, and their
gradients longer: a learning rate that was right for the seed may throw them off otherwise."""
PLAIN = Recipe(clip_norm=CLIP_NORM)
"""For data of which nothing is known."""
_CIFAR = Recipe(
    lr=0.2,
    batch_size=256,
    clip_norm=CLIP_NORM,
    label_smoothing=0.1,
    channels_last=True,
    augment=Augment(shift=4, flip=True),
)
_DEFAULTS = {
    "digits": Recipe(batch_size=64, clip_norm=CLIP_NORM, augment=Augment(shift=1)),
    "cifar10": _CIFAR,
    "cifar100": _CIFAR,
}


def default_recipe(dataset: str) -> Recipe:
    """Return a recipe that suits a data set known by name, or a plain one for any other."""
    return _DEFAULTS.get(dataset, PLAIN)


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
        recipe: gives the schedule, and the peak of groups without one of their own.
        progress: as in `lr_factor`.

    Returns:
        The recipe's learning rate, which with Muon is that of the filters.
    """
    factor = lr_factor(recipe, progress)
    scale_lr(optimizer, recipe, factor)
    return recipe.lr * factor


def scale_lr(optimizer: torch.optim.Optimizer, recipe: Recipe, factor: float) -> None:
    """Give every parameter group its peak learning rate times a factor.

    The peak is the group's `initial_lr`, where torch's own schedulers look for it too, or else the
    recipe's.
    """
    for group in optimizer.param_groups:
        group["lr"] = group.get("initial_lr", recipe.lr) * factor


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the recipe's optimiser for a model's trainable parameters.

    Under SGD and AdamW they form two groups. Weights of two and more dimensions are decayed.
    Biases, norm scales and other vectors are not: a decayed norm scale only rescales what the next
    layer undoes. Under Muon they form three: the filters of convolutions, other weights of two and
    more dimensions, and vectors.

    Raises:
        TrainingError: if no parameter is trainable.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError(
            "no parameter of the model is trainable; set requires_grad on those to be trained"
        )
    if recipe.optimizer == "muon":
        return _build_muon(model, trainable, recipe)
    groups: list[dict[str, Any]] = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group | {"initial_lr": recipe.lr} for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=recipe.lr)
    return torch.optim.SGD(
        groups,
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def _build_muon(model: nn.Module, trainable: list[nn.Parameter], recipe: Recipe) -> Muon:
    convolutions = [module for module in model.modules() if isinstance(module, _ConvNd)]
    filters = {id(convolution.weight) for convolution in convolutions}
    decayed = recipe.weight_decay
    groups: list[dict[str, Any]] = [
        {
            "params": [p for p in trainable if id(p) in filters],
            "rule": "muon",
            "initial_lr": recipe.lr,
            "weight_decay": decayed,
        },
        {
            "params": [p for p in trainable if id(p) not in filters and p.ndim > 1],
            "rule": "adamw",
            "initial_lr": recipe.matrix_lr,
            "weight_decay": decayed,
            "per_input": True,
        },
        {
            "params": [p for p in trainable if p.ndim <= 1],
            "rule": "adamw",
            "initial_lr": recipe.vector_lr,
            "weight_decay": 0.0,
        },
    ]
    return Muon(
        [group | {"lr": group["initial_lr"]} for group in groups if group["params"]],
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
    )


def build_criterion(recipe: Recipe) -> nn.Module:
    """Return the loss to train with: cross-entropy, smoothed as the recipe says."""
    return nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
