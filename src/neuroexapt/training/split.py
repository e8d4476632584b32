"""Cut parts from labelled data, the same share of every class in each."""

import torch
from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.seed import generator_for

TEST_SHARE = 0.2


def stratified_cut(
    labels: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Divide indices in two, so that every class is in both in about the same proportion.

    The part cut holds `share` of all, rounded to whole images: rounding the running total over
    classes, not each class alone, keeps the sum exact and each class within one image of its
    share. A class is never cut down to nothing.

    Args:
        labels: int64, shape (N,).
        share: what to cut, strictly between 0 and 1.
        generator: the only source of randomness.

    Returns:
        The indices that stay and the indices that are cut, each sorted.

    Raises:
        DataError: if `share` is out of range, or so small for this data that nothing is cut.

    Example:
        >>> stay, cut = stratified_cut(torch.tensor([0, 0, 1, 1]), 0.5, torch.Generator())
        >>> len(stay), len(cut)
        (2, 2)
    """
    if not 0 < share < 1:
        raise DataError(f"a share to cut is strictly between 0 and 1, not {share}")
    counts = torch.bincount(labels)
    totals = (counts.cumsum(0).double() * share).round().long()
    quotas = torch.minimum(
        totals.diff(prepend=torch.zeros(1, dtype=torch.int64)), (counts - 1).clamp(min=0)
    )
    is_cut = torch.zeros(len(labels), dtype=torch.bool)
    for label, quota in enumerate(quotas.tolist()):
        members = (labels == label).nonzero().flatten()
        is_cut[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    if not is_cut.any():
        raise DataError(
            f"a share of {share} of {len(labels)} images in {int((counts > 0).sum())} classes is "
            "no image at all; give more images or a larger share"
        )
    return (~is_cut).nonzero().flatten(), is_cut.nonzero().flatten()


def cut_validation(labels: Tensor, share: float, split_seed: int) -> tuple[Tensor, Tensor]:
    """Return the indices to train on and those held out for choices made while training.

    Args:
        labels: int64, shape (N,), of training data.
        share: what to hold out, strictly between 0 and 1.
        split_seed: the only source of randomness. It is no run's seed: runs can be compared only
            if they hold out the same images.

    Raises:
        DataError: as `stratified_cut`.
    """
    return stratified_cut(labels, share, generator_for(split_seed, 1))


def cut_test(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices to keep and those of a test part: a fifth, always the same.

    Args:
        labels: int64, shape (N,), of data without a test part of its own.

    Raises:
        DataError: as `stratified_cut`.
    """
    return stratified_cut(labels, TEST_SHARE, generator_for(0, 0))


def cut_three(labels: Tensor, validation: float, split_seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the indices of the training, validation and test part of data that comes in one piece.

    The test part is `cut_test`'s, whatever the other arguments are.

    Args:
        labels: int64, shape (N,), of all data.
        validation: share of all data to hold out for choices made while training.
        split_seed: draws the validation part.

    Raises:
        DataError: as `stratified_cut`.
    """
    rest, test = cut_test(labels)
    train, held_out = cut_validation(labels[rest], validation / (1 - TEST_SHARE), split_seed)
    return rest[train], rest[held_out], test
