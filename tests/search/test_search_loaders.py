"""Which held-out batches alpha is trained on, from one epoch to the next."""

from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt.errors import DataError
from neuroexapt.search.loaders import endless, read_beside

DATA = TensorDataset(torch.arange(10), torch.arange(10))
IN_ORDER = [DataLoader(DATA, 2), [(torch.arange(i, i + 2),) * 2 for i in range(0, 10, 2)]]


def first(loader, taken: int, count: int = 3) -> list[int]:
    """The first sample of each of some batches."""
    return [int(inputs[0]) for inputs, _ in islice(endless(loader, 0, taken), count)]


@pytest.mark.parametrize("loader", IN_ORDER, ids=["loader", "list"])
def test_every_batch_of_an_ordered_loader_has_its_turn(loader):
    """Three batches an epoch of five that always come in the same order."""
    seen = [first(loader, taken=3 * epoch) for epoch in range(5)]
    assert seen[:2] == [[0, 2, 4], [6, 8, 0]]
    assert sorted(n for epoch in seen for n in epoch) == sorted([0, 2, 4, 6, 8] * 3)


class Shuffled:
    """Brings another order in every epoch that it is told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)

    def __iter__(self):
        return iter(IN_ORDER[1])


def test_loader_that_shuffles_begins_anew():
    loader = Shuffled()
    assert first(loader, taken=3) == [0, 2, 4]
    assert len(list(islice(endless(loader, 7, 0), 11))) == 11
    assert loader.told == [0, 7, 8, 9]
    generator = torch.Generator().manual_seed(0)
    expected = first(DataLoader(DATA, 2, shuffle=True, generator=generator), taken=0)
    generator.manual_seed(0)
    assert first(DataLoader(DATA, 2, shuffle=True, generator=generator), taken=3) == expected


@pytest.mark.parametrize(
    "loader", [*IN_ORDER, DataLoader(DATA, 2, num_workers=1, persistent_workers=True)]
)
def test_loader_is_read_by_two_at_once(loader):
    """As where alpha steps on the training data, between steps of the weights on the same."""
    seen = []
    for inputs, _ in loader:
        seen.append(int(inputs[0]))
        if len(seen) == 2:
            assert first(read_beside(loader), taken=0) == [0, 2, 4]
    assert seen == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("taken", [0, 4])
def test_loader_without_batches_is_named(taken):
    with pytest.raises(DataError, match="the loader for alpha yields nothing"):
        next(endless([], 0, taken))
