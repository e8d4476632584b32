"""A small network and its data, for tests of growth."""

import torch
from seeding import seed_
from torch import Tensor, nn

CRITERION = nn.CrossEntropyLoss()


def model() -> nn.Module:
    seed_(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def batches(count: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(32, 1, 6, 6, generator=generator),
            torch.randint(3, (32,), generator=generator),
        )
        for _ in range(count)
    ]
