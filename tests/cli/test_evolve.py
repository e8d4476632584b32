"""`neuroexapt evolve`, as it is typed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

import neuroexapt as nx
from neuroexapt.cli import main
from neuroexapt.cli.evolved import EvolutionTerminal, front_table
from neuroexapt.runs import EvolutionSummary, configure_evolution, read_front, start_evolution

SETTINGS = """
data = "digits"
model = "mlp"
device = "cpu"
max_flops = 3e7

[evolution]
founding = 0.5
rungs = [0.3]
trained = 1
num_samples = 32
polish = 0.4
"""
OPTIONS = ["--size", "4", "--children", "2", "--policy", "entropy"]


@pytest.fixture
def quick(elsewhere: Path) -> list[str]:
    """A command that evolves in two seconds."""
    (elsewhere / "quick.toml").write_text(SETTINGS)
    return ["evolve", "--config", "quick.toml", *OPTIONS]


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished evolution; not to be changed."""
    folder = tmp_path_factory.mktemp("evolved")
    (folder / "quick.toml").write_text(SETTINGS)
    given = ["--config", str(folder / "quick.toml"), *OPTIONS, "--out", str(folder / "run")]
    assert main(["evolve", *given]) == 0
    return folder / "run"


def error_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed: one line on stderr."""
    found = capsys.readouterr()
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    return found.err


def test_evolve_prints_a_line_a_generation_and_the_front(
    quick: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    args = [*quick, "--pick", "small", "--objectives", "error, params", "--out", "run"]
    assert main(args) == 0
    found = capsys.readouterr()
    assert found.err == ""
    lines = found.out.splitlines()
    assert lines[0].startswith("evolving mlp on digits, seed 0: 1,482 params, 1.44K MACs, in ")
    front = read_front("run")
    generations = [line for line in lines if line.startswith("generation ")]
    assert len(generations) == front.generations + front.polished
    assert [line.split()[2].rstrip(":") for line in generations[:2]] == ["founding", "evolving"]
    smallest = min(front.members, key=lambda member: member.params)
    assert front.picked == smallest.name
    (row,) = [line for line in lines if "<- small" in line]
    assert f"{smallest.params:,}" in row
    assert all(any(line.split()[:1] == [m.name] for line in lines) for m in front.members)
    done = lines[-1]
    assert done.startswith(f"done: {len(front.members)} network")
    assert done.endswith("/run/front.html")
    assert nx.load_model("run").cost().params == smallest.params
    summary = EvolutionSummary.model_validate_json(Path("run/summary.json").read_bytes())
    assert summary.command is not None
    assert summary.command.startswith("neuroexapt evolve --config quick.toml --size 4")


def test_evolve_options_override_the_file(quick: list[str], elsewhere: Path) -> None:
    options = ["--seed", "5", "--max-flops", "2.5e7", "--max-params", "3e3", "--validation", "0.2"]
    more = ["--max-macs", "3_000", "--max-latency-ms", "1e4", "--objectives", "error,latency"]
    assert main([*quick, *options, *more, "--amp", "--threads", "1", "--out", "run"]) == 0
    config = json.loads(Path("run/config.json").read_text())
    evolution = config["evolution"]
    assert (config["seed"], evolution["seed"], config["validation"]) == (5, 5, 0.2)
    assert evolution["limits"] == {"params": 3000, "macs": 3000, "latency_ms": 1e4}
    assert evolution["objectives"] == ["error", "latency_ms"]
    assert (evolution["max_flops"], evolution["size"], evolution["num_children"]) == (2.5e7, 4, 2)
    assert (evolution["growth"]["policy"], evolution["recipe"]["amp"]) == ("entropy", True)
    assert evolution["founding"] == 0.5
    front = read_front("run")
    assert all(member.params <= 3000 and member.macs <= 3000 for member in front.members)
    assert all(member.latency_ms for member in front.members)


def test_finished_evolution_is_not_gone_on_with(
    evolved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evolve", "--resume", str(evolved)]) == 0
    out = capsys.readouterr().out
    assert f"the evolution in {evolved} is over: " in out
    assert out.endswith("/front.html\n")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seed", "1"], "DATA is missing"),
        (["digitz"], "digitz is no data set known by name"),
        (["digits", "--size", "1"], "evolution.size: input should be greater than or equal to 2"),
        (["digits", "--children", "0"], "evolution.num_children: input should be greater"),
        (["digits", "--objectives", "error,accuracy"], "should be 'error', 'macs', 'params' or"),
        (["digits", "--objectives", "error,error"], "name one twice"),
        (["digits", "--objectives", ""], "should be 'error', 'macs', 'params' or"),
        (["digits", "--pick", "best"], "should be 'knee', 'accurate', 'small' or 'fast'"),
        (["digits", "--policy", "luck"], "evolution.growth.policy: input should be 'arbiter'"),
        (["digits", "--max-params", "100"], "the seed network has 1,030 parameters, at most 100"),
        (["digits", "--max-macs", "1e3"], "the seed network has 16,208 MACs, at most 1,000"),
        (["digits", "--max-latency-ms", "1e-9"], "ms a sample, at most 1e-09 ms are allowed"),
        (["digits", "--max-flops", "1000"], "but of max_flops 1e+03 only"),
        (["digits", "--max-flops", "inf"], "evolution.max_flops: input should be a finite"),
        (["digits", "--model", "huge"], "huge is no model known by name"),
        (["digits", "--device", "abacus"], "the device 'abacus' can't be used"),
        (["digits", "--validation", "0.9"], "validation: input should be less"),
        (["digits", "--out", "."], ". is not empty"),
        (["digits", "--out", "notes/run"], "move away the file that"),
        (["--resume", "nowhere"], "nowhere holds no run"),
        (["--resume", "nowhere", "--size", "3", "--out", "x"], "leave out --size, --out"),
    ],
)
def test_evolve_refused_is_one_line_and_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("notes").write_text("mine")
    assert main(["evolve", *args]) == 2
    assert message in error_line(capsys)
    assert not Path("runs").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_evolve_into_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    Path("locked").mkdir(mode=0o500)
    assert main(["evolve", "digits", "--out", "locked/run"]) == 2
    assert "allow writing to" in error_line(capsys)


def test_other_runs_are_no_evolutions(
    finished: Path, evolved: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evolve", "--resume", str(finished)]) == 2
    assert "holds a run that grows a network, no evolution; go on" in error_line(capsys)
    assert main(["grow", "--resume", str(evolved)]) == 2
    assert "go on with it by neuroexapt evolve --resume" in error_line(capsys)
    assert main(["diagnose", str(evolved)]) == 2
    assert "holds an evolution, no search" in error_line(capsys)


def test_lost_seed_is_1(quick: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path("quick.toml").write_text(SETTINGS + "[evolution.recipe]\nlr = 1e30\n")
    assert main([*quick, "--out", "run"]) == 1
    err = capsys.readouterr().err
    assert "error: the seed network is lost: TrainingError" in err


@pytest.mark.parametrize("width", [50, 100])
def test_terminal_fills_a_table_and_names_the_pick(tmp_path: Path, width: int) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, legacy_windows=False)
    settings = {"data": "digits", "model": "mlp", "device": "cpu", "max_flops": 3e7, "size": 4}
    settings |= {"children": 2, "policy": "entropy"}
    settings["evolution"] = {"founding": 0.5, "rungs": [0.3], "trained": 1, "num_samples": 32}
    with EvolutionTerminal(console) as terminal:
        summary = start_evolution(configure_evolution(settings), tmp_path / "run").finish(terminal)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n")
    lines = text.split("\n")
    rows = [
        line for line in lines if re.match(r"\s+\d+ +(founding|evolving +2|polishing) +\d", line)
    ]
    assert len(rows) == summary.generations + summary.polished
    assert "◀ knee" in text
    assert "neuroexapt.load_model(run" in text


def test_terminal_counts_what_is_done_below_the_table() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, legacy_windows=False)
    with EvolutionTerminal(console) as terminal:
        for task in ("bear", "bear", "train"):
            terminal.worked(task)
        terminal._bar.refresh()
    assert "generation 0: 2 born, 1 trained" in file.getvalue()


def test_front_table_has_a_column_for_latency_where_it_was_measured(evolved: Path) -> None:
    front = read_front(evolved)
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(front_table(front, "<-"))
    assert " ms " not in console.export_text()
    members = [one.model_copy(update={"latency_ms": 1.25}) for one in front.members]
    console.print(front_table(front.model_copy(update={"members": tuple(members)}), "<-"))
    text = console.export_text()
    assert " ms " in text
    assert text.count(" 1.25 ") == len(members)


def test_evolve_interrupted_is_130_and_resumes(elsewhere: Path) -> None:
    command = [sys.executable, "-m", "neuroexapt", "evolve"]
    options = ["digits", "--model", "mlp", "--policy", "entropy", "--device", "cpu"]
    process = subprocess.Popen(
        [*command, *options, "--out", "a run"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("generation 0 "):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == (
        "error: interrupted; the run is kept up to its newest checkpoint, go on with: "
        f"neuroexapt evolve --resume '{elsewhere / 'a run'}'\n"
    )
    assert nx.load_model("a run").edits == ()
