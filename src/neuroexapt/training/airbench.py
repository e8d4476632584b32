"""The network of the CIFAR-10 speed record airbench94, at any width."""

from collections import OrderedDict

import torch
from torch import Tensor, nn

STATISTICS = 0.4
"""Share of a batch in the norms' running statistics: trainings are short."""
PATCH = 2
"""Side of the whitened patches, in pixels."""


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    """A 3x3 convolution that at first passes its inputs on in as many channels as it can."""
    convolution = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
    with torch.no_grad():
        nn.init.dirac_(convolution.weight[:in_channels])
    return convolution


def _norm(channels: int) -> nn.BatchNorm2d:
    """A batch norm of which only the shift is trained."""
    norm = nn.BatchNorm2d(channels, momentum=STATISTICS)
    norm.weight.requires_grad_(False)
    return norm


def _block(in_channels: int, out_channels: int, *, halving: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1"] = _convolution(in_channels, out_channels)
    if halving:
        layers["pool"] = nn.MaxPool2d(2)
    layers["norm1"] = _norm(out_channels)
    layers["act1"] = nn.GELU()
    layers["conv2"] = _convolution(out_channels, out_channels)
    layers["norm2"] = _norm(out_channels)
    layers["act2"] = nn.GELU()
    return nn.Sequential(layers)


class Airbench(nn.Module):
    """A whitening, three blocks of two convolutions each, and a linear head.

    The head's outputs start as a mean over its inputs: its weights are of the size 1 / inputs.

    Attributes:
        whitening: the first convolution, an ordinary one until `whiten_` has filled it.
    """

    whitening: nn.Conv2d

    def __init__(
        self, num_classes: int, in_channels: int, side: int, width: int, bias: bool
    ) -> None:
        super().__init__()
        filters = 2 * in_channels * PATCH**2
        padding = int(side < PATCH)
        self.whitening = nn.Conv2d(in_channels, filters, PATCH, padding=padding, bias=bias)
        self.act = nn.GELU()
        side += 2 * padding + 1 - PATCH
        channels, blocks = filters, []
        for size in (width, 4 * width, 4 * width):
            blocks.append(_block(channels, size, halving=side > 1))
            channels, side = size, max(side // 2, 1)
        self.block1, self.block2, self.block3 = blocks
        self.pool = nn.AdaptiveMaxPool2d(1)
        self.flatten = nn.Flatten()
        self.head = nn.Linear(channels, num_classes, bias=False)
        with torch.no_grad():
            self.head.weight /= self.head.weight.std() * channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, num_classes)."""
        x = self.act(self.whitening(x))
        x = self.block3(self.block2(self.block1(x)))
        outputs: Tensor = self.head(self.flatten(self.pool(x)))
        return outputs


def airbench(
    num_classes: int,
    in_channels: int,
    image_size: tuple[int, int] = (32, 32),
    width: int = 16,
    *,
    whitening_bias: bool = False,
) -> Airbench:
    """The airbench94 network: fast to train, in three blocks of w, 4w and 4w channels.

    Its convolution `whitening` is an ordinary one until `whiten_` has filled it; `neuroexapt grow`
    does so by itself.

    Args:
        num_classes: outputs.
        in_channels: 1 for grey images, 3 for colour.
        image_size: height and width in pixels; each block halves the picture if it can.
        width: w; airbench94 has 64.
        whitening_bias: train a bias behind the whitening. airbench94 does for its first epochs;
            it makes every training step dearer by a tenth, since gradients have to go further.

    Source: Jordan 2024, arXiv:2404.00498.
    """
    return Airbench(num_classes, in_channels, min(image_size), width, whitening_bias)
