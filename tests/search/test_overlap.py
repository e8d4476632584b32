"""Which samples two loaders share, as far as that can be seen."""

import logging
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from neuroexapt.errors import SearchError
from neuroexapt.search.overlap import Overlap, check_apart, overlap
from neuroexapt.search.separation import shared_samples
from neuroexapt.training import Augment, Batches, ImageSet

DATA = TensorDataset(torch.randn(20, 2, generator=torch.Generator().manual_seed(0)))


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(2, 2), torch.zeros(2))])


class Pictures(Dataset):
    """As torchvision's data sets: one object for each way to vary the same images."""

    def __init__(self, data: Tensor) -> None:
        self.data = data.numpy()

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int):
        return torch.from_numpy(self.data[index]) / 255, index


def images(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (count, 3, 4, 4), generator=generator, dtype=torch.uint8)


def resident(found: Tensor, **settings: object) -> Batches:
    labels = torch.arange(len(found)) % 2
    known = {"mean": [0.5] * 3, "std": [0.5] * 3}
    return Batches(ImageSet(found, labels, ("a", "b")), 4, **known, **settings)


def shared(train: object, held_out: object) -> int:
    found = overlap(train, held_out)
    assert found is not None
    return found.shared


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shared_samples_are_counted_in_lists_of_batches(count):
    generator = torch.Generator().manual_seed(0)
    train, held_out = (
        [(torch.randn(8, 3, generator=generator), torch.arange(8)) for _ in range(4)]
        for _ in range(2)
    )
    held_out[0][0][:count] = train[2][0][:count]
    assert overlap(train, held_out) == Overlap(count, 32, by_values=True)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_shared_samples_are_counted_in_subsets_by_their_indices(count):
    first, second = Subset(DATA, range(10)), Subset(DATA, range(10 - count, 20))
    found = overlap(DataLoader(first), DataLoader(second, shuffle=True))
    assert found == Overlap(count, 10 + count, by_values=False)
    nested = Subset(second, range(5))
    assert shared(DataLoader(first), DataLoader(nested)) == min(count, 5)


@pytest.mark.parametrize("count", [0, 4])
def test_shared_samples_are_counted_in_what_samplers_draw(count):
    """As DARTS splits its training data: one data set, two samplers."""
    train = DataLoader(DATA, 4, sampler=SubsetRandomSampler(range(10)))
    rest = list(range(10 - count, 20))
    held_out = DataLoader(DATA, 4, sampler=SubsetRandomSampler(rest))
    assert shared(train, held_out) == count
    grouped = BatchSampler(SubsetRandomSampler(rest), 3, drop_last=False)
    assert shared(train, DataLoader(DATA, batch_sampler=grouped)) == count
    weights = [float(index in rest) for index in range(20)]
    assert shared(train, DataLoader(DATA, sampler=WeightedRandomSampler(weights, 5))) == count


@pytest.mark.parametrize("count", [0, 5])
def test_shared_samples_are_counted_in_data_sets_of_the_same_tensors(count):
    (x,) = DATA.tensors
    train, held_out = (
        DataLoader(TensorDataset(part, torch.arange(len(part))), 4, shuffle=True)
        for part in (x[:10], x[10 - count :])
    )
    assert overlap(train, held_out) == Overlap(count, 10 + count, by_values=True)


@pytest.mark.parametrize("count", [0, 5])
def test_shared_samples_are_counted_in_two_data_sets_of_the_same_images(count):
    train, varied = Pictures(images(20)), Pictures(images(20))
    found = overlap(
        DataLoader(Subset(train, range(10))), DataLoader(Subset(varied, range(10 - count, 20)))
    )
    assert found == Overlap(count, 10 + count, by_values=True)


@pytest.mark.parametrize("count", [0, 5])
def test_shared_samples_are_counted_in_resident_batches(count):
    """However they are shuffled, varied and normalised."""
    train = resident(images(20), augment=Augment(shift=1, flip=True), drop_last=True)
    held_out = resident(torch.cat([images(20)[:count], images(9, seed=1)]), shuffle=False)
    found = overlap(train, held_out)
    assert found == Overlap(count, 9 + count, by_values=True)
    if count:
        with pytest.raises(SearchError, match="5 samples of the validation loader are in the tr"):
            check_apart(train, held_out)


def test_one_object_given_twice_shares_everything():
    stream = DataLoader(Stream(), batch_size=None)
    assert overlap(stream, stream) == Overlap(2, 2, by_values=False)
    batches = resident(images(20))
    assert shared(batches, batches) == 20


BATCHES = [(torch.zeros(2, 2), torch.zeros(2))]


@pytest.mark.parametrize(
    ("train", "held_out"),
    [
        (DataLoader(Stream()), DataLoader(Stream())),
        (BATCHES, DataLoader(Stream())),
        (BATCHES, [(torch.zeros(2, 3), torch.zeros(2))]),
        (BATCHES, [(torch.zeros(2, 2, dtype=torch.float64), torch.zeros(2))]),
        (BATCHES, [*BATCHES, torch.zeros(2, 2)]),
        (BATCHES, resident(images(4))),
        (Stream(), Stream()),
        (DataLoader(DATA), DataLoader(DATA, batch_sampler=[[0, 1]])),
    ],
)
def test_what_cannot_be_compared_is_taken_at_its_word_and_told(train, held_out, caplog):
    assert overlap(train, held_out) is None
    check_apart(train, held_out)
    assert f"can't be seen from what they are ({type(train).__name__}" in caplog.text


def test_shared_samples_are_seen_through_concatenated_data_sets():
    parts = ConcatDataset([Subset(DATA, range(5, 10)), Subset(DATA, range(5))])
    train = DataLoader(Subset(parts, range(3, 8)))  # the data's 8, 9, 0, 1, 2
    assert overlap(train, DataLoader(Subset(DATA, [2, 3, 9]))) == Overlap(2, 3, by_values=False)


def test_few_equal_samples_are_put_down_to_the_data(caplog):
    """Real collections of images hold some twice; one index in both parts is a fault."""
    train, held_out = resident(images(20)), torch.cat([images(1), images(199, seed=1)])
    with caplog.at_level(logging.WARNING):
        check_apart(train, resident(held_out))
    assert "1 samples of the validation loader are in the training loader too, of 200" in (
        caplog.text
    )
    first, second = Subset(DATA, range(10)), Subset(DATA, range(9, 20))
    with pytest.raises(SearchError, match="1 samples of the validation loader"):
        check_apart(DataLoader(first), DataLoader(second))


def test_data_of_few_different_samples_share_some_by_nature():
    """Halves of binary images of 2 x 2 pixels, of which there are but 16."""
    torch.manual_seed(0)
    bits = torch.randint(2, (64, 1, 2, 2)).float()
    train, held_out = [(bits[:32], torch.zeros(32))], [(bits[32:], torch.zeros(32))]
    found = overlap(train, held_out)
    assert found.shared > 16
    assert not found.leaks
    check_apart(train, held_out)
    varied = torch.rand(32, 1, 2, 2)
    with pytest.raises(SearchError, match="32 samples"):
        check_apart([(varied, torch.zeros(32))] * 2, [(varied, torch.zeros(32))] * 2)
    with pytest.raises(SearchError, match="32 samples"):
        check_apart([(varied, torch.zeros(32))] * 2, [(varied, torch.zeros(32))])


class Other(Dataset):
    """Three pictures, and samples of whatever form."""

    def __init__(self, samples: object) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 2, 2), 0


class Folder(Dataset):
    """Pictures as torchvision's folders keep them: the path and the class of each."""

    def __init__(self, names: Sequence[str]) -> None:
        self.samples = [(name, 0) for name in names]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1, 2, 2), self.samples[index][1]


@pytest.mark.parametrize(
    "samples",
    [
        torch.zeros(3),
        np.zeros(3),
        [("a.png", 0)] * 2,
        [("a.mp4", 0, 9)] * 3,
        {"a": 0},
        [()] * 3,
        [],
    ],
)
def test_samples_of_another_form_are_no_files(samples):
    """Whatever else a data set calls its samples is taken at its word."""
    assert overlap(DataLoader(Other(samples)), DataLoader(Other(samples))) is None


def test_shared_samples_are_counted_in_folders_by_their_files():
    train, held_out = Folder(["a.png", "b.png", "c.png"]), Folder(["./b.png", "d.png"])
    found = overlap(DataLoader(train), DataLoader(held_out))
    assert (found.shared, found.held_out, found.leaks) == (1, 2, True)
    apart = overlap(DataLoader(Subset(train, [0, 2])), DataLoader(held_out))
    assert (apart.shared, apart.leaks) == (0, False)


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        (None, "not measured"),
        (Overlap(0, 100, by_values=True), "ok"),
        (Overlap(1, 100, by_values=True), "notice"),
        (Overlap(2, 100, by_values=True), "critical"),
        (Overlap(1, 100, by_values=False), "critical"),
    ],
)
def test_diagnosis_tells_a_leak_from_duplicates(found, severity):
    told = shared_samples(found)
    assert told.severity == severity
    assert bool(told.remedy) is (severity == "critical")
