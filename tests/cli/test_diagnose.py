import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from neuroexapt.cli import main
from neuroexapt.cli.findings import diagnoses_table, diagnosis_page, worst
from neuroexapt.search import CHECKS, ASOSEDiagnostics, SearchRun, read_runs

SOUND = {"run": "sound", "skips_normal": [1] * 50, "ev_epochs": list(range(9)), "ev_max": [1.0] * 9}
COLLAPSED = {"run": "gone", "skips_normal": [6] * 50}


def log(name: str, *runs: dict[str, object]) -> str:
    Path(name).write_text(json.dumps(runs))
    return name


def test_diagnose_sound_search_is_0(capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", log("log.json", SOUND)]) == 0
    found = capsys.readouterr()
    assert found.err == ""
    assert "diagnosis of search sound, after epoch 50 of 50" in found.out
    assert "2 ok, 10 not measured" in found.out
    assert "\x1b" not in found.out


def test_diagnose_critical_is_1_and_says_what_to_do(capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", log("log.json", COLLAPSED)]) == 1
    out = capsys.readouterr().out
    assert "critical: skip dominance" in out
    assert "75% of the normal cell's edges are skips" in out
    assert "try --weight_decay 0.0003 --drop_path_prob 0.2" in out
    assert max(len(line) for line in out.splitlines()) <= 80


def test_diagnose_several_is_a_row_each(capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", log("a log.json", SOUND, COLLAPSED)]) == 1
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if "50/50" in line]
    assert [(row[0], row[-1]) for row in rows] == [("0", "ok"), ("1", "critical")]
    assert "1 of 2 searches have a critical finding" in out
    assert "neuroexapt diagnose 'a log.json' --run N" in out


def test_diagnose_run_takes_one_of_them(capsys: pytest.CaptureFixture[str]):
    args = ["diagnose", log("log.json", SOUND, COLLAPSED), "--run"]
    assert main([*args, "0"]) == 0
    assert "search sound" in capsys.readouterr().out
    assert main([*args, "1"]) == 1


def test_diagnose_json_is_for_programs(capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", log("log.json", SOUND, COLLAPSED), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["path"], found["is_critical"]) == ("log.json", True)
    first, second = found["diagnoses"]
    assert (first["is_critical"], second["is_critical"]) == (False, True)
    assert [finding["check"] for finding in first["findings"]] == list(CHECKS)
    skips = next(f for f in second["findings"] if f["check"] == "skip dominance")
    assert (skips["heading"], skips["severity"]) == ("performance bottleneck", "critical")
    assert skips["value"] == 0.75
    assert skips.keys() == {
        "heading",
        "check",
        "severity",
        "value",
        "threshold",
        "meaning",
        "remedy",
    }


def test_diagnose_search_that_still_goes_on(capsys: pytest.CaptureFixture[str]):
    path = log("log.json", {"run": "young", "skips_normal": [1] * 7})
    assert main(["diagnose", path, "--epochs", "50"]) == 0
    assert "after epoch 7 of 50" in capsys.readouterr().out
    assert main(["diagnose", path, "--epochs", "50", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["diagnoses"]
    skips = next(f for f in found["findings"] if f["check"] == "skip dominance")
    assert "7 of 50 epochs are too few; the rule asks from 15 on" in skips["meaning"]


def test_diagnose_majority_tells_whether_anything_is_learnt(capsys: pytest.CaptureFixture[str]):
    errors = {"train_err": [90.0] * 50, "valid_err": [90.0] * 50}
    path = log("log.json", SOUND | errors)
    assert main(["diagnose", path]) == 0
    assert "as --majority 0.1" in " ".join(capsys.readouterr().out.split())
    assert main(["diagnose", path, "--majority", "0.1"]) == 1
    out = capsys.readouterr().out
    assert "critical: not learning" in out
    assert "try --learning_rate 0.005" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.json"], "nowhere.json can't be read (No such file or directory)"),
        (["cut.json"], "cut.json isn't JSON"),
        (["empty.json"], "holds an empty list"),
        (["other.json"], "can't be read: skips_normal: Field required"),
        (["log.json", "--run", "1"], "log.json has no run 1; its runs are 0 to 0"),
        (["log.json", "--run", "-1"], "'--run'"),
        (["log.json", "--majority", "2"], "'--majority'"),
        (["log.json", "--epochs", "5"], "n_epochs is 5, but skips_normal has 50 epochs"),
        (["."], "holds no run: there is no config.json"),
        ([".", "--run", "0"], "a folder holds one search"),
        (["log.json", "--josn"], "No such option: --josn"),
    ],
)
def test_diagnose_refused_is_one_line_and_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    whole = Path(log("log.json", SOUND)).read_text()
    Path("cut.json").write_text(whole[: len(whole) // 2])
    log("empty.json")
    log("other.json", {"accuracy": 3})
    assert main(["diagnose", *args]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert message in found.err


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("terminal", [True, False])
def test_pages_fit_whatever_they_are_shown_on(width: int, terminal: bool):
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    runs = [SearchRun.model_validate(run) for run in (SOUND, COLLAPSED)]
    found = [ASOSEDiagnostics().diagnose(run) for run in runs]
    console.print(diagnosis_page(found[1]))
    console.print(diagnoses_table(found))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    assert any("skip dominance" in line or "skip" in line for line in lines)


@pytest.mark.skipif(os.name == "nt", reason="Windows has other pipes")
@pytest.mark.parametrize(("option", "count"), [([], 1500), (["--json"], 100)])
def test_diagnose_whose_reader_leaves_is_quiet(option: list[str], count: int):
    """What is printed of so many runs is more than a pipe holds."""
    path = log("log.json", *[SOUND] * count)
    process = subprocess.Popen(
        [sys.executable, "-m", "neuroexapt", "diagnose", path, *option],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(timeout=60) == 1


def test_worst_is_the_worst():
    sound, gone = (SearchRun.model_validate(run) for run in (SOUND, COLLAPSED))
    assert worst(ASOSEDiagnostics().diagnose(sound)) == "ok"
    assert worst(ASOSEDiagnostics().diagnose(gone)) == "critical"


def test_help_names_the_options(capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("run", "epochs", "majority", "json"):
        assert f"--{option}" in out
    assert "neuroexapt diagnose darts_logs.json --run 3 --majority 0.1" in out


def test_log_is_read_as_by_read_runs():
    (run,) = read_runs(log("log.json", SOUND))
    assert run == SearchRun.model_validate(SOUND)
