"""`neuroexapt search`, as it is typed."""

import json
from pathlib import Path

import pytest

from neuroexapt.cli import main
from neuroexapt.runs import configure_search, read_settings

QUICK = ["search", "digits", "--space", "nasbench201", "--channels", "2", "--device", "cpu"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search; not to be changed."""
    out = tmp_path_factory.mktemp("searched") / "run"
    assert main([*QUICK, "--epochs", "4", "--out", str(out)]) == 0
    return out


def test_search_prints_epochs_and_what_was_chosen(capsys: pytest.CaptureFixture[str]):
    assert main([*QUICK, "--epochs", "5", "--seed", "3", "--out", "run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("searching nasbench201 on digits by improved, seed 3, in ")
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert [line.split()[2].rstrip(":") for line in epochs] == ["warm-up", *["search"] * 3, "final"]
    assert "alpha 8 steps at T 2.00" in epochs[1]
    chosen = [line.split() for line in lines if line.startswith(("0->", "1->", "2->"))]
    summary = json.loads(Path("run/summary.json").read_text())
    assert dict(chosen) == summary["choices"]
    assert summary["cell"].startswith("|")
    assert summary["command"] == " ".join(
        ["neuroexapt", *QUICK, "--epochs", "5", "--seed", "3", "--out", "run"]
    )
    assert lines[-1].startswith("done: test ")


def test_finished_search_is_not_gone_on_with(searched: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["search", "--resume", str(searched)]) == 0
    assert "is over: all 4 epochs are trained" in capsys.readouterr().out


def test_search_is_diagnosed_by_its_folder(searched: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["diagnose", str(searched), "--json"]) in (0, 1)
    (found,) = json.loads(capsys.readouterr().out)["diagnoses"]
    checks = {finding["check"]: finding for finding in found["findings"]}
    assert checks["leakage"]["severity"] == "ok"
    assert (found["epoch"], found["epochs"]) == (4, 4)
    assert found["subject"] == f"search {searched}"
    unknown = [check for check, of in checks.items() if of["severity"] == "not measured"]
    assert unknown == ["curvature"], "which takes four measurements"


def test_share_of_the_most_frequent_class_may_be_told_otherwise(
    searched: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["diagnose", str(searched), "--majority", "0.99"]) == 1
    assert "critical: not learning" in capsys.readouterr().out


def test_original_search_is_found_out(capsys: pytest.CaptureFixture[str]):
    aimed = ["--method", "original", "--epochs", "4", "--out", "run"]
    assert main([*QUICK, *aimed]) == 0
    capsys.readouterr()
    assert main(["diagnose", "run"]) == 1
    out = capsys.readouterr().out
    assert "critical: leakage" in out
    assert 'try search.alpha.data = "held-out"' in out
    assert "neuroexapt search DATA --config FILE" in out
    settings = out.split("--config FILE:")[1]
    assert settings.count("search.alpha.data") == 1
    Path("settings.toml").write_text('data = "digits"\n' + settings)
    config = configure_search(read_settings(Path("settings.toml")) | {"method": "original"})
    assert config.search.alpha.data == "held-out"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "DATA is missing"),
        (["digits", "--method", "improve"], "there is no method 'improve'"),
        (["digits", "--space", "nas"], "there is no space 'nas'"),
        (["digits", "--epochs", "1"], "--epochs"),
        (["--resume", "nowhere"], "nowhere holds no run"),
        (["digits", "--resume", "nowhere"], "leave out DATA"),
        (["--resume", "nowhere", "--out", "x"], "leave out --out"),
        (["--resume", "nowhere", "--no-growth"], "leave out --no-growth"),
        (["--resume", "nowhere", "--threads", "1"], "nowhere holds no run"),
        (["digits", "--device", "abacus"], "the device 'abacus' can't be used"),
        (["digits", "--space", "no.such:thing"], "no.such:thing"),
    ],
)
def test_search_refused_is_one_line_and_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(["search", *(args or ["--seed", "1"])]) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert message in found.err
    assert not Path("runs").exists()


def test_grown_run_is_no_search(finished: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["search", "--resume", str(finished)]) == 2
    assert "grows a network, no search" in capsys.readouterr().err


def test_search_is_no_grown_run(searched: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "--resume", str(searched), "--device", "cpu"]) == 2
    assert (
        "no run that grows a network; go on with it by neuroexapt search --resume"
        in capsys.readouterr().err
    )
