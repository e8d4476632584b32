"""The race measures what it says, on a track of seconds."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from neuroexapt import Attend, Connect, Deepen, LivingModel, Widen
from neuroexapt.edits import dump_edits
from neuroexapt.training import airbench

ROOT = Path(__file__).parent.parent
FOLDERS = (ROOT / "benchmarks", ROOT / "benchmarks" / "race")
EDITS = (
    Widen(group="block1.conv1", count=3),
    Deepen(after="block2.act1"),
    Attend(after="block2.act2"),
    Connect(source="block1.act2", target="block2.conv2"),
)


@pytest.fixture
def part(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a part of the race by its name."""
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(str(folder))
    return importlib.import_module


def race(out: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "benchmarks/race", "run", "--quick", "--here", "--out", str(out)]
    found = subprocess.run([*command, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    return {p.name: json.loads(p.read_text()) for p in out.glob("*.json")}


def test_race_ends_within_its_budget_with_one_file_a_run(tmp_path: Path) -> None:
    contenders = ("dnm", "static-final", "random-growth")
    known = tmp_path / "digits-quick-4e-07-static-seed-seed0.json"
    known.write_text(json.dumps(run_of("static-seed", 0, 0.5, 0.5)))
    asked = ["--only", "static-seed"]  # which is there, so that it isn't run again
    asked += [word for name in contenders for word in ("--only", name)]
    files = race(tmp_path, "--budget", "4e-7", *asked)
    runs = {name: files[f"digits-quick-4e-07-{name}-seed0.json"] for name in contenders}
    for run in runs.values():
        assert run["pflop"] == pytest.approx(run["curve"][-1][0])
        assert 1 <= run["pflop"] / 4e-7 < 1.1
        assert run["layers"] and run["peak_memory_mb"] > 0 and run["provenance"]["commit"]
    grown, scratch, anywhere = runs.values()
    assert grown["edits"] and grown["macs"] > grown["macs_seed"]
    assert all(0 < edit["pflop"] < 4e-7 for edit in grown["edits"])
    assert scratch["layers"] == grown["layers"] and not scratch["edits"]
    assert len(anywhere["edits"]) <= anywhere["planned_edits"] == len(grown["edits"])
    summary = files["summary.json"]["digits"]["4e-07"]
    assert summary["dnm"]["mean"] == grown["test_accuracy"] and summary["dnm"]["n"] == 1
    assert json.loads(known.read_text()) == run_of("static-seed", 0, 0.5, 0.5)


def test_what_a_variant_ends_with_is_trained_from_scratch(tmp_path: Path) -> None:
    living = LivingModel(airbench(10, 1, (8, 8), width=2), torch.zeros(2, 1, 8, 8))
    living.apply(EDITS[0])
    grown = run_of("dnm@many", 0, 0.5, 0.5) | {
        "settings": {"model": "networks:airbench-2"},
        "edits": [{"edit": edit} for edit in dump_edits(living.edits)],
        "params": living.cost().params,
        "macs": living.cost().macs,
    }
    (tmp_path / "digits-quick-2e-07-dnm@many-seed0.json").write_text(json.dumps(grown))
    files = race(tmp_path, "--budget", "2e-7", "--only", "static-final@many")
    scratch = files["digits-quick-2e-07-static-final@many-seed0.json"]
    widths = {layer["name"]: layer["out"] for layer in scratch["layers"]}
    assert widths["block1.conv1"] == 2 + 3 and not scratch["edits"]


def test_rebuilt_network_is_the_grown_one_with_silent_branches(part: Any, tmp_path: Path) -> None:
    anew = part("anew")
    living = LivingModel(airbench(10, 1, (8, 8), width=2), torch.zeros(2, 1, 8, 8))
    for edit in EDITS:
        living.apply(edit)
    path = tmp_path / "a.json"
    anew.write_architecture(path, "networks:airbench-2", dump_edits(living.edits))
    torch.manual_seed(1)
    network = anew.rebuilt(path, 10, 1, (8, 8)).eval()
    assert {n: p.shape for n, p in network.state_dict().items()} == {
        n: p.shape for n, p in living.graph_module.state_dict().items()
    }
    images = torch.rand(4, 1, 8, 8)
    before = network(images)
    with torch.no_grad():
        network.get_submodule("edit1.first").weight.normal_()
    assert torch.equal(network(images), before)
    for name in ("edit1.last", "edit2.last", "edit3.project"):
        assert not network.get_submodule(name).weight.any()
    weight = network.get_submodule("block1.conv1").weight
    assert torch.equal(weight[:5], torch.nn.init.dirac_(torch.empty_like(weight[:5])))


def run_of(contender: str, seed: int, test: float, val: float, budget: float = 0.01) -> Any:
    figures = dict.fromkeys(
        ("params", "macs", "overhead_share", "peak_memory_mb", "seconds", "epochs"), 1
    )
    width = {"width": int(contender[8:])} if contender.startswith("static-w") else {}
    accuracy = {"test_accuracy": test, "val_accuracy": val}
    where = {"data": "cifar10", "regime": "short", "budget": budget, "pflop": budget}
    return figures | width | accuracy | where | {"contender": contender, "seed": seed}


def test_sweep_is_judged_by_validation_and_paid_for(part: Any) -> None:
    runs = [
        run_of("dnm", 0, 0.94, 0.9),
        run_of("dnm", 1, 0.96, 0.9),
        run_of("static-w8", 0, 0.91, 0.80),
        run_of("static-w8", 1, 0.93, 0.82),
        run_of("static-w16", 0, 0.99, 0.79),
    ]
    found = part("summing").summed(runs)
    tuned = found["cifar10"]["0.01"]["static-tuned"]
    assert tuned["width"] == 8 and tuned["n"] == 2
    assert tuned["sweep_pflop"] == pytest.approx(0.02)
    above = found["comparisons"]["cifar10"]["0.01"]["static-tuned"]
    assert above["mean"] == pytest.approx(0.03) and above["n"] == 2
    assert found["to_94"] == {"dnm": {"pflop": 0.01, "accuracy": pytest.approx(0.95), "n": 2}}


def test_random_growth_is_planned_as_the_other_grew(part: Any) -> None:
    kinds = (("widen", 0.1), ("prune", 0.1), ("deepen", 0.1), ("settle", 0.3), ("widen", 0.5))
    edits = [{"edit": {"kind": kind}, "pflop": at} for kind, at in kinds]
    look = part("planned").Look
    assert part("planned").looks(edits, budget=1.0) == [
        look(0.1, 2, ("widen", "deepen")),
        look(0.5, 1, ("widen",)),
    ]


def test_sweep_widens_with_the_root_of_the_budget(part: Any) -> None:
    sweep = part("settings").sweep
    assert sweep(0.01) == (8, 12, 16, 24)
    assert sweep(0.04)[:3] == tuple(2 * width for width in sweep(0.01)[:3])
