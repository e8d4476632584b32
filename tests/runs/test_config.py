import json
from pathlib import Path
from typing import Any

import pytest
import torch

from neuroexapt.errors import RunError
from neuroexapt.growth import GrowthConfig
from neuroexapt.runs import GrowConfig, configure, read_settings
from neuroexapt.runs.config import DEFAULT_FLOPS, DEFAULT_GROWTH, read_config
from neuroexapt.training import RECIPES, default_recipe


def test_configure_digits_defaults():
    config = configure({"data": "digits"})
    assert config.epochs is None
    assert config.max_flops == DEFAULT_FLOPS["digits"]
    assert config.recipe == default_recipe("digits")
    assert config.growth == DEFAULT_GROWTH["digits"]
    assert config.threads == 1


@pytest.mark.parametrize("other", [{"growth": False}, {"model": "narrow"}, {"data": "cifar10"}])
def test_configure_epochs_end_what_costs_as_much_as_is_known(other: dict[str, Any]):
    config = configure({"data": "digits"} | other)
    assert config.epochs is not None
    assert config.max_flops is None


def test_configure_growth_overrides_one_by_one():
    growth = configure({"data": "digits", "growth": {"every": 7}}).growth
    assert growth == DEFAULT_GROWTH["digits"].model_copy(update={"every": 7})
    other = configure({"data": "cifar10", "growth": {"every": 7}}).growth
    assert other == GrowthConfig(every=7)


def test_configure_flops_alone_end_a_run():
    assert configure({"data": "digits", "max_flops": 1e9}).epochs is None
    assert configure({"data": "digits", "max_flops": 1e9, "epochs": 3}).epochs == 3


def test_configure_recipe_overrides_one_by_one():
    recipe = configure({"data": "cifar10", "recipe": {"lr": 0.01}}).recipe
    assert recipe == default_recipe("cifar10").model_copy(update={"lr": 0.01})


def test_configure_recipe_by_its_name():
    named = RECIPES["airbench"]
    assert configure({"data": "digits", "recipe": "airbench"}).recipe == named
    changed = configure({"data": "digits", "recipe": {"base": "airbench", "lr": 0.01}}).recipe
    assert changed == named.model_copy(update={"lr": 0.01})


@pytest.mark.parametrize("growth", [None, False])
def test_configure_growth_can_be_left_out(growth: bool | None):
    assert configure({"data": "digits", "growth": growth}).growth is None


def test_configure_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    folder = configure({"data": "cats", "data_dir": "photos"})
    assert (folder.data, folder.data_dir) == (str(tmp_path / "photos" / "cats"), None)
    known = configure({"data": "cifar10", "data_dir": "here"})
    assert (known.data, known.data_dir) == ("cifar10", str(tmp_path / "here"))


def test_configure_more_threads_for_larger_data():
    assert configure({"data": "cifar10"}).threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "the setting 'data' is missing"),
        ({"data": "digits", "epochs": 0}, "epochs: input should be greater than or equal to 1"),
        ({"data": "digits", "epoch": 3}, "no setting 'epoch'; is 'epochs' meant"),
        ({"data": "digits", "recipe": {"lrr": 1}}, "no setting 'recipe.lrr'; is 'lr' meant"),
        ({"data": "digits", "recipe": {"augment": {"shit": 1}}}, "'recipe.augment.shit'; is 'shi"),
        ({"data": "digits", "growth": {"zzz": 1}}, "no setting 'growth.zzz'; there are bins, ent"),
        ({"data": "digits", "recipe": {"lr": -1}}, "recipe.lr: input should be greater .*not -1"),
        ({"data": "digits", "recipe": 3}, "recipe: .*not 3"),
        ({"data": "digits", "recipe": "air"}, "no recipe 'air'; give airbench, or leave it out"),
        ({"data": "digits", "recipe": {"base": []}}, r"there is no recipe \[\]"),
        ({"data": "digits", "max_flops": float("inf")}, "max_flops: .*finite"),
        ({"data": "digits", "seed": -1}, "seed: .*not -1"),
        ({"data": "digits", "threads": 1025}, "threads: input should be less than .*1024, not 10"),
        ({"data": "cifar10", "data_dir": 5}, "data_dir: input should be a valid string, not 5"),
        ({"data": "photos", "data_dir": 5}, "data_dir: input should be a valid string, not 5"),
        ({"data": 3}, "data: input should be a valid string, not 3"),
    ],
)
def test_configure_names_what_is_wrong(settings: dict[str, object], message: str):
    with pytest.raises(RunError, match=f"settings.toml: .*{message}"):
        configure(settings, "settings.toml")


def test_grow_config_needs_an_end():
    with pytest.raises(ValueError, match="a run needs an end: give epochs or max_flops"):
        GrowConfig(data="digits")


def test_read_settings_toml_and_json_agree(tmp_path: Path):
    settings = {"data": "digits", "seed": 3, "recipe": {"lr": 0.05, "augment": {"shift": 2}}}
    toml = tmp_path / "a.toml"
    toml.write_text('data = "digits"\nseed = 3\n[recipe]\nlr = 0.05\n[recipe.augment]\nshift = 2\n')
    as_json = tmp_path / "a.json"
    as_json.write_text(json.dumps(settings))
    assert read_settings(toml) == read_settings(as_json) == settings


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", b"seed = 1\ndata = x\n", r"a\.toml is no TOML: .*line 2"),
        ("a.json", b"{", r"a\.json is no JSON: .*line 1"),
        ("a.json", b"[1]", "holds a list; settings are a table"),
        ("a.yaml", b"data: digits", "ends in '.yaml'; settings are read from .toml or .json"),
        ("a.toml", b"\xff\xfe", r"a\.toml cannot be read \(it is no text\)"),
    ],
)
def test_read_settings_names_a_bad_file(tmp_path: Path, name: str, content: bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_settings(path)


def test_read_settings_names_a_missing_file(tmp_path: Path):
    with pytest.raises(RunError, match=r"none\.toml cannot be read \(No such file"):
        read_settings(tmp_path / "none.toml")


def test_read_config_round_trip(tmp_path: Path):
    config = configure({"data": "digits", "max_flops": 2e13, "growth": False})
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config.model_dump(mode="json")))
    assert read_config(path) == config


def test_read_config_names_a_damaged_file(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text('{"data": "digits", "epochs": "many"}')
    with pytest.raises(RunError, match=r"config\.json: epochs: .*bring back the file"):
        read_config(path)
