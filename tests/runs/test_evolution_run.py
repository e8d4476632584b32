"""An evolution on disk: it goes on as if unbroken, and its networks are loaded by one call."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from runs.evolving import StopAt, StoppedError, outcome, quick
from runs.forks import forking
from safetensors.torch import load_file

import neuroexapt as nx
from neuroexapt.edits import load_edits
from neuroexapt.errors import EvolutionError, RunError
from neuroexapt.evolution.polish import ROUNDS
from neuroexapt.runs import (
    EvolutionSummary,
    Front,
    TrackedEvolution,
    configure_evolution,
    read_events,
    read_front,
    reopen,
    reopen_evolution,
    reopen_search,
    start_evolution,
)
from neuroexapt.runs.evolution_config import WORTH
from neuroexapt.training import (
    build_criterion,
    build_model,
    evaluate,
    evaluation_batches,
    load,
    whiten_first_,
)


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evolution; not to be changed."""
    out = tmp_path_factory.mktemp("evolved") / "run"
    start_evolution(quick(), out).finish()
    return out


def finish_again(folder: Path) -> None:
    reopened(folder).finish()


def reopened(folder: Path) -> TrackedEvolution:
    again = reopen_evolution(folder)
    assert isinstance(again, TrackedEvolution)
    return again


def test_events_tell_births_losses_and_fronts(evolved: Path) -> None:
    events = read_events(evolved / "events.jsonl")
    assert [event["event"] for event in (events[0], events[-1])] == ["start", "end"]
    told = events[1:-1]
    assert {event["event"] for event in told} == {"generation"}
    assert [event["generation"] for event in told] == list(range(len(told)))
    phases = [event["phase"] for event in told]
    assert (phases.count("evolving"), phases.count("polishing")) == (2, ROUNDS)
    born = {child["name"] for event in told[1:] for child in event["children"]}
    assert born
    for event in told:
        assert {member["name"] for member in event["front"]} <= set(event["population"])
        assert set(event["population"]) <= born | {"0.0"}
        assert isinstance(event["lost"], dict)
    front = {member["name"]: member["scores"] for member in told[-1]["front"]}
    assert {member.name for member in read_front(evolved).members} == front.keys()


def test_only_what_is_needed_is_kept(evolved: Path) -> None:
    generations = read_front(evolved).generations + read_front(evolved).polished
    names = sorted(path.name for path in (evolved / "checkpoints").iterdir())
    assert names == [f"generation-{generations - 1:04d}", f"generation-{generations:04d}"]
    assert not list(evolved.rglob("*.pkl"))
    suffixes = {path.suffix for path in evolved.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".jsonl", ".html", ".safetensors"}


@pytest.mark.parametrize(
    ("kind", "count"),
    [("worked", 4), ("evolved", 3), ("ended", 1)],
)
def test_resumed_evolution_ends_as_if_unbroken(
    evolved: Path, tmp_path: Path, kind: str, count: int
) -> None:
    """Broken off in mid-generation, before polishing and at the very end."""
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        start_evolution(quick(), out).finish(StopAt(kind, count))
    if kind == "ended":
        (out / "summary.json").unlink()
    finish_again(out)
    assert outcome(out) == outcome(evolved)


def test_resume_from_an_older_checkpoint_forgets_what_came_after(
    evolved: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(evolved, out)
    finish_again(min((out / "checkpoints").iterdir()))
    assert outcome(out) == outcome(evolved)


KILLING = """
import sys
from pathlib import Path
from runs.evolving import quick
from runs.forks import killed_until_it_ends
from neuroexapt.runs import EvolutionSummary, reopen_evolution, start_evolution
from neuroexapt.runs.evolution_session import build_evolution

build_evolution(quick())  # imports what is imported late
out = Path(sys.argv[1])

def run():
    there = (out / "config.json").exists()
    found = reopen_evolution(out) if there else start_evolution(quick(), out)
    if not isinstance(found, EvolutionSummary):  # or the last one was killed just after its end
        found.finish()

print(killed_until_it_ends(run, 0.5, 1.5))
"""


def test_killed_again_and_again_it_ends_with_the_same_front(evolved: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert int(forking(KILLING, out)) >= 2
    assert any(event["event"] == "resume" for event in read_events(out / "events.jsonl"))
    assert outcome(out) == outcome(evolved)


def test_finished_evolution_gives_its_summary(evolved: Path) -> None:
    summary = reopen_evolution(evolved)
    assert isinstance(summary, EvolutionSummary)
    front = read_front(evolved)
    picked = front[front.picked]
    assert (summary.params, summary.test_accuracy) == (picked.params, picked.test_accuracy)
    assert summary.evaluated == len(front.evaluated)


def test_front_is_what_the_networks_are(evolved: Path) -> None:
    """Costs, both accuracies and weights, of every member, against the network loaded."""
    front, config = read_front(evolved), quick()
    data = load("digits", validation=config.validation)
    criterion = build_criterion(config.evolution.recipe)
    assert len(front.members) >= 2
    for member in front.members:
        model = nx.load_model(evolved, member=member.name)
        assert not model.training
        assert model.edits == load_edits(member.edits)
        assert (model.cost().params, model.cost().macs) == (member.params, member.macs)
        for part, accuracy in ((data.validation, "val"), (data.test, "test")):
            found = evaluate(model, evaluation_batches(data, part), criterion)
            assert found.accuracy == getattr(member, f"{accuracy}_accuracy")
        written = load_file(evolved / member.weights)
        assert written.keys() == model.state_dict().keys()
        assert all(torch.equal(value, written[key]) for key, value in model.state_dict().items())


def test_front_tells_lineages_back_to_the_first_network(evolved: Path) -> None:
    front = read_front(evolved)
    known = {one.name: one for one in front.evaluated}
    for member in front.members:
        assert member.lineage[0] == "0.0"
        assert member.lineage[-1] == member.name
        pairs = zip(member.lineage, member.lineage[1:], strict=False)
        assert all(known[child].parents[0] == mother for mother, child in pairs)
        words = [word for name in member.lineage for word in known[name].edits]
        assert words == list(member.grown_by)
    for one in front.evaluated:
        assert one.generation == int(one.name.partition(".")[0])
        if one.origin in ("mutation", "crossover"):
            assert one.accuracy_at_birth == pytest.approx(one.accuracy_of_parent, abs=1e-6)


def test_front_json_is_read_back(evolved: Path) -> None:
    front = read_front(evolved)
    assert Front.model_validate_json(json.dumps(front.model_dump(mode="json"))) == front


def test_load_model_gives_what_is_asked_for(evolved: Path) -> None:
    front = read_front(evolved)
    costs = {member.name: member for member in front.members}

    def params(**choice: Any) -> int:
        return nx.load_model(evolved, **choice).cost().params

    assert params() == costs[front.picked].params
    assert params(pick="small") == min(member.params for member in front.members)
    assert params(pick="accurate") == front.members[0].params
    fast = nx.load_model(evolved, pick="fast").cost().macs
    assert fast == min(member.macs for member in front.members)
    x = torch.zeros(2, 1, 8, 8)
    assert nx.load_model(evolved)(x).shape == (2, 10)


def test_load_model_before_the_end_is_of_the_newest_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        start_evolution(quick(), out).finish(StopAt("begun", 1))
    with pytest.raises(RunError, match="holds no network yet; resume the run"):
        nx.load_model(out)
    with pytest.raises(RunError, match="has no front yet; resume the run"):
        read_front(out)
    with pytest.raises(StoppedError):
        reopened(out).finish(StopAt("evolved", 1))
    assert nx.load_model(out).edits == ()
    first = nx.load_model(out / "checkpoints" / "generation-0001", member="0.0")
    assert first.cost() == nx.load_model(out).cost()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"member": "9.9"}, "there is no network '9.9'; there are "),
        ({"pick": "knees"}, "'knees' is no choice; give knee, accurate, small or fast"),
        ({"pick": "knee", "member": "0.0"}, "both choose a network; give one"),
    ],
)
def test_load_model_names_what_is_not_there(
    evolved: Path, choice: dict[str, Any], message: str
) -> None:
    with pytest.raises(RunError, match=message):
        nx.load_model(evolved, **choice)


def test_grown_run_has_one_model(unbroken: Path) -> None:
    with pytest.raises(RunError, match="of which there is one model; leave out pick and member"):
        nx.load_model(unbroken, pick="knee")


def test_kinds_of_runs_are_told_apart(evolved: Path, unbroken: Path) -> None:
    with pytest.raises(RunError, match="holds a run that grows a network, no evolution"):
        reopen_evolution(unbroken)
    with pytest.raises(RunError, match="holds an evolution, no run that grows a network"):
        reopen(evolved)
    with pytest.raises(RunError, match=r"holds an evolution, no search; .* neuroexapt evolve --re"):
        reopen_search(evolved)
    with pytest.raises(RunError, match="holds no run"):
        reopen_evolution(evolved / "models")


def test_damaged_checkpoint_is_named(evolved: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(evolved, out)
    (out / "summary.json").unlink()
    file = max((out / "checkpoints").iterdir()) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"model.safetensors is damaged.*go on from the checkpoint"):
        reopen_evolution(out)


def test_another_seed_model_is_told(
    evolved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    (tmp_path / "another_seed.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    shutil.copytree(evolved, out)
    (out / "summary.json").unlink()
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps(config | {"model": "another_seed:net"}))
    with pytest.raises(RunError, match=r"doesn't fit the seed model.*built as when the run was"):
        reopen_evolution(out)
    with pytest.raises(RunError, match="doesn't fit the seed model"):
        nx.load_model(out)


def test_seed_that_exceeds_the_limits_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(EvolutionError, match=r"the seed network has .* parameters, at most 100"):
        start_evolution(quick(max_params=100), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_seed_that_is_lost_is_told_and_stays_resumable(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(EvolutionError, match="the seed network is lost: TrainingError"):
        start_evolution(quick(recipe={"lr": 1e30}), out).finish()
    assert read_events(out / "events.jsonl")[-1]["event"] == "stop"
    reopened(out).log.close()


def test_folder_in_use_is_left_alone(evolved: Path, tmp_path: Path) -> None:
    before = outcome(evolved)
    with pytest.raises(RunError, match="holds a run already; go on with it by --resume"):
        start_evolution(quick(), evolved)
    assert outcome(evolved) == before
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        start_evolution(quick(), tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        start_evolution(quick(), tmp_path / "notes")


def test_without_flops_it_may_spend_so_many_epochs_of_the_seed(tmp_path: Path) -> None:
    config = quick()
    endless = config.evolution.model_copy(update={"max_flops": None})
    run = start_evolution(config.model_copy(update={"evolution": endless}), tmp_path / "run")
    run.log.close()
    flops = run.session.config.evolution.max_flops
    samples = 64 * len(run.session.evolution.world.train)
    per_sample = 2 * (64 * 16 * 2 + 16 * 16 * 3 + 16 * 10 * 3)  # the inputs need no gradient
    assert flops == WORTH * samples * per_sample
    written = json.loads((tmp_path / "run" / "config.json").read_text())
    assert written["evolution"]["max_flops"] == flops


def test_latency_is_measured_where_it_counts(tmp_path: Path) -> None:
    config = quick(objectives=["error", "latency"], max_flops=1.5e7, max_latency_ms=1e4)
    start_evolution(config, tmp_path / "run").finish()
    front = read_front(tmp_path / "run")
    assert front.objectives == ("error", "latency_ms")
    assert all(member.latency_ms > 0 for member in front.members if member.latency_ms is not None)
    assert {member.latency_ms is None for member in front.members} == {False}
    assert "latency for one sample (ms)" in (tmp_path / "run" / "front.html").read_text()


def test_evolution_of_a_whitened_network_leaves_the_whitening_alone(tmp_path: Path) -> None:
    recipe = {"base": "airbench", "batch_size": 100, "views": "plain"}
    given = {"model": "airbench", "recipe": recipe, "max_flops": 8e9, "policy": "random"}
    start_evolution(quick(**given), tmp_path / "run").finish()
    data = load("digits", validation=0.25)
    expected = build_model("airbench", num_classes=10, in_channels=1, image_size=data.image_size)
    whiten_first_(expected, data)
    for member in read_front(tmp_path / "run").members:
        living = nx.load_model(tmp_path / "run", member=member.name)
        whitening = living.get_parameter("whitening.weight")
        assert not whitening.requires_grad
        assert torch.equal(whitening, expected.whitening.weight)


def test_a_latency_limit_is_not_measured_anew_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On a busier machine all may pass it: that is told of the front, and ends nothing."""
    out = tmp_path / "run"
    with pytest.raises(StoppedError):
        start_evolution(quick(max_latency_ms=1e4), out).finish(StopAt("evolved", 1))
    monkeypatch.setattr("neuroexapt.evolution.stint.latency_ms", lambda *_: 3e4)
    reopened(out).finish()
    front = read_front(out)
    assert "No network keeps the limits" in front.warning
    assert "passes them by 200%" in front.warning
    assert front.warning in (out / "front.html").read_text()
    nx.load_model(out)
    assert "passes the run's limits by 200%" in caplog.text
    assert read_front(out).members[0].excess == 2.0


@pytest.mark.parametrize("name", ["seed", "threads"])
def test_settings_of_the_run_are_refused_within_those_of_the_evolution(name: str) -> None:
    with pytest.raises(RunError, match=f"evolution.{name} is the run's own; give {name} beside"):
        configure_evolution({"data": "digits", "evolution": {name: 3}})
