"""Whether images may lie in memory with their channels last, where a model trains."""

import logging
import math

import torch
from torch import nn

from neuroexapt.training.recipe import Recipe

logger = logging.getLogger(__name__)

REGISTERS = {"AVX2": 8}
"""What torch computes with on the CPU -> channels in a vector register of it."""
WIDEST = 16
"""Channels in one of AVX-512; where it isn't known what there is, that is on the safe side."""


def suited(recipe: Recipe, model: nn.Module, device: torch.device | str) -> Recipe:
    """Return the recipe without `channels_last` where the CPU would compute wrong gradients.

    Of a 1x1 convolution with a stride and fewer input channels than a vector register holds, oneDNN
    (3.12, in torch 2.13) writes the weights' gradient past its memory if channels are last: they
    come out wrong, or the process ends.

    Args:
        recipe: left as it is.
        model: that is to be trained.
        device: where.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035.

    Example:
        >>> narrow = nn.Conv2d(4, 8, 1, stride=2)
        >>> suited(Recipe(channels_last=True), narrow, "cpu").channels_last
        False
    """
    if not recipe.channels_last or torch.device(device).type != "cpu":
        return recipe
    concerned = [name for name, module in model.named_modules() if _goes_wrong(module)]
    if not concerned:
        return recipe
    logger.info("channels stay first: last, the CPU errs on strided 1x1 layers as %s", concerned[0])
    return recipe.model_copy(update={"channels_last": False})


def _goes_wrong(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and math.prod(module.kernel_size) == 1
        and max(module.stride) > 1
        and module.in_channels // module.groups < _fewest()
    )


def _fewest() -> int:
    return REGISTERS.get(torch.backends.cpu.get_cpu_capability(), WIDEST)
