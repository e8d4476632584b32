"""Equal structure, equal key: whatever the parts are called and in whatever order edits came."""

import copy

import pytest
import torch
from grown_nets import grown, net
from torch import nn

from neuroexapt.edits import Attend, Deepen, Prune, Split, Widen
from neuroexapt.evolution import structure_key
from neuroexapt.graph import LivingModel


class Renamed(nn.Module):
    """The same computation, written differently."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 2)
        self.b = nn.Conv2d(4, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.act, self.pool, self.flat = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.a(x)))
        return self.head(self.flat(self.pool(self.act(self.b(x)))))


def test_key_ignores_weights_and_names() -> None:
    other = LivingModel(Renamed(), torch.zeros(2, 3, 8, 8))
    assert structure_key(other) == structure_key(net())


def test_key_ignores_the_order_of_edits() -> None:
    first, second = Widen(group="0", count=2), Deepen(after="4")
    assert structure_key(grown(first, second)) == structure_key(grown(second, first, seed=5))


def test_key_ignores_how_units_came() -> None:
    assert structure_key(grown(Widen(group="0", count=2))) == structure_key(
        grown(Split(group="0", units=(0, 1)))
    )


@pytest.mark.parametrize(
    "edit",
    [
        Widen(group="0", count=1),
        Widen(group="3", count=1),
        Deepen(after="2"),
        Deepen(after="4"),
        Attend(after="4"),
        Prune(group="0", units=(1,), preserving=False),
    ],
    ids=str,
)
def test_key_tells_every_change(edit: object) -> None:
    keys = {structure_key(net()), structure_key(grown(edit))}
    assert len(keys) == 2


def test_key_tells_where_an_edit_went() -> None:
    assert structure_key(grown(Deepen(after="2"))) != structure_key(grown(Deepen(after="4")))


def test_key_of_a_copy_is_the_same() -> None:
    living = grown(Deepen(after="2"))
    assert structure_key(copy.deepcopy(living)) == structure_key(living)


def test_key_tells_settings_without_parameters() -> None:
    kept = LivingModel(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.1)), torch.zeros(1, 2))
    other = LivingModel(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.2)), torch.zeros(1, 2))
    assert structure_key(kept) != structure_key(other)


def test_key_tells_which_input_is_which() -> None:
    class Weighted(nn.Module):
        def __init__(self, swapped: bool) -> None:
            super().__init__()
            self.part, self.swapped = nn.Linear(2, 2), swapped

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.part(y) - x if self.swapped else self.part(x) - y

    example = (torch.zeros(1, 2), torch.zeros(1, 2))
    keys = {structure_key(LivingModel(Weighted(swapped), example)) for swapped in (True, False)}
    assert len(keys) == 2
