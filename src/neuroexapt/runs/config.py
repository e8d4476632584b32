"""What defines a run: the settings, their defaults, and the file that they are read from."""

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuroexapt.errors import RunError
from neuroexapt.growth import GrowthConfig
from neuroexapt.training import DATASETS, RECIPES, Recipe, default_recipe
from neuroexapt.training.settings import explained

DEFAULT_EPOCHS = {"digits": 60}
OTHER_EPOCHS = 30
DEFAULT_MODEL = "tiny-conv"
DEFAULT_FLOPS = {"digits": 2e11}
"""Where the default model grows on a data set known by name: how large it gets, and so what an
epoch costs, isn't known beforehand."""
DEFAULT_GROWTH = {
    "digits": GrowthConfig(
        every=3,
        entropy_threshold=0.3,
        split_probability=0.5,
        max_splits_per_layer=4,
        num_batches=2,
    )
}
"""Growth that suits a data set known by name; any other grows by `GrowthConfig`'s own defaults."""
Kept = TypeVar("Kept", bound=BaseModel)
SMALL_DATASETS = ("digits",)
"""Data sets so small that a second thread costs more than it brings."""
MAX_THREADS = 1024
"""More than any machine gains by. A number that the system refuses ends the process at once."""


class GrowConfig(BaseModel):
    """All that a run depends on: the same settings on the same machine give the same weights.

    Attributes:
        data: `digits`, `cifar10`, `cifar100`, or a folder.
        data_dir: where the files of a data set known by name lie; None downloads them.
        image_size: side in pixels that a folder's images are brought to.
        validation: share of the data that is held out.
        model: the seed model, a name or `package.module:factory`.
        epochs: how many to train; None for as many as `max_flops` allows.
        max_flops: training FLOPs to stop at, growth included (2 for each multiply-accumulate).
        max_params: parameters that growth never passes.
        max_macs: multiply-accumulates of one sample's forward pass that growth never passes.
        max_latency_ms: milliseconds for one sample that growth never passes; a run with it doesn't
            repeat exactly.
        seed: of the weights, the batches and growth.
        recipe: optimiser, schedule, regularisation, augmentation, half precision.
        growth: when and how much to grow; None (in a file: `false`) to train the model as it is.
        checkpoint_seconds: a checkpoint is written after an epoch that grew, or was the best so
            far, and otherwise when so many seconds have passed since the last; 0 for every epoch.
        device: where to train.
        threads: of the CPU, at most 1024; another number may round differently.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    data_dir: str | None = None
    image_size: int | None = Field(default=None, ge=1)
    validation: float = Field(default=0.1, gt=0, le=0.5)
    model: str = DEFAULT_MODEL
    epochs: int | None = Field(default=None, ge=1)
    max_flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_params: int | None = Field(default=None, ge=1)
    max_macs: int | None = Field(default=None, ge=1)
    max_latency_ms: float | None = Field(default=None, gt=0)
    seed: int = Field(default=0, ge=0, lt=2**32)
    recipe: Recipe = Recipe()
    growth: GrowthConfig | None = GrowthConfig()
    checkpoint_seconds: float = Field(default=5.0, ge=0)
    device: str = "cpu"
    threads: int = Field(default=1, ge=1, le=MAX_THREADS)

    @model_validator(mode="after")
    def _has_an_end(self) -> "GrowConfig":
        if self.epochs is None and self.max_flops is None:
            raise ValueError("a run needs an end: give epochs or max_flops")
        return self


def configure(settings: Mapping[str, Any], source: str = "the settings") -> GrowConfig:
    """Complete settings with the defaults that suit their data set and this machine.

    Without `epochs` and `max_flops`, an end that suits the data is taken. Settings
    within `recipe` and `growth` override the defaults one by one. `recipe` may also be the name of
    one of `RECIPES`, or hold it as `base` beside what differs from that. Paths become absolute, so
    that a run can be resumed from anywhere.

    Args:
        settings: any of `GrowConfig`'s fields; `data` is needed.
        source: what to call them in errors.

    Raises:
        RunError: naming the setting, if one is unknown or not allowed.

    Example:
        >>> configure({"data": "digits", "recipe": {"lr": 0.05}}).recipe.batch_size
        64
        >>> configure({"data": "digits", "epoch": 3})
        Traceback (most recent call last):
        neuroexapt.errors.RunError: the settings: there is no setting 'epoch'; is 'epochs' meant?
    """
    given = dict(settings)
    if given.get("growth") is False:
        given["growth"] = None
    data = given.get("data")
    if isinstance(data, str):
        given = _with_defaults(given, data, source)
    try:
        return GrowConfig.model_validate(given)
    except ValidationError as error:
        raise RunError(f"{source}: {explained(error, GrowConfig)}") from error


def read_settings(path: Path) -> dict[str, Any]:
    """Read settings from a TOML or JSON file, unchecked: `configure` checks them.

    Raises:
        RunError: if the file can't be read, or is neither.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise RunError(f"{path} cannot be read ({reason}); give a TOML or JSON file") from error
    if path.suffix not in (".toml", ".json"):
        raise RunError(f"{path} ends in {path.suffix!r}; settings are read from .toml or .json")
    try:
        settings = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise RunError(f"{path} is no {path.suffix[1:].upper()}: {error}") from error
    if not isinstance(settings, dict):
        raise RunError(f"{path} holds a {type(settings).__name__}; settings are a table of names")
    return settings


def read_config(path: Path) -> GrowConfig:
    """Read the complete configuration that a run wrote down.

    Raises:
        RunError: if the file can't be read, or holds anything else.
    """
    try:
        return GrowConfig.model_validate(read_settings(path))
    except ValidationError as error:
        raise RunError(
            f"{path}: {explained(error, GrowConfig)}; bring back the file that the run wrote"
        ) from error


def moved(config: Kept, **where_to: Any) -> Kept:
    """The same run elsewhere, as on another device; None leaves what it was.

    Raises:
        RunError: if one of them is not allowed.
    """
    new = {name: value for name, value in where_to.items() if value is not None}
    try:
        return type(config).model_validate(config.model_dump() | new)
    except ValidationError as error:
        raise RunError(f"to go on with: {explained(error, type(config))}") from error


def default_device() -> str:
    """The accelerator, if there is one; otherwise the CPU."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"


def recipe_table(recipe: Any) -> Any:
    """A recipe's settings as a table, where they are but a name; anything else as it is."""
    return {"base": recipe} if isinstance(recipe, str) else recipe


def base_recipe(data: str, name: Any, source: str) -> Recipe:
    """The recipe that settings build on: the one they name as `base`, or what suits the data.

    Raises:
        RunError: if there is none of that name.
    """
    if name is None:
        return default_recipe(data)
    if not isinstance(name, str) or name not in RECIPES:
        raise RunError(
            f"{source}: there is no recipe {name!r}; give {', '.join(RECIPES)}, or leave it out "
            "for what suits the data"
        )
    return RECIPES[name]


def _with_defaults(given: dict[str, Any], data: str, source: str) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "device": default_device(),
        "threads": 1 if data in SMALL_DATASETS else torch.get_num_threads(),
    }
    if given.get("epochs") is None and given.get("max_flops") is None:
        given |= _default_end(given, data)
    recipe = recipe_table(given.get("recipe", {}))
    if isinstance(recipe, Mapping):
        given["recipe"] = base_recipe(data, recipe.get("base"), source).model_dump() | {
            name: value for name, value in recipe.items() if name != "base"
        }
    growth = given.get("growth", {})
    if isinstance(growth, Mapping):
        default = DEFAULT_GROWTH.get(data, GrowthConfig())
        given["growth"] = default.model_dump() | dict(growth)
    given = located(given, data)
    return defaults | {
        name: value for name, value in given.items() if value is not None or name == "growth"
    }


def _default_end(given: Mapping[str, Any], data: str) -> dict[str, Any]:
    grows = given.get("growth", {}) is not None
    if grows and data in DEFAULT_FLOPS and given.get("model") in (None, DEFAULT_MODEL):
        return {"max_flops": DEFAULT_FLOPS[data]}
    return {"epochs": DEFAULT_EPOCHS.get(data, OTHER_EPOCHS)}


def located(given: dict[str, Any], data: str) -> dict[str, Any]:
    """Settings whose paths are absolute, so that a run can be resumed from anywhere."""
    data_dir = given.get("data_dir") or None
    if not isinstance(data_dir, str | os.PathLike | None):
        return given  # refused with whatever else is wrong
    if data not in DATASETS:
        return given | {"data": str(Path(data_dir or ".", data).absolute()), "data_dir": None}
    if data_dir is not None:
        return given | {"data_dir": str(Path(data_dir).absolute())}
    return given
