"""Batches of resident images, shuffled, varied and normalised as whole batches."""

from collections.abc import Iterator, Sequence
from typing import Any, final

import torch
from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.augment import Augment, cut_out, flip, shift
from neuroexapt.training.images import DataSplits, ImageSet
from neuroexapt.training.recipe import Recipe
from neuroexapt.training.seed import generator_for

# What a seed's independent streams of random numbers are for.
_EPOCH_STREAM, _FLIP_STREAM = 0, 1


@final
class Batches:
    """An iterable over batches (images, labels) of an image set.

    The batches of an epoch depend on the seed and the epoch alone. Iterating again without
    `set_epoch` gives the very same batches: looking at the data, as sensing does, never changes
    what training sees.

    Mirror images alternate: half the images are mirrored in even passes and the other half in odd
    ones, so that two passes show every image both ways, which independent coin flips do not.

    An epoch is a pass over the images, or so many batches as it was told: then a pass takes several
    epochs, or ends amid one.

    Attributes:
        images: the image set, on `device`.
        batch_size: images a batch; the last one of a pass may be smaller.
        epoch: the epoch whose batches are next.
        channels_last: whether they lie in memory with the channels last.

    Source: alternating flip, Jordan 2024, arXiv:2404.00498.
    """

    def __init__(
        self,
        images: ImageSet,
        batch_size: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        seed: int = 0,
        shuffle: bool = True,
        augment: Augment | None = None,
        drop_last: bool = False,
        channels_last: bool = False,
        num_batches: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Put the images on the device.

        Args:
            images: what to iterate over.
            batch_size: images a batch.
            mean: of each channel, on the scale 0 to 1; subtracted.
            std: of each channel, on the scale 0 to 1; divided by.
            seed: draws order and variations.
            shuffle: draw a new order every pass.
            augment: how to vary images; None leaves them as they are.
            drop_last: leave out a last batch that is not full.
            channels_last: lay batches out in memory with the channels last; shapes stay.
            num_batches: an epoch; None for a pass over the images.
            device: where batches are made.

        Raises:
            DataError: if there would be no batch, or a figure does not fit the images.
        """
        if batch_size < 1 or (drop_last and batch_size > len(images)):
            raise DataError(
                f"batches of {batch_size} cannot be made of {len(images)} images; "
                f"give a batch size from 1 to {len(images)}"
            )
        if num_batches is not None and num_batches < 1:
            raise DataError(f"an epoch of {num_batches} batches is none; give at least 1, or None")
        if not len(mean) == len(std) == images.num_channels:
            raise DataError(
                f"{len(mean)} means and {len(std)} deviations for images of "
                f"{images.num_channels} channels; give one each a channel"
            )
        self._augment = augment or Augment()
        if self._augment.shift >= min(images.image_size):
            raise DataError(
                f"a shift of {self._augment.shift} pixels leaves nothing of images of "
                f"{images.image_size[0]} by {images.image_size[1]}; give a smaller one"
            )
        self.images = images.to(device)
        self.batch_size = batch_size
        self.epoch = 0
        self._seed = seed
        self._shuffle = shuffle
        full, rest = divmod(len(self.images), batch_size)
        self._a_pass = full + bool(rest and not drop_last)
        self._an_epoch = num_batches or self._a_pass
        self.channels_last = channels_last
        deviations = torch.tensor(std, dtype=torch.float64)
        means = torch.tensor(mean, dtype=torch.float64)
        self._scale = _per_channel(1 / (255 * deviations), device)
        self._bias = _per_channel(-means / deviations, device)

    def __len__(self) -> int:
        """Return the number of batches an epoch."""
        return self._an_epoch

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this epoch's batches.

        Yields:
            Images, float32 of shape (B, C, H, W), and labels, int64 of shape (B,).
        """
        first = self.epoch * self._an_epoch
        last = first + self._an_epoch
        for number in range(first // self._a_pass, (last - 1) // self._a_pass + 1):
            begin = number * self._a_pass
            within = range(max(first - begin, 0), min(last - begin, self._a_pass))
            yield from self._of_pass(number, within)

    def _of_pass(self, number: int, batches: range) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield some of the batches of one pass over the images."""
        generator = generator_for(self._seed, _EPOCH_STREAM, number)
        num_images, device = len(self.images), self.images.images.device
        order = torch.arange(num_images)
        if self._shuffle:
            order = torch.randperm(num_images, generator=generator)
        largest = self._augment.shift
        offsets = torch.randint(-largest, largest + 1, (num_images, 2), generator=generator)
        size = torch.tensor(self.images.image_size)
        centres = (torch.rand(num_images, 2, generator=generator) * size).long()
        flipped = self._flipped(number)
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        for batch in batches:
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            index = chosen.to(device)
            images = self.images.images[index]
            if largest:
                images = shift(images, offsets[chosen].to(device), largest)
            if self._augment.flip:
                images = flip(images, flipped[chosen].to(device))
            inputs = images.float().mul_(self._scale).add_(self._bias)
            if self._augment.cutout:
                inputs = cut_out(inputs, centres[chosen].to(device), self._augment.cutout)
            yield inputs.contiguous(memory_format=layout), self.images.labels[index]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches are next.

        Raises:
            ValueError: if `epoch` is negative.
        """
        if epoch < 0:
            raise ValueError(f"an epoch is at least 0, not {epoch}")
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return what is needed to go on with the same batches."""
        return {"epoch": self.epoch, "seed": self._seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            DataError: if it was taken under another seed, which would give other batches.
        """
        if state["seed"] != self._seed:
            raise DataError(
                f"these batches are drawn with seed {self._seed}, the state with seed "
                f"{state['seed']}; resume with the seed that the run started with"
            )
        self.set_epoch(state["epoch"])

    def _flipped(self, number: int) -> Tensor:
        """Tell which images a pass mirrors; bool, shape (N,)."""
        num_images = len(self.images)
        if not self._augment.flip:
            return torch.zeros(num_images, dtype=torch.bool)
        generator = generator_for(self._seed, _FLIP_STREAM)
        first = torch.randint(2, (num_images,), generator=generator).bool()
        return first ^ bool(number % 2)


def _per_channel(values: Tensor, device: torch.device | str) -> Tensor:
    return values.float().view(-1, 1, 1).to(device)


def train_batches(
    splits: DataSplits, recipe: Recipe, *, seed: int, device: torch.device | str = "cpu"
) -> Batches:
    """Return batches of the training part as the recipe wants them.

    A last batch that is not full is left out, since BatchNorm cannot train on a single image;
    another order every pass leaves out other images.
    """
    return Batches(
        splits.train,
        min(recipe.batch_size, len(splits.train)),
        mean=splits.mean,
        std=splits.std,
        seed=seed,
        augment=recipe.augment,
        drop_last=True,
        channels_last=recipe.channels_last,
        num_batches=recipe.steps_per_epoch,
        device=device,
    )


def evaluation_batches(
    splits: DataSplits,
    images: ImageSet,
    *,
    batch_size: int = 250,
    channels_last: bool = False,
    device: torch.device | str = "cpu",
) -> Batches:
    """Return batches of any part, all images in their order and as they are.

    Args:
        splits: give the training part's mean and deviation.
        images: the part, as `splits.validation`.
        batch_size: images a batch; a CPU's cache likes few.
        channels_last: lay batches out in memory with the channels last.
        device: where batches are made.
    """
    return Batches(
        images,
        batch_size,
        mean=splits.mean,
        std=splits.std,
        shuffle=False,
        channels_last=channels_last,
        device=device,
    )
