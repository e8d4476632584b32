"""Whether two loaders give the same samples: alpha has to be judged on what weights never saw."""

import logging
import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from neuroexapt.errors import SearchError
from neuroexapt.training import Batches
from neuroexapt.training.loaders import pairs

_log = logging.getLogger(__name__)

DUPLICATES = 0.01
"""Share of held-out samples that equal a training sample up to which that is put down to the data:
collections of real images hold some twice."""


@dataclass(frozen=True)
class Overlap:
    """What two loaders share.

    Attributes:
        shared: held-out samples that the training has too.
        held_out: all held-out samples.
        by_values: whether samples were compared by their values, not by their indices.
        repeated: share of the samples, by values, that each of the two has twice or more by itself;
            the smaller of the two shares.
    """

    shared: int
    held_out: int
    by_values: bool
    repeated: float = 0.0

    @property
    def allowed(self) -> float:
        """How many may be shared, as a data set's own duplicates."""
        return (DUPLICATES + self.repeated) * self.held_out if self.by_values else 0

    @property
    def leaks(self) -> bool:
        """Whether they share more than that."""
        return self.shared > self.allowed


@dataclass(frozen=True)
class Rows:
    """Samples that can be compared by their values.

    Attributes:
        form: what has to be the same for values to mean the same.
        parts: tensors with a sample a row.
    """

    form: tuple[object, ...]
    parts: Sequence[Tensor]

    def digests(self) -> Iterator[bytes]:
        """One a sample."""
        for part in self.parts:
            flat = part.detach().cpu().reshape(len(part), -1).contiguous()
            for row in flat.view(torch.uint8).numpy():
                yield blake2b(row.tobytes(), digest_size=16).digest()


@dataclass(frozen=True)
class Files:
    """Samples that are read from files, and compared by the paths of these.

    Attributes:
        form: what has to be the same for paths to mean the same.
        paths: one a sample.
    """

    form: tuple[object, ...]
    paths: Sequence[str]

    def digests(self) -> Iterator[bytes]:
        """One a sample."""
        return (os.path.realpath(path).encode() for path in self.paths)


def check_apart(train_loader: Iterable[Any], val_loader: Iterable[Any]) -> None:
    """Refuse loaders that are seen to share samples, and say so where that can't be seen.

    See `overlap` for what is seen.

    Raises:
        SearchError: saying how many samples are shared.
    """
    found = overlap(train_loader, val_loader)
    if found is None:
        _log.warning(
            "whether the validation loader shares samples with the training loader can't be seen "
            "from what they are (%s, %s); make sure that it doesn't",
            _kind(train_loader),
            _kind(val_loader),
        )
        return
    if not found.shared:
        return
    told = f"{found.shared} samples of the validation loader are in the training loader too"
    if found.leaks:
        raise SearchError(
            f"{told}; hold out others, as by torch.utils.data.random_split, or alpha is trained on "
            "what the weights know by heart"
        )
    _log.warning("%s, of %d; so few are taken for duplicates in the data", told, found.held_out)


def overlap(train_loader: Iterable[Any], val_loader: Iterable[Any]) -> Overlap | None:
    """What two loaders share, as far as that can be seen.

    Seen are: one object given twice; `DataLoader`s of one data set, also where it is in `Subset`s
    or `ConcatDataset`s, by the indices that their samplers draw from; and by their values lists of
    batches, `Batches`, and `DataLoader`s over a `TensorDataset` or over data sets of one class that
    keep images as `.data`, or the files that they read as `.samples`.

    Returns:
        None for loaders of other kinds: they are taken at their word.
    """
    if train_loader is val_loader:
        count = sum(len(inputs) for inputs, _ in pairs(val_loader))
        return Overlap(count, count, by_values=False)
    own, other = _places(train_loader), _places(val_loader)
    if {id(dataset) for dataset, _ in own} & {id(dataset) for dataset, _ in other}:
        learnt_from = {(id(dataset), index) for dataset, index in own}
        judged_by = {(id(dataset), index) for dataset, index in other}
        return Overlap(len(learnt_from & judged_by), len(judged_by), by_values=False)
    train, held_out = _rows(train_loader), _rows(val_loader)
    if train is None or held_out is None or train.form != held_out.form:
        return None
    learnt, judged = Counter(train.digests()), Counter(held_out.digests())
    shared = sum(count for digest, count in judged.items() if digest in learnt)
    repeated = min(_repeated(learnt), _repeated(judged))
    return Overlap(shared, judged.total(), by_values=True, repeated=repeated)


def _repeated(counts: Counter[bytes]) -> float:
    return sum(count for count in counts.values() if count > 1) / max(counts.total(), 1)


def _kind(loader: object) -> str:
    inside = [type(loader.dataset).__name__] if isinstance(loader, DataLoader) else []
    return " of ".join([type(loader).__name__, *inside])


def _places(loader: object) -> list[tuple[Dataset[Any], int]]:
    """Where each sample that may be drawn is, in the data sets underneath; none if unknown."""
    drawn = _drawn_from(loader)
    return [] if drawn is None else [_inside(drawn[0], index) for index in drawn[1]]


def _inside(dataset: Dataset[Any], place: int) -> tuple[Dataset[Any], int]:
    """The data set that holds a sample itself, and where."""
    if isinstance(dataset, Subset):
        return _inside(dataset.dataset, int(dataset.indices[place]))
    if isinstance(dataset, ConcatDataset):
        part = bisect_right(dataset.cumulative_sizes, place)
        before = dataset.cumulative_sizes[part - 1] if part else 0
        return _inside(dataset.datasets[part], place - before)
    return dataset, place


def _drawn_from(loader: object) -> tuple[Dataset[Any], Sequence[int]] | None:
    """The data set underneath any subsets, and which of its samples may be drawn."""
    taken = _positions(loader) if isinstance(loader, DataLoader) else None
    if taken is None:
        return None
    assert isinstance(loader, DataLoader)
    dataset = loader.dataset
    while isinstance(dataset, Subset):
        taken = [int(dataset.indices[index]) for index in taken]
        dataset = dataset.dataset
    return dataset, taken


def _positions(loader: DataLoader[Any]) -> Sequence[int] | None:
    """What a loader's sampler draws from its data set; None for samplers that don't tell."""
    if not isinstance(loader.dataset, Sized):
        return None
    sampler: object = loader.sampler
    if loader.batch_sampler is not None:
        if not isinstance(loader.batch_sampler, BatchSampler):
            return None
        sampler = loader.batch_sampler.sampler
    match sampler:
        case SubsetRandomSampler():
            return [int(index) for index in sampler.indices]
        case WeightedRandomSampler():
            found: list[int] = sampler.weights.nonzero().flatten().tolist()
            return found
        case SequentialSampler() | RandomSampler() | DistributedSampler():
            return range(len(loader.dataset))
    return None


def _rows(loader: object) -> Rows | Files | None:
    """A loader's samples by their values, if these can be had without running it."""
    if isinstance(loader, Batches):
        images = loader.images.images
        return Rows(("images", images.shape[1:]), [images])
    if isinstance(loader, Sequence):
        return _rows_of_batches(loader)
    drawn = _drawn_from(loader)
    if drawn is None:
        return None
    dataset, taken = drawn
    taken = list(dict.fromkeys(taken))
    index = torch.tensor(taken, dtype=torch.long)
    if isinstance(dataset, TensorDataset):
        inputs = dataset.tensors[0]
        return Rows((inputs.dtype, inputs.shape[1:]), [inputs[index.to(inputs.device)]])
    files = getattr(dataset, "samples", None)  # as torchvision's folders keep (path, class)
    if _are_files(files, dataset):
        return Files((type(dataset),), [str(files[i][0]) for i in taken])
    data = getattr(dataset, "data", None)  # as torchvision's data sets keep their images
    if not isinstance(data, (np.ndarray, Tensor)) or not isinstance(dataset, Sized):
        return None
    images = torch.as_tensor(data)
    if images.ndim < len("NHW") or len(images) != len(dataset):
        return None
    return Rows((type(dataset), images.dtype, images.shape[1:]), [images[index]])


def _are_files(samples: object, dataset: object) -> TypeGuard[list[tuple[str | Path, int]]]:
    """Whether that is one file and one class for each of a data set's samples."""
    if not isinstance(samples, (list, tuple)) or not isinstance(dataset, Sized):
        return False
    pairs_only = all(
        isinstance(sample, (list, tuple))
        and len(sample) == 2
        and isinstance(sample[0], (str, Path))
        for sample in samples
    )
    return pairs_only and bool(samples) and len(samples) == len(dataset)


def _rows_of_batches(batches: Sequence[Any]) -> Rows | None:
    """Those of a list; None if it isn't one of pairs of tensors with samples of one form."""
    inputs = [batch[0] for batch in batches if isinstance(batch, (tuple, list)) and len(batch) == 2]
    whole = len(inputs) == len(batches)
    inputs = list({id(part): part for part in inputs}.values())  # one batch may come again
    forms = {
        (part.dtype, part.shape[1:]) if isinstance(part, Tensor) and part.ndim else None
        for part in inputs
    }
    form = forms.pop() if len(forms) == 1 else None
    return None if form is None or not whole else Rows(form, inputs)
