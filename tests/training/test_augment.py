import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from neuroexapt.training.augment import Augment, cut_out, flip, shift


def test_shift_equals_a_window_of_the_reflected_picture() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (25, 3, 6, 5), generator=generator).byte()
    offsets = torch.cartesian_prod(torch.arange(-2, 3), torch.arange(-2, 3))
    shifted = shift(images, offsets, 2)
    padded = F.pad(images.float(), (2, 2, 2, 2), mode="reflect").byte()
    assert shifted.dtype == torch.uint8
    for number, (down, right) in enumerate(offsets.tolist()):
        window = padded[number, :, 2 + down : 8 + down, 2 + right : 7 + right]
        assert torch.equal(shifted[number], window)


def test_shift_by_one_by_hand() -> None:
    row = torch.tensor([1, 2, 3]).view(1, 1, 1, 3).expand(2, 1, 3, 3)
    shifted = shift(row, torch.tensor([[0, 1], [0, -1]]), 1)
    assert shifted[:, 0, 0].tolist() == [[2, 3, 2], [2, 1, 2]]


def test_flip_mirrors_only_those_chosen() -> None:
    images = torch.arange(12).view(2, 1, 2, 3)
    mirrored = flip(images, torch.tensor([True, False]))
    assert mirrored[0, 0].tolist() == [[2, 1, 0], [5, 4, 3]]
    assert torch.equal(mirrored[1], images[1])


@pytest.mark.parametrize(
    ("side", "centre", "rows", "columns"),
    [(2, (1, 1), (0, 2), (0, 2)), (3, (2, 2), (1, 4), (1, 4)), (2, (0, 4), (0, 1), (3, 5))],
)
def test_cut_out_blanks_a_square_around_its_centre(
    side: int, centre: tuple[int, int], rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    expected = torch.ones(1, 2, 5, 5)
    expected[:, :, slice(*rows), slice(*columns)] = 0
    assert torch.equal(cut_out(torch.ones(1, 2, 5, 5), torch.tensor([centre]), side), expected)


@pytest.mark.parametrize("settings", [{"shift": -1}, {"cutout": -1}, {"rotate": 3}])
def test_augment_that_makes_no_sense_is_refused(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Augment(**settings)
