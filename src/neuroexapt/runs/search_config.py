"""What defines a search that is kept on disk: the settings and their defaults."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import nn

from neuroexapt.errors import RunError
from neuroexapt.runs.config import (
    MAX_THREADS,
    SMALL_DATASETS,
    default_device,
    located,
    read_settings,
)
from neuroexapt.search import SearchConfig, aso_se, darts, improved, nasbench201, original
from neuroexapt.search.config import as_count, overridden
from neuroexapt.training import build_model, default_recipe
from neuroexapt.training.settings import explained

METHODS: Mapping[str, Callable[..., SearchConfig]] = MappingProxyType(
    {"improved": improved, "original": original, "darts": darts}
)
SPACES = ("aso-se", "nasbench201")
DEFAULT_EPOCHS = {"digits": 20}
OTHER_EPOCHS = 60
BATCH_SIZE = 64
SUPERNETS: Mapping[str, tuple[int, int]] = MappingProxyType(
    {"aso-se": (32, 4), "nasbench201": (8, 1)}
)
"""Space -> channels and cells of the network that is searched, by default."""
SMALL_CHANNELS = 8
"""Channels by default where images are tiny."""


class SearchRunConfig(BaseModel):
    """All that a search depends on: the same settings on the same machine find the same network.

    Attributes:
        data: `digits`, `cifar10`, `cifar100`, or a folder.
        data_dir: where the files of a data set known by name lie; None downloads them.
        image_size: side in pixels that a folder's images are brought to.
        validation: share of the data that is held out; the improved search's alpha learns on it.
        space: `aso-se`, `nasbench201`, or a model of one's own as `package.module:factory`, whose
            convolutions, or linear layers where it has none, are decided on.
        channels: of the first cells; without meaning for a model of one's own.
        cells: in all (aso-se), or of each stage (nasbench201).
        method: `improved`, `original` or `darts`: where the defaults of `search` are from.
        seed: of weights, batches and draws.
        search: how it is searched.
        checkpoint_seconds: a checkpoint is written after an epoch if so many seconds have passed
            since the last; 0 for every epoch.
        device: where to train.
        threads: of the CPU, at most 1024; another number may round differently.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_dir: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.25, gt=0, le=0.5)
    space: str = "aso-se"
    channels: int | None = Field(default=None, ge=1)
    cells: int | None = Field(default=None, ge=1)
    method: str = "improved"
    seed: int = Field(default=0, ge=0, lt=2**32)
    search: SearchConfig = SearchConfig()
    checkpoint_seconds: float = Field(default=5.0, ge=0)
    device: str = "cpu"
    threads: int = Field(default=1, ge=1, le=MAX_THREADS)


def configure_search(settings: Mapping[str, Any], source: str = "the settings") -> SearchRunConfig:
    """Complete settings with the defaults that suit their data, method and this machine.

    Settings within `search` override the method's one by one. Paths become absolute.

    Args:
        settings: any of `SearchRunConfig`'s fields, and as short for those within `search`
            `epochs`, `max_flops`, `measure_every` (0 for never), `growth` (false for none) and
            `amp`; `data` is needed.
        source: what to call them in errors.

    Raises:
        RunError: naming the setting, if one is unknown or not allowed.

    Example:
        >>> found = configure_search({"data": "digits", "method": "original", "epochs": 10})
        >>> found.search.final, found.search.alpha.data
        (8, 'training')
    """
    given = {name: value for name, value in settings.items() if value is not None}
    data, space = given.get("data"), given.get("space", "aso-se")
    method = given.get("method", "improved")
    if not isinstance(method, str) or method not in METHODS:
        raise RunError(f"{source}: there is no method {method!r}; there are {', '.join(METHODS)}")
    if not isinstance(space, str) or (space not in SPACES and ":" not in space):
        raise RunError(
            f"{source}: there is no space {space!r}; there are {', '.join(SPACES)}, or a model of "
            "yours as package.module:factory"
        )
    named = ("epochs", "max_flops")
    short: dict[str, Any] = {name: given.pop(name) for name in named if name in given}
    if "measure_every" in given:
        every = given.pop("measure_every")
        short["measure"] = {"every": every} if every != 0 else None
    for name in ("growth", "amp"):
        if not isinstance(given.get(name, True), bool):
            raise RunError(f"{source}: {name} is {given[name]!r}; give true or false")
    if given.pop("growth", True) is False:
        short["expansion"] = None
    if "amp" in given:
        short["recipe"] = {"amp": given.pop("amp")}
    sizes = [name for name in ("channels", "cells") if name in given and space not in SPACES]
    if sizes:
        raise RunError(
            f"{source}: {sizes[0]} has no meaning for a model of yours, {space}; leave it out"
        )
    if isinstance(data, str):
        given = located(given, data)
        given = _supernet(data, space) | given
        defaults = {
            "device": default_device(),
            "threads": 1 if data in SMALL_DATASETS else torch.get_num_threads(),
        }
        given = defaults | given
    own = given.get("search", {})
    try:
        if isinstance(own, Mapping):
            own = overridden(_without_growth(own), short)
            given["search"] = _search(method, str(data), given.get("seed", 0), own)
        return SearchRunConfig.model_validate(given)
    except ValidationError as error:
        raise RunError(f"{source}: {explained(error, SearchRunConfig)}") from error


def read_search_config(path: Path) -> SearchRunConfig:
    """Read the complete configuration that a search wrote down.

    Raises:
        RunError: if the file can't be read, or holds anything else.
    """
    try:
        return SearchRunConfig.model_validate(read_settings(path))
    except ValidationError as error:
        raise RunError(
            f"{path}: {explained(error, SearchRunConfig)}; bring back the file that the search "
            "wrote"
        ) from error


def build_space(
    config: SearchRunConfig, *, num_classes: int, in_channels: int, image_size: tuple[int, int]
) -> nn.Module:
    """The network that is searched; of a model of one's own, the model.

    Raises:
        TraceError: if the model can't be built.
    """
    known: dict[str, Any] = {"channels": config.channels, "seed": config.seed}
    match config.space:
        case "aso-se":
            return aso_se(num_classes, in_channels, num_cells=config.cells or 4, **known)
        case "nasbench201":
            return nasbench201(num_classes, in_channels, cells_a_stage=config.cells or 1, **known)
    return build_model(
        config.space, num_classes=num_classes, in_channels=in_channels, image_size=image_size
    )


def _supernet(data: str, space: str) -> dict[str, int]:
    if space not in SUPERNETS:
        return {}
    channels, cells = SUPERNETS[space]
    return {
        "channels": SMALL_CHANNELS if data in SMALL_DATASETS else channels,
        "cells": cells,
    }


def _without_growth(own: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings of a search, where TOML, which has no null, says `expansion = false`."""
    return {**own, "expansion": None} if own.get("expansion") is False else own


def _search(method: str, data: str, seed: Any, given: dict[str, Any]) -> dict[str, Any]:
    """The method's settings of so many epochs, with those that are given; measured on its way.

    Raises:
        ValidationError: if the number of epochs isn't allowed.
    """
    epochs = given.get("epochs", DEFAULT_EPOCHS.get(data, OTHER_EPOCHS))
    known = METHODS[method](as_count(epochs, OTHER_EPOCHS))
    found = known.model_dump()
    found["recipe"] |= {"augment": default_recipe(data).augment, "batch_size": BATCH_SIZE}
    found |= {"seed": seed, "measure": {}}
    return overridden(found, given)
