"""The benchmark of early signs, on a few made-up searches."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import diagnosis

from neuroexapt.errors import DataError
from neuroexapt.search import SearchRun


def made_up(collapses: bool, index: int) -> SearchRun:
    valid = [60 - 0.8 * n for n in range(50)]
    gap = 0.5 if collapses else -0.2
    train = [(1 - gap * n / 50) * v for n, v in enumerate(valid)]
    return SearchRun(
        skips_normal=[2] * 25 + [7 if collapses else 2] * 25,
        train_err=train,
        valid_err=valid,
        ev_epochs=range(0, 50, 2),
        ev_max=[0.1] * 15 + [0.4 if collapses else 0.1] * 10,
        weight_decay=index // 2,
        drop_path=0.0,
    )


RUNS = [made_up(collapses, index) for collapses in (True, False) for index in range(6)]


def test_measure_finds_what_was_made_up():
    found = diagnosis.measure(RUNS, repeats=2)
    assert (found["n"], found["collapsed"]) == (12, 6)
    assert (found["rule"]["tpr"], found["rule"]["fpr"]) == (1.0, 0.0)
    assert found["rule"]["tpr_n"] == found["rule"]["fpr_n"] == 6
    assert found["rule"]["median epoch"] == 15
    rates = {name: (row["tpr"], row["fpr"]) for name, row in found["published"].items()}
    assert list(rates.values()) == [(1, 0), (1, 0), (0, 0), (0, 0)]


def test_measure_compares_on_the_same_runs():
    """Rules of eigenvalues say nothing of runs without, so the comparison leaves these out."""
    bare = RUNS[0].model_copy(update={"ev_epochs": (), "ev_max": ()})
    found = diagnosis.measure([bare, *RUNS[1:]], repeats=1)
    assert (found["n"], found["every run"]["n"]) == (11, 12)
    assert len(found["published"]) == 4
    assert len(found["every run"]["published"]) == 2


def test_rates_have_wilsons_interval():
    """Of 8 of 10, by the formula: 0.490 to 0.943."""
    found = diagnosis.rates([1] * 8 + [0] * 2, np.ones(10, dtype=bool))
    assert found["tpr"] == 0.8
    assert found["tpr_interval"] == pytest.approx([0.4902, 0.9433], abs=1e-4)
    assert found["fpr"] is None


def test_held_out_runs_have_no_say():
    """Only the first run collapsed and only the second rule sees it: without it, both are equal."""
    fires = np.zeros((len(diagnosis.GRID), 4), dtype=bool)
    fires[1, 0] = True
    collapsed = np.array([True, False, False, False])
    others = [(np.delete(np.arange(4), i), np.array([i])) for i in range(4)]
    first = diagnosis.held_out(fires, collapsed, others, lambda rule: diagnosis.GRID.index(rule))
    assert list(first) == [0, 0, 0, 0]
    assert diagnosis.choose(fires, collapsed, diagnosis.strictest) == 1


def test_load_leaves_out_what_was_broken_off(tmp_path):
    short = RUNS[0].until(18).model_copy(update={"num_epochs": 18})
    text = ",".join(run.model_dump_json(by_alias=True) for run in (*RUNS, short))
    (tmp_path / "darts_search_logs_made_up.json").write_text(f"[{text}]")
    assert diagnosis.load(tmp_path) == RUNS
    with pytest.raises(DataError, match=r"no darts_search_logs\*\.json"):
        diagnosis.load(tmp_path / "elsewhere")
