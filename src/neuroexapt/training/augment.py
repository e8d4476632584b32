"""Random shifts, mirror images and cut-outs of whole batches."""

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class Augment(BaseModel):
    """How training images are varied; the default varies nothing.

    Attributes:
        shift: largest shift in pixels, up, down and sideways; what leaves the picture is replaced
            by its reflection at the border.
        flip: mirror images left to right, every image in every other epoch.
        cutout: side in pixels of a square that is blanked at a random place; 0 blanks nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift: int = Field(default=0, ge=0)
    flip: bool = False
    cutout: int = Field(default=0, ge=0)


def shift(images: Tensor, offsets: Tensor, largest: int) -> Tensor:
    """Move each image's window by its own offset; what lies outside is the picture's reflection.

    All windows of the padded batch are one view of it, and a look-up by offset copies each image's
    window row by row, which is several times faster than a look-up by pixel.

    Args:
        images: shape (B, C, H, W), of any type.
        offsets: int64, shape (B, 2): rows and columns that the window moves down and right,
            `-largest` to `largest`.
        largest: in pixels, at least 1 and smaller than H and W.

    Returns:
        Shape (B, C, H, W), of the images' type.
    """
    height, width = images.shape[2:]
    padded = _reflected(_reflected(images, largest, dim=2), largest, dim=3)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    starts = offsets + largest
    index = torch.arange(len(images), device=images.device)
    return windows[index, :, starts[:, 0], starts[:, 1]]


def _reflected(images: Tensor, size: int, dim: int) -> Tensor:
    """Continue images on both sides by their reflection, the border pixel not repeated."""
    before = images.narrow(dim, 1, size).flip(dim)
    after = images.narrow(dim, images.shape[dim] - 1 - size, size).flip(dim)
    return torch.cat([before, images, after], dim)


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror some images left to right.

    Args:
        images: shape (B, C, H, W), of any type.
        flipped: bool, shape (B,).

    Returns:
        Shape (B, C, H, W), of the images' type.
    """
    return torch.where(flipped[:, None, None, None], images.flip(3), images)


def cut_out(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """Blank a square in each image: zeros, which is the mean colour of normalised images.

    Args:
        images: float, shape (B, C, H, W).
        centres: int64, shape (B, 2): row and column; a square at the border is cut off by it.
        side: of the square, in pixels.

    Returns:
        Shape (B, C, H, W).

    Source: DeVries and Taylor 2017, arXiv:1708.04552.
    """
    height, width = images.shape[2:]
    rows = _covered(centres[:, :1], side, height)
    columns = _covered(centres[:, 1:], side, width)
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _covered(centres: Tensor, side: int, size: int) -> Tensor:
    """Tell which positions lie within `side` around each centre; shape (B, size)."""
    distance = torch.arange(size, device=centres.device) - centres
    return (distance >= -(side // 2)) & (distance < side - side // 2)
