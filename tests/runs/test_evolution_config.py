"""Settings of an evolution: short names, defaults, and what is refused."""

from pathlib import Path
from typing import Any

import pytest

from neuroexapt.errors import RunError
from neuroexapt.evolution import EvolutionConfig
from neuroexapt.runs import configure_evolution
from neuroexapt.runs.evolution_config import moved_evolution, read_evolution_config
from neuroexapt.training import RECIPES, default_recipe


def test_short_settings_are_those_within() -> None:
    short = configure_evolution(
        {
            "data": "cifar10",
            "objectives": ["error", "latency"],
            "size": 5,
            "children": 3,
            "max_flops": 1e12,
            "max_params": 1000,
            "max_macs": 2000,
            "max_latency_ms": 3.0,
            "policy": "random",
            "amp": True,
            "recipe": {"lr": 0.3},
            "growth": {"share": 0.25},
        }
    ).evolution
    within = configure_evolution(
        {
            "data": "cifar10",
            "evolution": {
                "objectives": ["error", "latency_ms"],
                "size": 5,
                "num_children": 3,
                "max_flops": 1e12,
                "limits": {"params": 1000, "macs": 2000, "latency_ms": 3.0},
                "recipe": {"lr": 0.3, "amp": True},
                "growth": {"share": 0.25, "policy": "random"},
            },
        }
    ).evolution
    assert short == within
    assert short.recipe == default_recipe("cifar10").model_copy(update={"lr": 0.3, "amp": True})
    assert short.limits.latency_ms == 3.0


def test_defaults_are_the_evolutions_own_with_the_recipe_of_the_data() -> None:
    found = configure_evolution({"data": "cifar100", "seed": 7})
    expected = EvolutionConfig(recipe=default_recipe("cifar100"), seed=7)
    assert found.evolution == expected
    assert (found.pick, found.workers, found.ray_address) == ("knee", 1, None)


def test_digits_hold_out_enough_to_tell_networks_apart() -> None:
    assert configure_evolution({"data": "digits"}).validation == 0.25
    assert configure_evolution({"data": "digits", "validation": 0.2}).validation == 0.2


def test_config_is_read_back(tmp_path: Path) -> None:
    config = configure_evolution({"data": "digits", "max_params": 5000})
    (tmp_path / "config.json").write_text(config.model_dump_json())
    assert read_evolution_config(tmp_path / "config.json") == config


def test_a_run_moves_to_another_machine_and_stays_what_it_is() -> None:
    config = configure_evolution({"data": "digits", "device": "cpu"})
    moved = moved_evolution(config, device=None, threads=3, workers=2, ray_address=None)
    assert moved == config.model_copy(update={"threads": 3, "workers": 2})
    cluster = moved_evolution(config, ray_address="local")
    assert moved_evolution(cluster, threads=2).ray_address == "local"
    assert moved_evolution(cluster, workers=1).ray_address is None
    shared = moved_evolution(cluster, gpus_per_worker=0.25)
    assert moved_evolution(shared, threads=2).gpus_per_worker == 0.25
    assert moved_evolution(shared, workers=1) == config
    with pytest.raises(RunError, match="to go on with: workers: input should be greater"):
        moved_evolution(config, workers=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"objectives": ["accuracy"]},
            r"evolution.objectives.0: input should be 'error', 'macs', ",
        ),
        ({"objectives": ["error", "error"]}, "name one twice"),
        ({"objectives": [["error"]]}, "evolution.objectives.0: input should be"),
        ({"gpus_per_worker": 0.5}, "gpus_per_worker is what Ray reserves; give ray_address, too"),
        ({"gpus_per_worker": -1.0}, "gpus_per_worker: input should be greater than or equal to 0"),
        ({"size": 1}, "evolution.size: input should be greater than or equal to 2, not 1"),
        ({"children": 0}, "evolution.num_children: input should be greater than or equal to 1"),
        ({"max_flops": float("inf")}, "evolution.max_flops: input should be a finite number"),
        ({"max_params": 0}, "evolution.limits.params: input should be greater than 0, not 0"),
        ({"policy": "arbitrary"}, "evolution.growth.policy: input should be 'arbiter', "),
        ({"pick": "best"}, "pick: input should be 'knee', 'accurate', 'small' or 'fast'"),
        ({"epochs": 3}, "there is no setting 'epochs'"),
        ({"evolution": {"sizes": 3}}, "there is no setting 'evolution.sizes'; is 'size' meant?"),
        ({"evolution": 3}, "evolution: input should be a valid dictionary"),
        ({"recipe": 3}, "evolution.recipe: input should be a valid dictionary"),
        ({"threads": 0}, "threads: input should be greater"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message):
        configure_evolution({"data": "digits"} | settings)


@pytest.mark.parametrize(
    "given",
    [
        {"recipe": "airbench"},
        {"recipe": {"base": "airbench"}},
        {"evolution": {"recipe": "airbench"}},
        {"recipe": "airbench", "evolution": {"recipe": {"lr": 0.24}}},
    ],
)
def test_a_recipe_may_be_a_name(given: dict[str, Any]) -> None:
    config = configure_evolution({"data": "digits"} | given)
    assert config.evolution.recipe == RECIPES["airbench"]


def test_a_recipe_that_is_not_there_is_named() -> None:
    with pytest.raises(RunError, match="there is no recipe 'nope'; give airbench, or leave it"):
        configure_evolution({"data": "digits", "recipe": "nope"})
