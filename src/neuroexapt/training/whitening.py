"""A first layer that makes the patches of images uncorrelated, from the training images alone."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from neuroexapt.errors import TrainingError
from neuroexapt.training.batches import evaluation_batches
from neuroexapt.training.images import DataSplits

NUM_IMAGES = 5000
"""Images that are looked at: a thousand patches of each are plenty for a few hundred figures."""
CHUNK = 250
"""Images whose patches are in memory at a time."""
EPS = 5e-4
"""Added to the patches' variances, those of images with mean 0 and variance 1: directions that
hold little but rounding aren't blown up."""


def whitening_filters(images: Tensor, kernel_size: tuple[int, int], eps: float = EPS) -> Tensor:
    """Filters whose responses to the images' patches are uncorrelated and of the same variance.

    They are the eigenvectors of the patches' covariance over the square root of their eigenvalues.

    Args:
        images: as the network gets them, float of shape (N, C, H, W).
        kernel_size: height h and width w of a patch, at most H and W.
        eps: added to the eigenvalues.

    Returns:
        Shape (C h w, C, h, w), the direction of the largest variance first.

    Source: Page 2018, "How to train your ResNet"; as in airbench, arXiv:2404.00498.
    """
    size = images.shape[1] * kernel_size[0] * kernel_size[1]
    products = torch.zeros(size, size, dtype=torch.float64, device=images.device)
    total = torch.zeros(size, dtype=torch.float64, device=images.device)
    count = 0
    for part in images.split(CHUNK):
        patches = functional.unfold(part, kernel_size).transpose(0, 1).flatten(1).double()
        products += patches @ patches.T
        total += patches.sum(1)
        count += patches.shape[1]
    mean = total / count
    variances, directions = torch.linalg.eigh(products / count - mean.outer(mean))
    scaled: Tensor = directions / (variances.clamp_min(0) + eps).sqrt()
    return scaled.T.flip(0).reshape(size, images.shape[1], *kernel_size).to(images.dtype)


@torch.no_grad()
def whiten_(convolution: nn.Conv2d, images: Tensor, eps: float = EPS) -> None:
    """Make a model's first convolution the whitening of some images, and freeze its filters.

    Half of its channels are whitening filters, the other half their negatives, of which a
    rectifier lets through what it takes from the first. A bias is set to zero and may be trained.
    Growth leaves alone what isn't trained.

    Args:
        convolution: changed in place.
        images: as the network gets them, float of shape (N, C, H, W); a few thousand suffice.
        eps: added to the variances of the patches.

    Raises:
        TrainingError: if the convolution doesn't read these images, has groups, or has other than
            an even number of channels, at most twice as many as a patch has numbers.
    """
    size = convolution.weight[0].numel()
    channels = convolution.out_channels
    if convolution.in_channels != images.shape[1] or convolution.groups != 1:
        raise TrainingError(
            f"{convolution} is no whitening of images of {images.shape[1]} channels; give a "
            "model's first convolution, without groups"
        )
    if channels % 2 or channels > 2 * size:
        raise TrainingError(
            f"{channels} channels can't whiten patches of {size} numbers: half of them are "
            f"filters, half their negatives; give an even number of up to {2 * size}"
        )
    height, width = convolution.weight.shape[2:]
    filters = whitening_filters(images, (height, width), eps)[: channels // 2]
    convolution.weight.copy_(torch.cat([filters, -filters]))
    if convolution.bias is not None:
        convolution.bias.zero_()
    convolution.weight.requires_grad_(False)


def whiten_first_(model: nn.Module, splits: DataSplits) -> None:
    """Fill the whitening of a model by the training images; one without stays as it is.

    Args:
        model: on any device; its whitening is a convolution that it calls `whitening`.
        splits: of which training images, evenly spaced, are looked at: their order may be by class.

    Raises:
        TrainingError: as `whiten_`.
    """
    convolution = _whitening(model)
    if convolution is None:
        return
    count, total = min(NUM_IMAGES, len(splits.train)), len(splits.train)
    chosen = splits.train.select(torch.arange(count) * total // count)
    ((images, _),) = evaluation_batches(splits, chosen, batch_size=len(chosen))
    whiten_(convolution, images.to(convolution.weight.device))


def freeze_whitening(model: nn.Module) -> None:
    """Freeze the filters of a model's whitening, if it has one, whatever they are."""
    convolution = _whitening(model)
    if convolution is not None:
        convolution.weight.requires_grad_(False)


def _whitening(model: nn.Module) -> nn.Conv2d | None:
    found = getattr(model, "whitening", None)
    return found if isinstance(found, nn.Conv2d) else None
