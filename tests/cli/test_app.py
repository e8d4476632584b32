from importlib.metadata import version

import pytest

from neuroexapt.cli import main


def test_main_version(capsys: pytest.CaptureFixture[str]):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"neuroexapt {version('neuroexapt')}\n"


def test_main_help_names_the_commands(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert "grow" in out
    assert "diagnose" in out


def test_main_grow_help_has_options_and_examples(capsys: pytest.CaptureFixture[str]):
    assert main(["grow", "--help"]) == 0
    out = capsys.readouterr().out
    for option in ("data-dir", "model", "epochs", "seed", "out", "max-params", "max-latency-ms"):
        assert f"--{option}" in out
    for option in ("config", "no-growth", "image-size", "resume", "device", "amp", "threads"):
        assert f"--{option}" in out
    assert "neuroexapt grow cifar10 --max-flops 2e13" in out


@pytest.mark.parametrize("args", [[], ["grow"], ["diagnose"]])
def test_main_without_arguments_helps(args: list[str], capsys: pytest.CaptureFixture[str]):
    assert main(args) == 2
    found = capsys.readouterr()
    assert "Usage: neuroexapt" in found.out + found.err
    assert "error" not in found.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["grwo"], "No such command 'grwo'. Did you mean 'grow'? See neuroexapt --help"),
        (["grow", "digits", "--epoch", "3"], "No such option: --epoch"),
        (["grow", "digits", "--epochs", "many"], "'--epochs'"),
        (["grow", "digits", "--epochs", "0"], "'--epochs'"),
        (
            ["grow", "digits", "--max-params", "3.5"],
            "3.5 is no whole number; give one as 300000 or 3e5. See neuroexapt grow -",
        ),
        (["grow", "digits", "--max-params", "inf"], "inf is no whole number; give one as 3"),
        (["grow", "digits", "--max-params", "1e400"], "1e400 is no whole number; give one"),
        (["grow", "digits", "--max-params", "nan"], "nan is no whole number; give one"),
        (["grow", "digits", "--max-params", "many"], "many is no whole number; give one"),
    ],
)
def test_main_bad_usage_is_one_line_and_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
):
    assert main(args) == 2
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err.startswith("error: ")
    assert found.err.count("\n") == 1
    assert message in found.err
