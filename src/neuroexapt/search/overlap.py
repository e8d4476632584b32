"""Whether two loaders give the same samples: alpha has to be judged on what weights never saw."""

from collections.abc import Iterable, Sequence, Sized
from hashlib import blake2b
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves
from torch.utils.data import DataLoader, Dataset, Subset

from neuroexapt.errors import SearchError


def check_apart(train_loader: Iterable[Any], val_loader: Iterable[Any]) -> None:
    """Refuse loaders that are seen to share samples.

    Seen are: one object given twice; `DataLoader`s of one data set, or of `Subset`s of one, by
    their indices; and lists of batches, by their values. Two loaders of other kinds are taken at
    their word.

    Raises:
        SearchError: saying how many samples are shared.
    """
    shared = num_shared(train_loader, val_loader)
    if shared:
        raise SearchError(
            f"{shared} samples of the validation loader are in the training loader too; hold out "
            "others, as by torch.utils.data.random_split, or alpha is trained on what the weights "
            "know by heart"
        )


def num_shared(train_loader: Iterable[Any], val_loader: Iterable[Any]) -> int:
    """How many of the held-out samples the training has, as far as that can be seen."""
    if isinstance(train_loader, DataLoader) and isinstance(val_loader, DataLoader):
        own, held_out = _indices(train_loader.dataset), _indices(val_loader.dataset)
        return len(own[1] & held_out[1]) if own[0] is held_out[0] else 0
    if isinstance(train_loader, Sequence) and isinstance(val_loader, Sequence):
        known = _digests(train_loader)
        return sum(digest in known for digest in _digests(val_loader))
    return sum(1 for _ in val_loader) if train_loader is val_loader else 0


def shows_samples(train_loader: Iterable[Any], val_loader: Iterable[Any]) -> bool:
    """Whether two loaders are of a kind that shows which samples they share.

    `DataLoader`s over two data sets don't: both may be made of the same images.
    """
    if isinstance(train_loader, DataLoader) and isinstance(val_loader, DataLoader):
        own, held_out = _whole(train_loader.dataset), _whole(val_loader.dataset)
        return own is held_out and isinstance(own, Sized)
    lists = isinstance(train_loader, Sequence) and isinstance(val_loader, Sequence)
    return lists or train_loader is val_loader


def _whole(dataset: Dataset[Any]) -> Dataset[Any]:
    """The data set underneath any subsets."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dataset


def _indices(dataset: Dataset[Any]) -> tuple[Dataset[Any], frozenset[int]]:
    """The data set underneath any subsets, and which of its samples are taken."""
    taken: list[int] | None = None
    while isinstance(dataset, Subset):
        own = [int(index) for index in dataset.indices]
        taken = own if taken is None else [own[index] for index in taken]
        dataset = dataset.dataset
    return dataset, frozenset(range(len(dataset)) if taken is None else taken)  # type: ignore[arg-type]


def _digests(batches: Sequence[Any]) -> set[bytes]:
    """One a sample, of its inputs' values."""
    found = set()
    for inputs, _ in batches:
        tensors = [leaf for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor)]
        for rows in zip(*tensors, strict=True):
            values = b"".join(row.detach().cpu().contiguous().numpy().tobytes() for row in rows)
            found.add(blake2b(values, digest_size=16).digest())
    return found
