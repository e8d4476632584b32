"""What weights cost, against what a model that has them more or fewer really takes."""

from collections.abc import Callable

import pytest
import torch
from seeding import seed_
from torch import Tensor, nn
from torch.nn import functional as F

from neuroexapt import LivingModel, Prune, Widen
from neuroexapt.signals import growth_gain, macs_of_units


class Loose(nn.Module):
    """Weights that aren't in layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(6, 4))
        self.second = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(F.linear(x, self.first)), self.second)


class Shared(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)) + F.relu(self.first(-x)))


def words() -> nn.Module:
    return nn.Sequential(nn.Embedding(50, 8), nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def pictures() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Flatten(),
        nn.Linear(4 * 36, 3),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "embedding": (words, (2, 5), "0"),
    "behind an embedding": (words, (2, 5), "1"),
    "before a transposed convolution": (pictures, (2, 2, 8, 8), "0"),
    "of a transposed convolution": (pictures, (2, 2, 8, 8), "2"),
    "loose": (Loose, (2, 4), "first"),
    "shared": (Shared, (2, 4), "first"),
}
each_case = pytest.mark.parametrize("name", CASES)


def living(name: str) -> tuple[LivingModel, str]:
    build, shape, group = CASES[name]
    seed_(0)
    model = build()
    example = torch.randint(50, shape) if "embedding" in name else torch.randn(shape)
    found = LivingModel(model, example)
    (held,) = (g.name for g in found.groups if g.name == group or g.name.startswith(f"{group}."))
    return found, held


@each_case
def test_macs_of_units_are_what_the_model_takes_less_without_them(name: str) -> None:
    model, group = living(name)
    told = macs_of_units(model, group, 1)
    change = model.apply(Prune(group=group, units=(0,), preserving=False))
    assert told == change.macs_before - change.macs_after


@each_case
def test_gain_tells_the_macs_that_a_widening_adds(name: str) -> None:
    model, group = living(name)
    example = model.example_inputs.tensors[0]
    x = example.repeat(8, *[1] * (example.ndim - 1))
    outputs = model(x)
    targets = torch.zeros(outputs.shape[:-1], dtype=torch.long)

    def criterion(given: Tensor, wanted: Tensor) -> Tensor:
        return F.cross_entropy(given.flatten(0, -2), wanted.flatten())

    edit = Widen(group=group, count=2)
    gains = growth_gain(model, [edit], [(x, targets)], criterion)
    change = model.apply(edit)
    assert [gain.macs for gain in gains.found] == [change.macs_after - change.macs_before]
