import pytest
import torch
from sklearn.datasets import load_digits

from neuroexapt.errors import DataError
from neuroexapt.training.digits import read_digits


def test_digits_are_all_of_scikit_learns_images_once() -> None:
    splits = read_digits(0.1, 0)
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [1258, 180, 359]
    ours = torch.cat([part.images for part in parts]).flatten(1)
    labels = torch.cat([part.labels for part in parts])
    pixels, targets = load_digits(return_X_y=True)
    # Intensity k of 16 is byte round(15.9375 k), so dividing again gives k back.
    rows = [
        (*(image.double() / 15.9375).round().long().tolist(), int(label))
        for image, label in zip(ours, labels, strict=True)
    ]
    theirs = [(*map(int, image), int(label)) for image, label in zip(pixels, targets, strict=True)]
    assert sorted(rows) == sorted(theirs)
    assert int(ours.max()) == 255


def test_digits_have_every_class_alike_in_every_part() -> None:
    splits = read_digits(0.1, 0)
    for part, share in ((splits.train, 0.7), (splits.validation, 0.1), (splits.test, 0.2)):
        counts = part.labels.bincount(minlength=10).double()
        assert (counts - share * 179.7).abs().max() < 6


def test_digits_test_part_is_the_same_whatever_is_held_out() -> None:
    assert torch.equal(read_digits(0.1, 0).test.images, read_digits(0.2, 5).test.images)
    assert not torch.equal(
        read_digits(0.1, 0).validation.images, read_digits(0.1, 5).validation.images
    )


def test_digits_without_training_images_are_refused() -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        read_digits(0.9, 0)
