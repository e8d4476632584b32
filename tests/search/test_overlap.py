"""Which loaders show the samples that they share."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from neuroexapt.search.overlap import num_shared, shows_samples

DATA, OTHER = TensorDataset(torch.zeros(8, 2)), TensorDataset(torch.zeros(8, 2))
BATCHES = [(torch.zeros(2, 2), torch.zeros(2))]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(BATCHES)


STREAM = Stream()


@pytest.mark.parametrize(
    ("train", "held_out", "shown"),
    [
        (DataLoader(DATA), DataLoader(DATA), True),
        (DataLoader(DATA), DataLoader(Subset(Subset(DATA, [0, 1]), [1])), True),
        (DataLoader(DATA), DataLoader(OTHER), False),
        (DataLoader(STREAM), DataLoader(STREAM), False),
        (BATCHES, BATCHES, True),
        (BATCHES, DataLoader(DATA), False),
        (STREAM, STREAM, True),
        (STREAM, Stream(), False),
    ],
)
def test_shows_samples_of_what_can_be_compared(train, held_out, shown):
    assert shows_samples(train, held_out) is shown
    if shown:
        assert num_shared(train, held_out) > 0
