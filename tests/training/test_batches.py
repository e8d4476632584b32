import pytest
import torch
from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.augment import Augment
from neuroexapt.training.batches import Batches, evaluation_batches, train_batches
from neuroexapt.training.data import load
from neuroexapt.training.images import ImageSet
from neuroexapt.training.recipe import Recipe, default_recipe


def image_set(num: int = 10, channels: int = 1, size: int = 4) -> ImageSet:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (num, channels, size, size), generator=generator).byte()
    return ImageSet(images, torch.arange(num), tuple(map(str, range(num))))


def plain(images: ImageSet, batch_size: int, **options: object) -> Batches:
    """Batches of the values 0 to 1 themselves."""
    unit = [0.0] * images.num_channels, [1.0] * images.num_channels
    return Batches(images, batch_size, mean=unit[0], std=unit[1], **options)


def epoch(batches: Batches, number: int) -> tuple[Tensor, Tensor]:
    batches.set_epoch(number)
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


def test_batches_yield_every_image_once_normalised() -> None:
    images = image_set(channels=2)
    batches = Batches(images, 4, mean=(0.25, 0.5), std=(0.5, 2.0), seed=1)
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    inputs, labels = epoch(batches, 0)
    assert inputs.dtype == torch.float32
    assert sorted(labels.tolist()) == list(range(10)) and labels.tolist() != list(range(10))
    mean, std = torch.tensor([0.25, 0.5]).view(2, 1, 1), torch.tensor([0.5, 2.0]).view(2, 1, 1)
    torch.testing.assert_close(inputs, (images.images[labels] / 255 - mean) / std)


@pytest.mark.parametrize(
    ("batch_size", "drop_last", "num"),
    [(4, False, 3), (4, True, 2), (5, False, 2), (5, True, 2), (10, True, 1), (99, False, 1)],
)
def test_batches_length_is_what_they_yield(batch_size: int, drop_last: bool, num: int) -> None:
    batches = plain(image_set(), batch_size, drop_last=drop_last)
    assert len(batches) == len(list(batches)) == num


def test_batches_of_an_epoch_depend_on_seed_and_epoch_alone() -> None:
    augment = Augment(shift=1, flip=True, cutout=2)
    first = plain(image_set(), 3, seed=5, augment=augment)
    late = plain(image_set(), 3, seed=5, augment=augment)
    history = [epoch(first, number) for number in range(4)]
    torch.manual_seed(99)
    inputs, labels = epoch(late, 3)
    assert torch.equal(inputs, history[3][0]) and torch.equal(labels, history[3][1])
    assert len({tuple(labels.tolist()) for _, labels in history}) == 4
    assert not torch.equal(epoch(plain(image_set(), 3, seed=6, augment=augment), 3)[1], labels)


def test_batches_looked_at_again_are_the_same() -> None:
    batches = plain(image_set(), 3, augment=Augment(shift=1))
    for (again, _), (first, _) in zip(list(batches), list(batches), strict=True):
        assert torch.equal(again, first)


@pytest.mark.parametrize("an_epoch", [1, 2, 3, 5])
def test_short_epochs_give_the_batches_of_whole_passes_in_turn(an_epoch: int) -> None:
    settings = {"seed": 3, "augment": Augment(shift=1, flip=True, cutout=2)}
    whole = plain(image_set(), 4, **settings)
    short = plain(image_set(), 4, num_batches=an_epoch, **settings)
    expected, found = [], []
    for number in range(an_epoch):
        whole.set_epoch(number)
        expected += list(whole)
    for number in range(len(whole)):
        short.set_epoch(number)
        assert len(list(short)) == len(short) == an_epoch
        found += list(short)
    for (ours, labels), (theirs, their_labels) in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs) and torch.equal(labels, their_labels)


def test_train_batches_take_the_recipes_steps_for_an_epoch() -> None:
    recipe = Recipe(batch_size=64, steps_per_epoch=3)
    assert len(list(train_batches(load("digits"), recipe, seed=0))) == 3


def test_batches_resumed_go_on_as_if_never_stopped() -> None:
    unbroken, resumed = (plain(image_set(), 3, seed=2, augment=Augment(shift=2)) for _ in range(2))
    epoch(unbroken, 6)
    resumed.load_state_dict(unbroken.state_dict())
    assert resumed.epoch == 6
    for (ours, _), (theirs, _) in zip(resumed, unbroken, strict=True):
        assert torch.equal(ours, theirs)


def test_batches_refuse_the_state_of_another_seed() -> None:
    with pytest.raises(DataError, match="seed 1, the state with seed 0; resume with"):
        plain(image_set(), 3, seed=1).load_state_dict(plain(image_set(), 3).state_dict())


def test_batches_unshuffled_keep_their_order() -> None:
    images = image_set()
    inputs, labels = epoch(plain(images, 3, shuffle=False), 0)
    assert labels.tolist() == list(range(10))
    torch.testing.assert_close(inputs, images.images / 255)


def test_batches_flip_half_the_images_and_in_the_next_epoch_the_other_half() -> None:
    images = image_set(400)
    batches = plain(images, 64, shuffle=False, augment=Augment(flip=True))
    straight, mirrored = images.images / 255, images.images.flip(3) / 255
    is_mirrored = []
    for number in range(3):
        inputs, _ = epoch(batches, number)
        shown = (inputs - mirrored).abs().amax((1, 2, 3)) < 1e-6
        torch.testing.assert_close(inputs[~shown], straight[~shown])
        is_mirrored.append(shown)
    assert torch.equal(is_mirrored[0], ~is_mirrored[1])
    assert torch.equal(is_mirrored[0], is_mirrored[2])
    # 400 fair coins: 200 +- 5 standard deviations of 10.
    assert 150 < int(is_mirrored[0].sum()) < 250


def test_batches_shift_every_way_alike() -> None:
    # One bright pixel in the middle, farther from the border than any shift: it moves against the
    # window, and over 900 images each of the 9 places holds about 100, with deviation 9.4.
    pixels = torch.zeros(900, 1, 7, 7, dtype=torch.uint8)
    pixels[:, :, 3, 3] = 255
    images = ImageSet(pixels, torch.zeros(900).long(), ("dot",))
    inputs, _ = epoch(plain(images, 900, augment=Augment(shift=1)), 0)
    counts = inputs.sum((0, 1))[2:5, 2:5]
    assert int(counts.sum()) == 900
    assert counts.min() > 50 and counts.max() < 150


@pytest.mark.parametrize("augment", [None, Augment(shift=1, flip=True, cutout=2)])
def test_batches_with_channels_last_hold_the_same_values(augment: Augment | None) -> None:
    images = image_set(channels=3)
    usual = plain(images, 4, augment=augment)
    last = plain(images, 4, augment=augment, channels_last=True)
    for (inputs, _), (same, _) in zip(usual, last, strict=True):
        assert same.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(inputs, same)


def test_batches_cut_out_of_the_normalised_image() -> None:
    images = ImageSet(torch.full((50, 1, 6, 6), 255).byte(), torch.zeros(50).long(), ("white",))
    inputs, _ = epoch(plain(images, 50, augment=Augment(cutout=2)), 0)
    blanked = (inputs == 0).sum((1, 2, 3))
    assert blanked.min() >= 1 and blanked.max() == 4
    assert ((inputs == 0) | ((inputs - 1).abs() < 1e-6)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batches of 0 cannot be made of 10 images"),
        ({"batch_size": 11, "drop_last": True}, "give a batch size from 1 to 10"),
        ({"batch_size": 2, "num_batches": 0}, "an epoch of 0 batches is none"),
        ({"batch_size": 2, "mean": (0.5, 0.5)}, "2 means and 1 deviations for images of 1"),
        ({"batch_size": 2, "augment": Augment(shift=4)}, "a shift of 4 pixels leaves nothing"),
    ],
)
def test_batches_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Batches(image_set(), **{"mean": (0.5,), "std": (1.0,), **options})


def test_set_epoch_negative_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, not -1"):
        plain(image_set(), 2).set_epoch(-1)


def test_train_batches_follow_the_recipe_and_are_full() -> None:
    splits = load("digits")
    batches = train_batches(splits, default_recipe("digits"), seed=0)
    inputs, _ = epoch(batches, 0)
    assert len(batches) == 1258 // 64 and len(inputs) == 64 * (1258 // 64)
    assert len(train_batches(splits, Recipe(batch_size=5000), seed=0)) == 1


def test_evaluation_batches_show_every_image_as_it_is() -> None:
    splits = load("digits")
    inputs, labels = epoch(evaluation_batches(splits, splits.train, batch_size=500), 0)
    assert torch.equal(labels, splits.train.labels)
    assert float(inputs.mean()) == pytest.approx(0, abs=1e-4)
    assert float(inputs.std(correction=0)) == pytest.approx(1, abs=1e-4)
