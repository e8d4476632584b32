"""What defines an evolution that is kept on disk: the settings and their defaults."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuroexapt.errors import RunError
from neuroexapt.evolution import Choice, EvolutionConfig
from neuroexapt.runs.config import (
    MAX_THREADS,
    SMALL_DATASETS,
    base_recipe,
    default_device,
    located,
    moved,
    read_settings,
    recipe_table,
)
from neuroexapt.training.settings import explained

WORTH = 500
"""Epochs of the seed network whose FLOPs an evolution may spend, unless it is told."""
DEFAULTS: Mapping[str, Mapping[str, Any]] = MappingProxyType({"digits": {"validation": 0.25}})
DEFAULT_EVOLUTION: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "digits": {
            "size": 10,
            "num_children": 5,
            "founding": 5.0,
            "rungs": (1.0, 2.0),
            "num_edits": 3,
            "max_flops": 4.5e10,
            "polish": 0.5,
            "growth": {"share": 1.0},
        }
    }
)
"""What suits a data set known by name; any other has `EvolutionConfig`'s own defaults.

An epoch of the digits is so short that sensing costs more than several of them.
"""
MAX_WORKERS = 1024
SHORT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "recipe": ("recipe",),
        "growth": ("growth",),
        "objectives": ("objectives",),
        "size": ("size",),
        "children": ("num_children",),
        "max_flops": ("max_flops",),
        "max_params": ("limits", "params"),
        "max_macs": ("limits", "macs"),
        "max_latency_ms": ("limits", "latency_ms"),
        "policy": ("growth", "policy"),
        "amp": ("recipe", "amp"),
    }
)
"""Settings that are short for one within `evolution`, and where that is; tables come first."""


class EvolutionRunConfig(BaseModel):
    """All that an evolution depends on: the same settings on the same machine give the same front.

    Attributes:
        data: `digits`, `cifar10`, `cifar100`, or a folder.
        data_dir: where the files of a data set known by name lie; None downloads them.
        image_size: side in pixels that a folder's images are brought to.
        validation: share of the data that is held out; networks are judged by it.
        model: the seed model, a name or `package.module:factory`.
        seed: of every random choice.
        evolution: how a population evolves; without `max_flops`, it may spend what training the
            seed network for 500 epochs takes.
        pick: which network of the front is the run's own, as `load_model` gives it.
        device: where to train.
        threads: of the CPU, in each process, at most 1024; another number may round differently.
        workers: processes that breed and train; 1 for this one alone.
        ray_address: of a Ray cluster that does so instead, or `local`.
        gpus_per_worker: that Ray reserves for a process; with 0.25 four share one. By default one
            where the device is CUDA, else none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_dir: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.1, gt=0, le=0.5)
    model: str = "tiny-conv"
    seed: int = Field(default=0, ge=0, lt=2**32)
    evolution: EvolutionConfig = EvolutionConfig()
    pick: Choice = "knee"
    device: str = "cpu"
    threads: int = Field(default=1, ge=1, le=MAX_THREADS)
    workers: int = Field(default=1, ge=1, le=MAX_WORKERS)
    ray_address: str | None = None
    gpus_per_worker: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _reserves_where_ray_is(self) -> "EvolutionRunConfig":
        if self.gpus_per_worker is not None and self.ray_address is None:
            raise ValueError(
                "gpus_per_worker is what Ray reserves; give ray_address, too, or leave it out"
            )
        return self


def configure_evolution(
    settings: Mapping[str, Any], source: str = "the settings"
) -> EvolutionRunConfig:
    """Complete settings with the defaults that suit their data and this machine.

    Settings within `evolution` override the defaults one by one. Paths become absolute.

    Args:
        settings: any of `EvolutionRunConfig`'s fields, and as short for those within `evolution`:
            `objectives`, `size`, `children`, `max_flops`, `max_params`, `max_macs`,
            `max_latency_ms`, `policy`, `amp`, `recipe` and `growth`; `data` is needed. A recipe
            may be the name of one of `RECIPES`, or hold it as `base`.
        source: what to call them in errors.

    Raises:
        RunError: naming the setting, if one is unknown or not allowed.

    Example:
        >>> found = configure_evolution({"data": "digits", "objectives": ["error", "latency"]})
        >>> found.evolution.objectives, found.evolution.recipe.batch_size
        (('error', 'latency_ms'), 64)
    """
    given = {name: value for name, value in settings.items() if value is not None}
    inner = given.pop("evolution", {})
    short = {name: given.pop(name) for name in SHORT if name in given}
    data = given.get("data")
    if isinstance(data, str):
        machine = {
            "device": default_device(),
            "threads": 1 if data in SMALL_DATASETS else _threads(given.get("workers")),
        }
        given = machine | dict(DEFAULTS.get(data, {})) | located(given, data)
    if isinstance(inner, Mapping):
        for name in ("threads", "seed"):
            default = EvolutionConfig.model_fields[name].default
            # A run's own configuration, given again, has both.
            if inner.get(name, default) not in (default, given.get(name, default)):
                raise RunError(
                    f"{source}: evolution.{name} is the run's own; give {name} beside evolution, "
                    "not within it"
                )
        inner = _evolution(str(data), given.get("seed", 0), inner, short, source)
    try:
        return EvolutionRunConfig.model_validate(given | {"evolution": inner})
    except ValidationError as error:
        raise RunError(f"{source}: {explained(error, EvolutionRunConfig)}") from error


def read_evolution_config(path: Path) -> EvolutionRunConfig:
    """Read the complete configuration that an evolution wrote down.

    Raises:
        RunError: if the file can't be read, or holds anything else.
    """
    try:
        return EvolutionRunConfig.model_validate(read_settings(path))
    except ValidationError as error:
        raise RunError(
            f"{path}: {explained(error, EvolutionRunConfig)}; bring back the file that the run "
            "wrote"
        ) from error


def moved_evolution(config: EvolutionRunConfig, **given: Any) -> EvolutionRunConfig:
    """The same run elsewhere: `device`, `threads`, `workers`, `ray_address`, `gpus_per_worker`.

    None is for as it was.

    Workers without an address are this machine's own, also where it was a cluster before.

    Raises:
        RunError: if one of them is not allowed.
    """
    if given.get("workers") is not None:
        config = config.model_copy(update={"ray_address": None, "gpus_per_worker": None})
    return moved(config, **given)


def _threads(workers: Any) -> int:
    """Threads of each task, so that all workers together use the machine."""
    together = workers if isinstance(workers, int) and workers > 0 else 1
    return max(torch.get_num_threads() // together, 1)


def _evolution(
    data: str, seed: Any, inner: Mapping[str, Any], short: Mapping[str, Any], source: str
) -> dict[str, Any]:
    """The settings of `evolution`: defaults, what is given within it, and what is given short.

    Raises:
        RunError: if a recipe of that name isn't there.
    """
    inner, short = _tabled(inner), _tabled(short)
    recipes = [given["recipe"] for given in (short, inner) if "recipe" in given]
    names = (table["base"] for table in recipes if isinstance(table, Mapping) and "base" in table)
    recipe = base_recipe(data, next(names, None), source)
    found = EvolutionConfig().model_dump() | {"recipe": recipe.model_dump()}
    found = _merged(found, {**DEFAULT_EVOLUTION.get(data, {}), "seed": seed})
    found = _merged(found, inner)
    for name in [name for name in SHORT if name in short]:
        value: Any = short[name]
        for part in reversed(SHORT[name]):
            value = {part: value}
        found = _merged(found, value)
    if isinstance(found["recipe"], dict):
        found["recipe"].pop("base", None)
    objectives = found["objectives"]
    if isinstance(objectives, list | tuple):
        found["objectives"] = ["latency_ms" if name == "latency" else name for name in objectives]
    return found


def _tabled(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings whose recipe is a table, if they have one that is a name."""
    if "recipe" not in settings:
        return settings
    return {**settings, "recipe": recipe_table(settings["recipe"])}


def _merged(settings: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with what is given, table by table."""
    found = dict(settings)
    for name, value in given.items():
        own = found.get(name)
        if isinstance(own, dict) and isinstance(value, Mapping):
            found[name] = _merged(own, value)
        else:
            found[name] = value
    return found
