"""Labelled images that stay in memory as bytes, and the three parts of a data set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from neuroexapt.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Labelled images, resident as bytes.

    Attributes:
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,), each an index into `classes`.
        classes: the classes' names.

    Raises:
        DataError: if shapes, types or labels do not fit together, or there is no image.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8 or self.images.ndim != 4:
            raise DataError(
                "images are uint8 of shape (N, C, H, W), "
                f"not {self.images.dtype} of shape {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"labels are int64 of shape ({len(self.images)},), one an image, "
                f"not {self.labels.dtype} of shape {tuple(self.labels.shape)}"
            )
        if not len(self.images):
            raise DataError("an image set holds at least one image; this one is empty")
        low, high = int(self.labels.min()), int(self.labels.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(
                f"labels run from {low} to {high}, but {len(self.classes)} classes allow "
                f"0 to {len(self.classes) - 1}; unlabelled images have to be left out"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """How many classes the labels may name, whether or not each occurs."""
        return len(self.classes)

    @property
    def num_channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.images.shape[1]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.images.shape[2], self.images.shape[3]

    def select(self, indices: Tensor) -> "ImageSet":
        """Return the images at these indices, in their order, as a copy.

        Args:
            indices: int64, shape (M,).
        """
        return ImageSet(self.images[indices], self.labels[indices], self.classes)

    def to(self, device: torch.device | str) -> "ImageSet":
        """Return the same images on another device; on the same one, without a copy."""
        return ImageSet(self.images.to(device), self.labels.to(device), self.classes)


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return each channel's mean and standard deviation, exactly, on the scale 0 to 1.

    A byte has 256 values, so a histogram holds all there is to know: no image is ever converted
    to floating point. A channel that is constant has nothing to scale and gets deviation 1.

    Args:
        images: uint8, shape (N, C, H, W).

    Returns:
        Means and (population) standard deviations, C numbers each.

    Example:
        >>> channel_statistics(torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2))
        ((0.5,), (0.5,))
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).cpu().double()
        share = counts / counts.sum()
        mean = (share * values).sum()
        deviation = (share * (values - mean) ** 2).sum().sqrt()
        means.append(float(mean))
        deviations.append(1.0 if int(counts.count_nonzero()) == 1 else float(deviation))
    return tuple(means), tuple(deviations)


@dataclass(frozen=True, eq=False)
class DataSplits:
    """The three parts of a data set; the test part is not read until it is asked for.

    Attributes:
        name: what the data set is called in records.
        train: what a network is fitted to.
        validation: cut from the training data, for every choice made while training.
        read_test: reads the test part; called at most once, by `test`.
    """

    name: str
    train: ImageSet
    validation: ImageSet
    read_test: Callable[[], ImageSet]

    def __post_init__(self) -> None:
        self._check_alike("validation", self.validation)

    @cached_property
    def test(self) -> ImageSet:
        """The test part, read now: look once, at the end.

        Raises:
            DataError: if it cannot be read, or differs from the training part in classes or shape.
        """
        test = self.read_test()
        self._check_alike("test", test)
        return test

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return channel_statistics(self.train.images)

    @property
    def mean(self) -> tuple[float, ...]:
        """Each channel's mean over the training part, on the scale 0 to 1."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Each channel's standard deviation over the training part, on the scale 0 to 1."""
        return self._statistics[1]

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return self.train.num_classes

    @property
    def num_channels(self) -> int:
        """1 for grey images, 3 for colour."""
        return self.train.num_channels

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.train.image_size

    def _check_alike(self, part: str, images: ImageSet) -> None:
        if images.classes != self.train.classes:
            raise DataError(
                f"{self.name}: the {part} part has classes {images.classes}, "
                f"the training part {self.train.classes}; they have to be the same"
            )
        if images.images.shape[1:] != self.train.images.shape[1:]:
            raise DataError(
                f"{self.name}: images (channels, height, width) are "
                f"{tuple(images.images.shape[1:])} in the {part} part and "
                f"{tuple(self.train.images.shape[1:])} in the training part; "
                "they have to be the same"
            )
