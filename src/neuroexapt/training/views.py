"""Several views of each image, whose outputs are averaged: test-time augmentation."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from neuroexapt.training.augment import shift

Views: TypeAlias = Literal["plain", "mirrored", "shifted"]
"""What is looked at: the image; it and its mirror image; these, and both shifted by a pixel up and
left and down and right, which together count as much as the ones in place."""


def averaged_outputs(model: nn.Module, images: Tensor, views: Views) -> Tensor:
    """Outputs of a classifier, averaged over views of each image.

    Args:
        model: maps a batch like `images` to outputs of shape (B, classes).
        images: shape (B, C, H, W); anything else only has a plain view.
        views: which.

    Returns:
        Shape (B, classes).

    Raises:
        ValueError: if there is no such view, or of inputs that are no images none but the plain
            one.

    Source: Jordan 2024, arXiv:2404.00498.
    """
    if views == "plain":
        outputs: Tensor = model(images)
        return outputs
    if images.ndim != 4 or views not in ("mirrored", "shifted"):
        raise ValueError(
            f"{views!r} of inputs of shape {tuple(images.shape)}: views are 'plain', and of images "
            "of shape (samples, channels, height, width) also 'mirrored' and 'shifted'"
        )
    weighed = [weight * model(view) for view, weight in _views(images, views == "shifted")]
    return torch.stack(weighed).sum(0)


def _views(images: Tensor, shifted: bool) -> Iterator[tuple[Tensor, float]]:
    """Views and their weights, which add up to 1."""
    moves = ((0, 0.5), (-1, 0.25), (1, 0.25)) if shifted else ((0, 1.0),)
    for pixels, weight in moves:
        offsets = torch.full((len(images), 2), pixels, device=images.device)
        moved = shift(images, offsets, 1) if pixels else images
        yield moved, weight / 2
        yield moved.flip(3), weight / 2
