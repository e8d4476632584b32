"""A grown architecture as somebody would build it who knew it beforehand: trained from scratch."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroexapt.edits import load_edits, replay
from neuroexapt.edits.activate import Blend
from neuroexapt.training import build_model
from neuroexapt.training.whitening import freeze_whitening

EXAMPLES = 8
GROWN = "edit"
"""How the names of modules begin that an edit added."""
SILENT = ("last", "project")
"""Layers at the end of an added branch."""


def write_architecture(path: Path, model: str, edits: list[dict[str, Any]]) -> None:
    """Keep an architecture: the seed's name, and what became of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"model": model, "edits": edits}) + "\n")


def rebuilt(
    path: Path, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> nn.Module:
    """The architecture of a file with new weights, from torch's own random numbers."""
    kept = json.loads(path.read_text())
    seed = build_model(
        kept["model"], num_classes=num_classes, in_channels=in_channels, image_size=image_size
    )
    freeze_whitening(seed)
    example = torch.zeros(EXAMPLES, in_channels, *image_size)
    network = replay(seed, example, load_edits(kept["edits"])).graph_module
    draw_anew_(network, airbench="airbench" in kept["model"])
    return network


@torch.no_grad()
def draw_anew_(network: nn.Module, *, airbench: bool) -> None:
    """Draw all weights as for a new network of this architecture, in place.

    Layers of the seed network, at whatever size they have grown to, are drawn as the seed network's
    are: in airbench, convolutions pass on what they can and the head takes a mean. Branches that
    were added begin as nothing: their last layer is zero, as in residual networks that are meant to
    train well, and the layers before it are drawn for rectifiers. Blends of activations begin at
    the first; norms at 1 and 0, with no statistics. The whitening is filled by the run.
    """
    for name, module in network.named_modules():
        if isinstance(module, Blend):
            module.amount.zero_()
        if not hasattr(module, "reset_parameters"):
            continue
        module.reset_parameters()
        if not isinstance(module, nn.Linear | nn.Conv2d):
            continue
        if name.startswith(GROWN):
            _draw_added_(module, silent=name.rpartition(".")[2] in SILENT)
        elif airbench:
            _draw_airbench_(module)


def _draw_added_(layer: nn.Linear | nn.Conv2d, *, silent: bool) -> None:
    if silent:
        layer.weight.zero_()
    else:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        layer.bias.zero_()


def _draw_airbench_(layer: nn.Linear | nn.Conv2d) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.dirac_(layer.weight[: layer.in_channels])
    else:
        layer.weight /= layer.weight.std() * layer.in_features
