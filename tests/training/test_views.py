import pytest
import torch
from torch import Tensor, nn

from neuroexapt.training import averaged_outputs, evaluate


class Pixel(nn.Module):
    """What one pixel shows, as the outputs of a classifier of one class for each channel."""

    def __init__(self, row: int, column: int) -> None:
        super().__init__()
        self.row, self.column = row, column

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, self.row, self.column]


IMAGES = torch.rand(3, 2, 5, 6, generator=torch.Generator().manual_seed(0))


def test_views_by_hand() -> None:
    at = lambda row, column: IMAGES[:, :, row, column]  # noqa: E731
    model = Pixel(2, 1)
    assert torch.equal(averaged_outputs(model, IMAGES, "plain"), at(2, 1))
    mirrored = (at(2, 1) + at(2, 4)) / 2
    torch.testing.assert_close(averaged_outputs(model, IMAGES, "mirrored"), mirrored)
    # The window moves up and left, then down and right; mirrored after that, column 1 is column 4.
    moved = [at(1, 0), at(1, 3), at(3, 2), at(3, 5)]
    shifted = mirrored / 2 + sum(moved) / 8
    torch.testing.assert_close(averaged_outputs(model, IMAGES, "shifted"), shifted)


def test_views_at_the_border_show_its_reflection() -> None:
    corner = averaged_outputs(Pixel(0, 0), IMAGES, "shifted")
    at = lambda row, column: IMAGES[:, :, row, column]  # noqa: E731
    expected = (at(0, 0) + at(0, 5)) / 4 + (at(1, 1) + at(1, 4) + at(1, 1) + at(1, 4)) / 8
    torch.testing.assert_close(corner, expected)


@pytest.mark.parametrize("views", ["mirrored", "shifted"])
def test_views_weigh_one_and_see_no_difference_to_the_mirror_image(views) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    found = averaged_outputs(model, IMAGES, views)
    constant = torch.full_like(IMAGES, 0.7)
    torch.testing.assert_close(averaged_outputs(model, constant, views), model(constant))
    if views == "mirrored":
        torch.testing.assert_close(averaged_outputs(model, IMAGES.flip(3), views), found)


def test_evaluate_judges_the_average() -> None:
    """The pixel alone is always wrong, its mirror image more clearly right."""
    images = torch.zeros(4, 2, 3, 3)
    images[:, 0, 1, 0], images[:, 1, 1, 2] = 1.0, 3.0
    data = [(images, torch.ones(4, dtype=torch.int64))]
    criterion, model = nn.CrossEntropyLoss(), Pixel(1, 0)
    assert evaluate(model, data, criterion).accuracy == 0
    found = evaluate(model, data, criterion, views="mirrored")
    assert found.accuracy == 1
    expected = criterion(torch.tensor([[0.5, 1.5]]), torch.tensor([1]))
    assert found.loss == pytest.approx(float(expected))


def test_views_of_what_is_no_image_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'mirrored' of inputs of shape \(2, 3\): views are"):
        averaged_outputs(nn.Linear(3, 2), torch.zeros(2, 3), "mirrored")
    with pytest.raises(ValueError, match="'upside-down' of inputs"):
        averaged_outputs(nn.Identity(), IMAGES, "upside-down")
