"""A small network, and what edits make of it, for tests of evolution."""

from typing import Any

import torch
from seeding import seed_
from torch import Tensor, nn

from neuroexapt.graph import LivingModel


def net() -> LivingModel:
    seed_(0)
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    ]
    return LivingModel(nn.Sequential(*layers), torch.zeros(2, 3, 8, 8))


def grown(*edits: Any, seed: int = 0) -> LivingModel:
    living = net()
    for edit in edits:
        living.apply(edit, seed=seed)
    return living


def relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()
