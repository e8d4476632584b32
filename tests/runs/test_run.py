import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs.quick import (
    GROWTH,
    StopAt,
    StoppedError,
    comparable_events,
    comparable_summary,
    final_weights,
    quick,
)

from neuroexapt.errors import RunError, TraceError, TrainingError
from neuroexapt.runs import Run, Summary, grow, load_model, read_events, reopen, resume, start
from neuroexapt.training import build_criterion, evaluate, evaluation_batches, load


def of_kind(folder: Path, kind: str) -> list[dict[str, Any]]:
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def broken_off(folder: Path, kind: str, count: int, **settings: Any) -> Path:
    """A run of `quick()` that stopped at the n-th call of a kind."""
    with pytest.raises(StoppedError):
        grow(quick(**settings), folder, StopAt(kind, count))
    return folder


def assert_same_end(folder: Path, unbroken: Path) -> None:
    assert final_weights(folder) == final_weights(unbroken)
    assert comparable_summary(folder) == comparable_summary(unbroken)
    assert comparable_events(folder) == comparable_events(unbroken)


def test_grow_leaves_one_event_an_epoch_and_an_edit(unbroken: Path):
    events = read_events(unbroken / "events.jsonl")
    assert events[0]["event"] == "start"
    assert events[-1]["event"] == "end"
    assert [event["epoch"] for event in of_kind(unbroken, "epoch")] == list(range(6))
    edits = of_kind(unbroken, "edit")
    assert [event["number"] for event in edits] == list(range(len(edits)))
    assert {event["edit"]["kind"] for event in edits} == {"split", "connect"}
    for event in edits:
        assert event["evidence"]
        assert event["max_error"] <= 1e-5
        assert event["params_before"] < event["params_after"]
        assert event["macs_before"] < event["macs_after"]
        assert event["seconds"] > 0
        assert event["epoch"] in (2, 4)


def test_grow_writes_what_followed_each_edit(unbroken: Path):
    edits = {event["number"]: event for event in of_kind(unbroken, "edit")}
    accuracy = {event["epoch"]: event["val_accuracy"] for event in of_kind(unbroken, "epoch")}
    together = sum(event["epoch"] == 2 for event in edits.values())
    outcomes = of_kind(unbroken, "outcome")
    assert len(outcomes) == together
    for event in outcomes:
        assert edits[event["number"]]["epoch"] == 2
        assert event["followed"] == pytest.approx((accuracy[3] - accuracy[1]) / together)


def test_grow_summary_agrees_with_the_events(unbroken: Path):
    summary = Summary.model_validate_json((unbroken / "summary.json").read_text())
    epochs, edits = of_kind(unbroken, "epoch"), of_kind(unbroken, "edit")
    kinds = [event["edit"]["kind"] for event in edits]
    assert summary.edits == len(edits)
    assert (summary.splits, summary.connections) == (kinds.count("split"), kinds.count("connect"))
    assert (summary.params_seed, summary.macs_seed) == (
        edits[0]["params_before"],
        edits[0]["macs_before"],
    )
    assert (summary.params_final, summary.macs_final) == (
        edits[-1]["params_after"],
        edits[-1]["macs_after"],
    )
    assert summary.val_accuracy == epochs[-1]["val_accuracy"]
    assert summary.train_flops >= epochs[-1]["flops"]
    assert 0 < summary.growth_flops_share < 0.05
    assert (summary.epochs, summary.stopped) == (6, "all 6 epochs are trained")
    best = max(epochs, key=lambda event: event["val_accuracy"])
    assert summary.best_val_accuracy == best["val_accuracy"]
    assert summary.best_checkpoint == f"checkpoints/epoch-{best['epoch'] + 1:04d}"
    assert (unbroken / summary.best_checkpoint).is_dir()


def test_load_model_is_what_was_tested(unbroken: Path):
    summary = Summary.model_validate_json((unbroken / "summary.json").read_text())
    data = load("digits")
    living = load_model(unbroken)
    criterion = build_criterion(quick().recipe)
    found = evaluate(living, evaluation_batches(data, data.test), criterion)
    assert (found.accuracy, found.loss) == (summary.test_accuracy, summary.test_loss)
    assert living.cost().params == summary.params_final
    assert len(living.edits) == summary.edits
    assert not living.training


def test_load_model_of_a_checkpoint(unbroken: Path):
    best = Summary.model_validate_json((unbroken / "summary.json").read_text())
    living = load_model(unbroken / best.best_checkpoint)
    data = load("digits")
    criterion = build_criterion(quick().recipe)
    found = evaluate(living, evaluation_batches(data, data.validation), criterion)
    assert found.accuracy == best.best_val_accuracy


def test_grow_same_seed_same_run_and_another_seed_another(unbroken: Path, tmp_path: Path):
    grow(quick(), tmp_path / "same")
    assert_same_end(tmp_path / "same", unbroken)
    grow(quick(seed=1), tmp_path / "other")
    assert final_weights(tmp_path / "other") != final_weights(unbroken)


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("stepped", 1),  # before anything was trained
        ("stepped", 10),  # inside the first epoch
        ("trained", 1),  # an epoch is noted, its checkpoint not written
        ("grew", 1),  # between the edits of one growth
        ("stepped", 19 * 2 + 8),  # inside the first epoch of the grown network
        ("trained", 6),  # after the last epoch
        ("ended", 1),  # the summary is there
    ],
)
def test_resume_ends_as_if_unbroken(unbroken: Path, tmp_path: Path, kind: str, count: int):
    folder = broken_off(tmp_path / "run", kind, count)
    resume(folder)
    assert_same_end(folder, unbroken)


ARBITRATED = {
    "epochs": 9,
    "growth": {
        "policy": "arbiter",
        "every": 3,
        "until": 0.9,
        "num_batches": 2,
        "sensing_share": 1.0,
    },
}


@pytest.fixture(scope="module")
def arbitrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arbitrated") / "run"
    grow(quick(**ARBITRATED), folder)
    return folder


@pytest.mark.parametrize(("kind", "count"), [("grew", 2), ("stepped", 19 * 4)])
def test_resume_with_the_arbiter_ends_as_if_unbroken(
    arbitrated: Path, tmp_path: Path, kind: str, count: int
):
    """Besides the weights, what it looked at, learnt and who is newborn has to come back."""
    edits = of_kind(arbitrated, "edit")
    assert {event["epoch"] for event in edits} == {3, 6}
    assert all(event["predicted"] is not None for event in edits)
    folder = broken_off(tmp_path / "run", kind, count, **ARBITRATED)
    resume(folder)
    assert_same_end(folder, arbitrated)


RACED = {"model": "airbench", "recipe": {"base": "airbench", "batch_size": 100}, "epochs": 4}


@pytest.mark.parametrize(("kind", "count"), [("grew", 2), ("stepped", 32)])
def test_resume_of_a_whitened_network_under_muon_ends_as_if_unbroken(
    tmp_path: Path, kind: str, count: int
):
    unbroken = tmp_path / "unbroken"
    summary = grow(quick(**RACED), unbroken)
    groups = {event["edit"].get("group") for event in of_kind(unbroken, "edit")}
    assert len(groups) > 1 and "whitening" not in groups
    assert summary.test_views == "shifted"
    folder = broken_off(tmp_path / "run", kind, count, **RACED)
    resume(folder)
    assert_same_end(folder, unbroken)
    living = load_model(folder)
    assert not living.get_parameter("whitening.weight").requires_grad
    data = load("digits")
    test = evaluation_batches(data, data.test)
    criterion = build_criterion(quick(**RACED).recipe)
    found = evaluate(living, test, criterion, views="shifted")
    assert found.accuracy == pytest.approx(summary.test_accuracy)
    assert found.loss == pytest.approx(summary.test_loss)


def test_resume_again_and_again_ends_as_if_unbroken(unbroken: Path, tmp_path: Path):
    folder = broken_off(tmp_path / "run", "stepped", 15)
    for _ in range(20):
        run = reopen(folder)
        if isinstance(run, Summary):
            break
        try:
            run.finish(StopAt("stepped", 27))
        except StoppedError:
            continue
    assert len(of_kind(folder, "resume")) > 1
    assert_same_end(folder, unbroken)


def test_resume_finished_run_changes_nothing(unbroken: Path):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    summary = resume(unbroken)
    assert summary == Summary.model_validate_json((unbroken / "summary.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_resume_from_an_earlier_checkpoint(unbroken: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    (folder / "checkpoints" / "epoch-0006" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(RunError, match=r"epoch-0006/model\.safetensors is damaged"):
        load_model(folder)
    resume(folder / "checkpoints" / "epoch-0005")
    assert_same_end(folder, unbroken)


def test_damaged_events_are_named_before_anything_is_forgotten(unbroken: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(unbroken, folder)
    content = bytearray((folder / "events.jsonl").read_bytes())
    content[content.index(b"\n") + 1] = ord("?")
    (folder / "events.jsonl").write_bytes(content)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match="line 2 is damaged"):
        resume(folder / "checkpoints" / "epoch-0005")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_resume_damaged_checkpoint_is_named_and_nothing_changed(tmp_path: Path):
    folder = broken_off(tmp_path / "run", "trained", 4)
    state = folder / "checkpoints" / "epoch-0003" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(RunError, match=r"state\.safetensors is damaged.*--resume .*epoch-0002"):
        resume(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    resume(folder / "checkpoints" / "epoch-0002")


def test_resume_torn_and_later_events_are_removed(unbroken: Path, tmp_path: Path):
    folder = broken_off(tmp_path / "run", "trained", 3)
    with (folder / "events.jsonl").open("ab") as file:
        file.write(b'{"event": "edit", "num')
    resume(folder)
    assert_same_end(folder, unbroken)


def test_resume_damaged_event_is_named(tmp_path: Path):
    folder = broken_off(tmp_path / "run", "trained", 3)
    events = folder / "events.jsonl"
    lines = events.read_bytes().split(b"\n")
    lines[1] = lines[1][:-2] + b"##"
    events.write_bytes(b"\n".join(lines))
    with pytest.raises(RunError, match=r"events\.jsonl, line 2 is damaged"):
        resume(folder)


def test_resume_before_the_first_checkpoint_starts_again(unbroken: Path, tmp_path: Path):
    folder = broken_off(tmp_path / "run", "stepped", 1)
    shutil.rmtree(folder / "checkpoints")
    with (folder / "events.jsonl").open("r+b") as file:
        file.truncate(20)
    resume(folder)
    assert_same_end(folder, unbroken)


def test_resume_without_its_checkpoints_is_refused(tmp_path: Path):
    folder = broken_off(tmp_path / "run", "trained", 3)
    shutil.rmtree(folder / "checkpoints")
    with pytest.raises(RunError, match="has trained, but holds no checkpoint"):
        resume(folder)


def test_reopen_while_the_run_goes_on_is_refused(tmp_path: Path):
    run = start(quick(), tmp_path / "run")
    with pytest.raises(RunError, match="is being written by another process"):
        reopen(tmp_path / "run")
    run.log.close()
    again = reopen(tmp_path / "run", threads=2)
    assert isinstance(again, Run)
    assert again.session.config.threads == 2
    again.log.close()


def test_reopen_with_too_many_threads_is_refused(unbroken: Path):
    newest = unbroken / "checkpoints" / "epoch-0006"
    with pytest.raises(RunError, match=r"to go on with: threads: .*equal to 1024, not 1000000"):
        reopen(newest, threads=1_000_000)
    assert (unbroken / "summary.json").exists()


def test_start_refuses_a_folder_in_use(unbroken: Path):
    with pytest.raises(RunError, match="holds a run already; go on with it by --resume"):
        start(quick(), unbroken)


def test_grow_stops_within_a_batch_of_its_flops(tmp_path: Path):
    budget = 7e8
    settings = {"epochs": None, "max_flops": budget}
    summary = grow(quick(**settings), tmp_path / "run")
    per_batch = 64 * 6.1 * summary.macs_final
    assert budget <= summary.train_flops < budget + per_batch
    assert summary.stopped == "the budget of 7e+08 training FLOPs is spent"

    folder = broken_off(tmp_path / "broken", "trained", 3, **settings)
    resume(folder)
    assert comparable_summary(folder) == comparable_summary(tmp_path / "run")
    assert comparable_events(folder) == comparable_events(tmp_path / "run")


def test_grow_without_growth_trains_the_seed_model(tmp_path: Path):
    summary = grow(quick(growth=None, epochs=2), tmp_path / "run")
    assert (summary.edits, summary.growth_flops_share, summary.growth_stopped) == (0, 0.0, None)
    assert summary.params_final == summary.params_seed
    assert of_kind(tmp_path / "run", "edit") == []


def test_grow_never_passes_max_latency(tmp_path: Path):
    settings = {"max_latency_ms": 1e-6, "growth": GROWTH | {"every": 1, "patience": 1}}
    summary = grow(quick(**settings), tmp_path / "run")
    assert summary.params_final == summary.params_seed
    assert "ms a sample, budget 1e-06 ms" in summary.growth_stopped


def test_grow_never_passes_max_params(tmp_path: Path):
    settings = {"max_params": 1400, "growth": GROWTH | {"every": 1}}
    summary = grow(quick(**settings), tmp_path / "run")
    assert summary.params_seed < summary.params_final <= 1400
    refusals = of_kind(tmp_path / "run", "refusal")
    assert refusals and {event["epoch"] for event in refusals} <= {1, 2, 3, 4, 5}
    assert {event["cause"] for event in refusals} == {"budget"}
    assert all(", budget 1,400" in event["reason"] for event in refusals)
    assert {event["edit"]["kind"] for event in refusals} <= {"split", "connect"}
    assert any(summary.growth_stopped.endswith(event["reason"]) for event in refusals)

    folder = broken_off(tmp_path / "broken", "trained", 5, **settings)
    resume(folder)
    assert_same_end(folder, tmp_path / "run")


def test_grow_adamw_resumes_as_if_unbroken(tmp_path: Path):
    recipe = {"optimizer": "adamw", "lr": 0.01}
    grow(quick(recipe=recipe), tmp_path / "unbroken")
    folder = broken_off(tmp_path / "run", "trained", 4, recipe=recipe)
    resume(folder)
    assert_same_end(folder, tmp_path / "unbroken")


def test_grow_loss_not_finite_keeps_the_last_checkpoint(tmp_path: Path):
    folder = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"the loss is .*: lower the learning rate"):
        grow(quick(recipe={"lr": 1e18}), folder)
    assert "the loss is" in of_kind(folder, "stop")[0]["reason"]
    assert not (folder / "summary.json").exists()
    for tensor in load_model(folder).state_dict().values():
        assert tensor.isfinite().all()


MODULE = """
import random
import torch
from torch import nn

WIDTH = {width}

class Noisy(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.ReLU(), nn.Dropout(0.2))
        self.head = nn.Linear(WIDTH, num_classes)

    def forward(self, x):
        return self.head(self.body(x))

class Tied(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Linear(64, 12, bias=False)
        self.one = nn.Linear(12, 12, bias=False)
        self.two = nn.Linear(12, 12, bias=False)
        self.two.weight = self.one.weight
        self.head = nn.Linear(12, num_classes)

    def forward(self, x):
        return self.head(self.two(torch.relu(self.one(torch.relu(self.first(x.flatten(1)))))))

class Branching(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, x):
        if x.sum() > 0:
            return self.head(x.flatten(1))
        return self.head(-x.flatten(1))

def wrong_size(num_classes):
    return nn.Linear(7, num_classes)

class Auxiliary(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, x):
        scores = self.head(x.flatten(1))
        return scores, scores

def seven_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))
"""

_names = itertools.count()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A user's module of models, importable by this name."""
    name = f"users_models_{next(_names)}"
    (tmp_path / f"{name}.py").write_text(MODULE.format(width=16))
    monkeypatch.syspath_prepend(tmp_path)
    return name


@pytest.mark.parametrize("model", ["Noisy", "Tied"])
def test_resume_users_model_with_dropout_or_tied_weights(tmp_path: Path, module: str, model: str):
    settings = {"model": f"{module}:{model}", "recipe": {"lr": 0.02}}
    grow(quick(**settings), tmp_path / "unbroken")
    folder = broken_off(tmp_path / "run", "trained", 4, **settings)
    resume(folder)
    assert_same_end(folder, tmp_path / "unbroken")
    twice = load_model(folder)
    inputs = torch.randn(3, 1, 8, 8)
    assert torch.equal(twice(inputs), load_model(folder)(inputs))


def test_resume_refuses_a_model_that_has_changed(tmp_path: Path, module: str):
    folder = broken_off(tmp_path / "run", "trained", 2, model=f"{module}:Noisy")
    wider = module.replace("users", "wider")
    (tmp_path / f"{wider}.py").write_text(MODULE.format(width=18))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model": f"{wider}:Noisy"}))
    with pytest.raises(RunError, match=r"weights don't fit the model: .*built as when the run was"):
        resume(folder)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("Branching", "can't be traced"),
        ("wrong_size", "doesn't run on the example_input"),
        ("missing", "has nothing named missing"),
        ("Auxiliary", ":Auxiliary returns a tuple for 8 images"),
        ("seven_classes", r"shape \(8, 7\) for 8 images.* take num_classes, which is 10 here"),
    ],
)
def test_start_bad_model_leaves_no_folder(tmp_path: Path, module: str, model: str, message: str):
    with pytest.raises(TraceError, match=message):
        start(quick(model=f"{module}:{model}"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_start_unknown_device_is_refused(tmp_path: Path):
    with pytest.raises(RunError, match="the device 'abacus' can't be used"):
        start(quick(device="abacus"), tmp_path / "run")


def test_grow_has_its_own_number_of_threads(tmp_path: Path):
    seen: list[int] = []
    look = StopAt("trained", 1, lambda: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        grow(quick(epochs=1, threads=1), tmp_path / "run", look)
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(1)
