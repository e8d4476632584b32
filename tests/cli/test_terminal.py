import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from neuroexapt.cli.plain import Plain
from neuroexapt.cli.terminal import Terminal, summary_panel
from neuroexapt.runs import configure, grow, read_summary

GROWTH = {"policy": "entropy", "every": 1, "until": 1.0, "sensing_share": 0.5}


@pytest.mark.parametrize("width", [40, 100])
def test_terminal_growth_stands_out_in_the_table(tmp_path: Path, width: int):
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=True, width=width, color_system="standard", legacy_windows=False
    )
    settings = {"data": "digits", "epochs": 3, "device": "cpu", "growth": GROWTH}
    with Terminal(console) as terminal:
        summary = grow(configure(settings), tmp_path / "run", terminal)
    lines = file.getvalue().splitlines()
    grown = [line for line in lines if "\x1b[1;32m" in line and "+" in line]
    assert len(grown) == summary.edits > 0
    assert all(f"{number}/3" in file.getvalue() for number in (1, 2, 3))
    assert "parameters" in file.getvalue()


def test_terminal_shows_what_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, legacy_windows=False)
    settings = {"data": "digits", "epochs": 2, "device": "cpu", "growth": GROWTH}
    with Terminal(console) as terminal:
        grow(configure(settings | {"max_params": 1100}), tmp_path / "run", terminal)
    assert "refused: split" in file.getvalue()
    grow(configure(settings | {"max_params": 1100}), tmp_path / "plain", Plain())
    refused = [line for line in capsys.readouterr().out.splitlines() if line.startswith("refused")]
    assert refused
    assert all("it would pass the budget: " in line for line in refused)


@pytest.mark.parametrize(("width", "last"), [(60, "FLOPs"), (64, "time")])
def test_terminal_leaves_out_what_does_not_fit(tmp_path: Path, width: int, last: str):
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, legacy_windows=False)
    settings = {"data": "digits", "epochs": 2, "device": "cpu", "growth": False}
    with Terminal(console) as terminal:
        grow(configure(settings), tmp_path / "run", terminal)
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n").split("\n")
    table = [line for line in lines if "val acc" in line or re.match(r"\s+\d/2 ", line)]
    assert len(table) == 3
    assert table[0].rstrip().endswith(last)
    assert not any("…" in line for line in table)
    assert {int(number) for number in re.findall(r"epoch (\d)/2", file.getvalue())} <= {1, 2}


def test_terminal_is_put_back_after_an_error():
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, legacy_windows=False)
    with pytest.raises(KeyboardInterrupt), Terminal(console):
        raise KeyboardInterrupt
    assert file.getvalue().rfind("\x1b[?25h") > file.getvalue().rfind("\x1b[?25l")  # the cursor


def test_summary_panel_shows_growth_and_the_way_on(finished: Path):
    summary = read_summary(finished / "summary.json").model_copy(
        update={
            "params_seed": 1000,
            "params_final": 2500,
            "edits": 3,
            "kinds": {"split": 2, "connect": 1},
        }
    )
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(summary_panel(summary, finished, "->"))
    text = console.export_text()
    assert "1,000 -> 2,500  (2.5 times)" in text
    assert "3 edits: 2 splits, 1 connection" in text
    assert str(finished)[:40] in text.replace("│", "")
    assert "neuroexapt.runs.load_model(" in text
