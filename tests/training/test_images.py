import pytest
import torch

from neuroexapt.errors import DataError
from neuroexapt.training.images import DataSplits, ImageSet, channel_statistics

ABC = ("a", "b", "c")


def image_set(num: int = 6, size: int = 4, classes: tuple[str, ...] = ABC) -> ImageSet:
    images = torch.arange(num * 3 * size * size).remainder(256).to(torch.uint8)
    return ImageSet(images.view(num, 3, size, size), torch.arange(num) % 3, classes)


def test_image_set_says_its_shape() -> None:
    images = image_set()
    assert (len(images), images.num_classes, images.num_channels) == (6, 3, 3)
    assert images.image_size == (4, 4)


def test_image_set_select_keeps_order_and_copies() -> None:
    images = image_set()
    chosen = images.select(torch.tensor([4, 1]))
    assert torch.equal(chosen.images, images.images[[4, 1]])
    assert chosen.labels.tolist() == [1, 1]
    chosen.images.zero_()
    assert images.images[4].any()


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(2).long(), "uint8 of shape .* not torch.float32"),
        (torch.zeros(2, 4, 4).byte(), torch.zeros(2).long(), r"\(N, C, H, W\)"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(3).long(), r"shape \(2,\), one an image"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.zeros(2).int(), "not torch.int32"),
        (torch.zeros(0, 3, 4, 4).byte(), torch.zeros(0).long(), "this one is empty"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.tensor([0, 3]), "from 0 to 3, but 3 classes"),
        (torch.zeros(2, 3, 4, 4).byte(), torch.tensor([-1, 0]), "unlabelled images"),
    ],
)
def test_image_set_that_does_not_fit_is_refused(
    images: torch.Tensor, labels: torch.Tensor, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        ImageSet(images, labels, ABC)


def test_channel_statistics_equal_those_of_the_floats() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (50, 3, 5, 7), generator=generator).byte()
    floats = images.double() / 255
    mean, std = channel_statistics(images)
    assert mean == pytest.approx(floats.mean((0, 2, 3)).tolist(), rel=1e-12)
    assert std == pytest.approx(floats.std((0, 2, 3), correction=0).tolist(), rel=1e-12)


def test_channel_statistics_of_a_constant_channel_scale_by_one() -> None:
    assert channel_statistics(torch.full((2, 1, 3, 3), 51, dtype=torch.uint8)) == ((0.2,), (1.0,))


def test_splits_read_the_test_part_once_and_only_when_asked() -> None:
    reads = []

    def read_test() -> ImageSet:
        reads.append(1)
        return image_set(3)

    splits = DataSplits("toy", image_set(), image_set(3), read_test)
    assert splits.mean and splits.std and splits.num_classes == 3
    assert splits.num_channels == 3 and splits.image_size == (4, 4)
    assert not reads
    assert splits.test is splits.test
    assert len(reads) == 1


def test_splits_take_statistics_from_the_training_part() -> None:
    dark = ImageSet(torch.zeros(3, 3, 4, 4).byte(), torch.arange(3), ABC)
    assert (
        DataSplits("toy", image_set(), dark, image_set).mean
        == channel_statistics(image_set().images)[0]
    )


def test_splits_refuse_a_part_of_another_shape_or_other_classes() -> None:
    with pytest.raises(DataError, match=r"\(3, 5, 5\) in the validation part"):
        DataSplits("toy", image_set(), image_set(size=5), image_set)
    splits = DataSplits("toy", image_set(), image_set(), lambda: image_set(classes=("a", "b", "x")))
    with pytest.raises(DataError, match="the test part has classes"):
        _ = splits.test
