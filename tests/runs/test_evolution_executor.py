"""Where an evolution's tasks run, by its settings."""

from typing import Any

import pytest

from neuroexapt.evolution.executors import InProcess, ProcessPool
from neuroexapt.runs import configure_evolution, evolution_executor


def test_one_worker_is_this_process_and_more_are_a_pool() -> None:
    config = configure_evolution({"data": "digits", "device": "cpu"})
    assert isinstance(evolution_executor.build_executor(config), InProcess)
    pooled = config.model_copy(update={"workers": 2})
    with evolution_executor.build_executor(pooled) as executor:
        assert isinstance(executor, ProcessPool)


@pytest.mark.parametrize(
    ("settings", "workers", "gpus"),
    [
        ({"device": "cpu"}, None, 0.0),
        ({"device": "cpu", "workers": 3}, 3, 0.0),
        ({"device": "cuda"}, None, 1.0),
        ({"device": "cuda", "workers": 4, "gpus_per_worker": 0.25}, 4, 0.25),
        ({"device": "cpu", "gpus_per_worker": 0.0}, None, 0.0),
    ],
)
def test_ray_is_asked_for_gpus_where_they_are_trained_on(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], workers: int | None, gpus: float
) -> None:
    asked: list[Any] = []

    def build(num_workers: int | None, address: str, *, num_gpus: float) -> None:
        asked.extend([num_workers, address, num_gpus])

    monkeypatch.setattr(evolution_executor, "RayExecutor", build)
    config = configure_evolution({"data": "digits", "ray_address": "local", **settings})
    evolution_executor.build_executor(config)
    assert asked == [workers, "local", gpus]
