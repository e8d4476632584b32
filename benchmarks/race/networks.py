"""Networks by name, as runs build them: `networks:airbench-16`, or a path to an architecture."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from anew import rebuilt
from torch import nn

from neuroexapt.training import airbench
from neuroexapt.training.models import BasicBlock


def resnet(num_classes: int, in_channels: int, width: int) -> nn.Module:
    """A residual network of w, 2w and 4w channels, one block a stage, on pictures half as large."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(in_channels, width, 3, stride=2, padding=1, bias=False),
            bn=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            stage1=BasicBlock(width, width, stride=1),
            stage2=BasicBlock(width, 2 * width, stride=2),
            stage3=BasicBlock(2 * width, 4 * width, stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(4 * width, num_classes),
        )
    )


FAMILIES: dict[str, Callable[..., nn.Module]] = {"airbench": airbench, "resnet": resnet}


def __getattr__(name: str) -> Callable[..., nn.Module]:
    """A factory by its name: a family and a width, or the path of an architecture's file."""
    if name.endswith(".json"):
        return partial(rebuilt, Path(name))
    family, _, width = name.partition("-")
    if family not in FAMILIES or not width.isdecimal():
        raise AttributeError(f"there is no network {name!r}; give airbench-WIDTH or resnet-WIDTH")
    return partial(FAMILIES[family], width=int(width))
