"""A search on disk: it goes on as if unbroken, and what it found is loaded by one call."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tolerance import DEVICE

from neuroexapt.errors import RunError, SearchError, TraceError, TrainingError
from neuroexapt.runs import (
    SearchSummary,
    SilentSearch,
    TrackedSearch,
    configure_search,
    load_model,
    read_events,
    read_search,
    reopen_search,
    start_search,
)
from neuroexapt.runs.search_config import SearchRunConfig
from neuroexapt.search import Expansion, MeasureConfig, SearchEpoch, diagnose_history
from neuroexapt.training import build_criterion, evaluate, evaluation_batches, load

GROWING = {"patience": 5, "most": 1, "num_samples": 64}


def quick(**settings: Any) -> SearchRunConfig:
    given: dict[str, Any] = {
        "data": "digits",
        "space": "nasbench201",
        "channels": 4,
        "epochs": 9,
        "checkpoint_seconds": 0,
        "device": str(DEVICE),
        "search": {
            "warmup": 1,
            "final": 8,
            "expansion": GROWING,
            "alpha": {"lr": 0.05},
            "measure": {"every": 3, "samples": 8},
            "recipe": {"batch_size": 256},
        },
    }
    return configure_search(given | settings)


class StoppedError(Exception):
    """What ends a search early here."""


class StopAfter(SilentSearch):
    """Breaks a search off after an epoch."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch

    def searched(self, record: SearchEpoch) -> None:
        if record.epoch == self._epoch:
            raise StoppedError


@pytest.fixture(autouse=True)
def growing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accuracy counts as stuck from the fourth epoch on, so that every search here grows once."""
    monkeypatch.setattr(
        "neuroexapt.search.growing.is_plateau", lambda values, window: len(values) >= 3
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "neuroexapt.search.growing.is_plateau", lambda values, window: len(values) >= 3
        )
        start_search(quick(), out).finish()
    return out


def weights(folder: Path) -> bytes:
    newest = max((folder / "checkpoints").iterdir())
    return (newest / "model.safetensors").read_bytes()


def told(folder: Path) -> list[dict[str, Any]]:
    """Epochs and expansions, but for what the clock says."""
    kinds = ("epoch", "expansion", "end")
    return [
        {name: value for name, value in event.items() if name not in ("time", "seconds")}
        for event in read_events(folder / "events.jsonl")
        if event["event"] in kinds
    ]


def summary(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "summary.json").read_text())
    return {name: value for name, value in found.items() if name not in ("seconds", "command")}


def test_search_grows_and_is_written_down(unbroken: Path):
    events = read_events(unbroken / "events.jsonl")
    assert [e["epoch"] for e in events if e["event"] == "epoch"] == list(range(9))
    (growth,) = (e for e in events if e["event"] == "expansion")
    assert Expansion.model_validate({n: growth[n] for n in Expansion.model_fields}).opened
    assert events[-1]["event"] == "end"
    found = SearchSummary.model_validate_json((unbroken / "summary.json").read_bytes())
    assert found.expansions == 1
    assert len(found.choices) == 8
    assert found.cell is None  # it is no cell of the benchmark any more
    assert found.alpha_steps == sum(e["alpha_steps"] for e in events if e["event"] == "epoch")
    assert found.params < found.params_searched


def test_search_is_measured_and_diagnosed_by_its_folder(unbroken: Path):
    history = read_search(unbroken)
    assert [record.epoch for record in history.epochs if record.measured] == [3, 6]
    data = load("digits", validation=0.25)
    counts = data.validation.labels.bincount()
    assert history.num_held_out == len(data.validation)
    assert history.majority == int(counts.max()) / len(data.validation)
    found = {finding.check: finding for finding in diagnose_history(history).findings}
    assert found.pop("curvature").severity == "not measured", "two measurements are too few"
    assert all(finding.severity != "not measured" for finding in found.values())
    gaps = {record.epoch: record.gap for record in history.epochs if record.gap is not None}
    assert gaps == {8: summary(unbroken)["discretisation_gap"]}, "before the one final epoch"


def test_search_of_an_older_version_is_read_and_resumed(unbroken: Path, tmp_path: Path):
    """Which measured nothing, and didn't count the most frequent class."""
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    config = json.loads((out / "config.json").read_text())
    del config["search"]["measure"]
    (out / "config.json").write_text(json.dumps(config))
    lines = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    for event in lines:
        event.pop("measured", None)
        event.pop("held_out", None)
    (out / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in lines))
    found = diagnose_history(read_search(out))
    assert "give it, as --majority" in found["not learning"].meaning
    assert "nothing was measured on the way" in found["gradient imbalance"].meaning
    kept = json.loads((out / "summary.json").read_text())
    del kept["discretisation_gap"]
    (out / "summary.json").write_text(json.dumps(kept))
    assert isinstance(reopen_search(out), SearchSummary)


def test_resumed_search_ends_as_if_unbroken(unbroken: Path, tmp_path: Path):
    """Broken off after it has grown, and in the final phase again."""
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        start_search(quick(), out).finish(StopAfter(4))
    with pytest.raises(StoppedError):
        reopened(out).finish(StopAfter(8))
    reopened(out).finish()
    assert weights(out) == weights(unbroken)
    for mine, theirs in zip(told(out), told(unbroken), strict=True):
        assert mine == theirs
    assert summary(out) == summary(unbroken)


def reopened(folder: Path) -> TrackedSearch:
    again = reopen_search(folder)
    assert not isinstance(again, SearchSummary)
    return again


def test_resume_of_a_finished_search_gives_its_summary(unbroken: Path):
    assert isinstance(reopen_search(unbroken), SearchSummary)


def test_load_model_is_what_was_tested(unbroken: Path):
    model = load_model(unbroken)
    data = load("digits", validation=0.25)
    found = evaluate(
        model, evaluation_batches(data, data.test), build_criterion(quick().search.recipe)
    )
    assert found.accuracy == summary(unbroken)["test_accuracy"]
    assert model.cost().params == summary(unbroken)["params"]


def test_read_search_tells_of_one_that_goes_on(tmp_path: Path):
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        start_search(quick(), out).finish(StopAfter(2))
    history = read_search(out)
    assert [record.epoch for record in history.epochs] == [0, 1, 2]
    assert history.config == quick().search


def test_max_flops_end_a_search_within_a_batch(tmp_path: Path):
    """What finding a place to grow takes may come on top: it can't be told beforehand."""
    limit = 3e9
    found = start_search(quick(max_flops=limit), tmp_path / "run").finish()
    events = read_events(tmp_path / "run" / "events.jsonl")
    sensed = sum(event["flops"] for event in events if event["event"] == "expansion")
    assert sensed > 0
    assert limit <= found.train_flops < 1.05 * limit + sensed
    assert "FLOPs are spent" in found.stopped


def test_flops_that_end_before_alpha_has_a_turn_are_refused(tmp_path: Path):
    with pytest.raises(
        SearchError, match=r"before alpha has had a turn: the warm-up alone takes 9"
    ) as e:
        start_search(quick(max_flops=1.5e9, epochs=60, search={"warmup": 9}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert "a shorter warm-up, by fewer epochs than 60" in str(e.value)
    found = start_search(
        configure_search(
            {"data": "digits", "space": "nasbench201", "channels": 4, "epochs": 3}
            | {"max_flops": 1.5e9, "device": str(DEVICE), "measure_every": 0}
        ),
        tmp_path / "fewer",
    ).finish()
    assert found.alpha_steps > 0


def test_search_whose_loss_is_not_finite_is_critical_by_its_folder(tmp_path: Path):
    config = quick(search={"warmup": 1, "recipe": {"lr": 1e12}})
    with pytest.raises(TrainingError):
        start_search(config, tmp_path / "run").finish()
    found = diagnose_history(read_search(tmp_path / "run"))
    assert found["not learning"].severity == "critical"
    assert "loss is nan" in found["not learning"].meaning
    assert not read_search(tmp_path / "run").is_over


def test_search_that_is_over_without_a_step_of_alpha_is_critical(unbroken: Path):
    history = read_search(unbroken)
    assert history.is_over
    warm = [e.model_copy(update={"phase": "warm-up", "alpha_steps": 0}) for e in history.epochs]
    found = diagnose_history(history.model_copy(update={"epochs": tuple(warm)}))
    assert found["too few alpha steps"].severity == "critical"


def test_damaged_checkpoint_is_named_and_nothing_changed(unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    shutil.copytree(unbroken, out)
    (out / "summary.json").unlink()
    newest = max((out / "checkpoints").iterdir())
    file = newest / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"model.safetensors is damaged.*go on from the checkpoint"):
        reopen_search(out)


def test_search_that_was_killed_before_its_first_checkpoint_begins_again(
    unbroken: Path, tmp_path: Path
):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(unbroken / "config.json", folder)
    (folder / "events.jsonl").write_bytes(b'{"event": "start", "command": "mine"')
    begun = reopen_search(folder)
    assert isinstance(begun, TrackedSearch)
    begun.log.close()
    assert [event["event"] for event in read_events(folder / "events.jsonl")] == ["start"]
    shutil.rmtree(folder / "checkpoints")
    with (folder / "events.jsonl").open("a") as events:
        events.write('{"event": "epoch"}\n')
    with pytest.raises(RunError, match="has searched, but holds no checkpoint"):
        reopen_search(folder)


def test_folder_of_a_growing_run_is_no_search(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"data": "digits"}')
    with pytest.raises(RunError, match="grows a network, no search"):
        read_search(tmp_path)


USERS = """
import torch
from torch import nn

def small(num_classes, in_channels):
    return nn.Sequential(
        nn.Conv2d(in_channels, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, num_classes),
    )

class Branching(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.net = small(num_classes, in_channels)

    def forward(self, x):
        return self.net(x) if x.sum() > 0 else self.net(-x)

def flat(num_classes, in_channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))

class Bare(nn.Module):
    def __init__(self, num_classes, in_channels):
        super().__init__()
        self.weight = nn.Parameter(0.1 * torch.ones(64 * in_channels, num_classes))

    def forward(self, x):
        return x.flatten(1) @ self.weight
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"users_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_search_of_a_users_model(tmp_path: Path, module: str):
    config = quick(
        space=f"{module}:small", channels=None, epochs=3, search={"warmup": 1, "final": 2}
    )
    found = start_search(config, tmp_path / "run").finish()
    assert list(found.choices) == ["0"]
    x = torch.zeros(2, 1, 8, 8)
    assert load_model(tmp_path / "run")(x).shape == (2, 10)


def test_users_model_that_cannot_be_traced_leaves_no_folder(tmp_path: Path, module: str):
    config = quick(space=f"{module}:Branching", channels=None, growth=False)
    with pytest.raises(TraceError, match="loads what it has found by its trace"):
        start_search(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_search_of_a_users_model_without_convolutions(tmp_path: Path, module: str):
    config = quick(space=f"{module}:flat", channels=None, epochs=2, search={"warmup": 1})
    found = start_search(config, tmp_path / "run").finish()
    assert list(found.choices) == ["1"]
    assert load_model(tmp_path / "run")(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_users_model_without_layers_to_decide_leaves_no_folder(tmp_path: Path, module: str):
    with pytest.raises(SearchError, match="Bare contains no layer that can be decided"):
        start_search(quick(space=f"{module}:Bare", channels=None), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "improve"}, "there is no method 'improve'; there are improved, original"),
        ({"space": "nas"}, "there is no space 'nas'; there are aso-se, nasbench201, or a model"),
        ({"epoch": 3}, "there is no setting 'epoch'"),
        ({"search": {"alpha": {"lrr": 3}}}, "there is no setting 'search.alpha.lrr'"),
        ({"epochs": 0}, "search.epochs: input should be greater than or equal to 1, not 0"),
        ({"channels": 0}, "channels: input should be greater"),
        ({"threads": 0}, "threads: input should be greater"),
        ({"method": ["improved"]}, "there is no method"),
        ({"growth": "no"}, "growth is 'no'; give true or false"),
        ({"amp": 0}, "amp is 0; give true or false"),
        ({"space": ["a:b"]}, "there is no space"),
        ({"search": {"expansion": {"patient": 3}}}, "'search.expansion.patient'; is 'patience'"),
        ({"search": {"measure": {"a": 3}}}, "'search.measure.a'; there are every, samples"),
        ({"search": {"temperature": 2}}, "'search.temperature'; there are alpha, annealing"),
        ({"search": {"warmup": 30}}, "give epochs in this order$"),
        ({"space": "mine:net", "channels": 64}, "channels has no meaning for a model of yours"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, Any], message: str):
    with pytest.raises(RunError, match=message):
        configure_search({"data": "digits"} | settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, MeasureConfig()),
        ({"measure_every": 3}, MeasureConfig(every=3)),
        ({"measure_every": 0}, None),
        ({"search": {"measure": None}}, None),
        (
            {"measure_every": 3, "search": {"measure": {"samples": 64}}},
            MeasureConfig(every=3, samples=64),
        ),
    ],
)
def test_runs_are_measured_unless_that_is_switched_off(settings, expected):
    assert configure_search({"data": "digits"} | settings).search.measure == expected


@pytest.mark.parametrize("settings", [{"growth": False}, {"search": {"expansion": False}}])
def test_search_may_be_told_not_to_grow(settings):
    found = configure_search({"data": "digits", "epochs": 10.0, "amp": True} | settings).search
    assert (found.expansion, found.epochs, found.final, found.recipe.amp) == (None, 10, 8, True)


@pytest.mark.parametrize("method", ["original", "darts"])
def test_other_methods_run_to_their_end(tmp_path: Path, method: str):
    config = configure_search(
        {"data": "digits", "space": "aso-se", "channels": 2, "cells": 2, "method": method}
        | {"epochs": 3, "device": str(DEVICE), "measure_every": 0}
        | {"search": {"recipe": {"batch_size": 128}}}
    )
    found = start_search(config, tmp_path / "run").finish()
    assert (found.method, found.epochs, found.expansions) == (method, 3, 0)
