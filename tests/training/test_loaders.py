from collections.abc import Iterable

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt.errors import DataError
from neuroexapt.training.loaders import first_batch, pairs

INPUTS, TARGETS = torch.arange(12.0).view(4, 3), torch.arange(4)


def test_first_batch_of_a_data_loader_can_be_had_again() -> None:
    loader = DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=2)
    for _ in range(2):
        inputs, targets = first_batch(loader)
        assert torch.equal(inputs, INPUTS[:2]) and torch.equal(targets, TARGETS[:2])


def test_first_batch_of_an_iterator_is_refused() -> None:
    with pytest.raises(DataError, match=r"iterator \(list_iterator\), which one pass uses up"):
        first_batch(iter([(INPUTS, TARGETS)]))


def test_pairs_yield_all_batches_on_the_device() -> None:
    moved = list(pairs([(INPUTS, TARGETS)] * 2, nn.Linear(1, 1, device="meta")))
    assert len(moved) == 2 and all(x.is_meta and y.is_meta for x, y in moved)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "the loader yields no batch"),
        (DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=9, drop_last=True), "no batch"),
        ([INPUTS], "batch 0 is a Tensor of no pair"),
        ([{"x": INPUTS}], "batch 0 is a dict of no pair"),
        ([(INPUTS, TARGETS, TARGETS)], "batch 0 is a tuple of 3 parts"),
        ([(INPUTS.numpy(), TARGETS)], r"batch 0 is \(ndarray, Tensor\)"),
        ([(INPUTS, [0, 1, 2, 3])], r"batch 0 is \(Tensor, list\)"),
        ([(INPUTS, TARGETS[:3])], r"shape \(4, 3\) and targets of shape \(3,\)"),
        ([(INPUTS[:0], TARGETS[:0])], "at least 1"),
        ([(torch.tensor(1.0), torch.tensor(1))], r"shape \(\)"),
    ],
)
def test_loader_that_yields_no_pairs_is_refused(loader: Iterable[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        first_batch(loader)


def test_pairs_of_no_loader_or_a_used_up_one_say_so() -> None:
    with pytest.raises(DataError, match="a int is no loader; give what yields pairs"):
        first_batch(5)
    batches = (batch for batch in [(INPUTS, TARGETS)])
    assert len(list(pairs(batches))) == 1
    with pytest.raises(DataError, match=r"yields no batch; it is an iterator \(generator\)"):
        next(pairs(batches))


def test_pairs_name_the_batch_that_is_wrong() -> None:
    with pytest.raises(DataError, match="batch 1 is a str"):
        list(pairs([(INPUTS, TARGETS), "words"]))
