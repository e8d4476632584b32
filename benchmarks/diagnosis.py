"""How early and how surely is the collapse of a differentiable search seen? Published logs.

python benchmarks/diagnosis.py --data-dir PATH [--repeats 20]

PATH holds darts_search_logs*.json (see neuroexapt.search.logs for the schema). A search has
collapsed if at least 5 of the normal cell's 8 edges are skips at its end. Published rules have
nothing to fit. Of our rule, the share of skips and the confidence are chosen inside the training
folds, for the largest difference of true-positive and false-alarm rate; a tie goes to what it is
shipped with, which is convention (2 of 8 skips, 95 %), and, to see how much that matters, to the
strictest. Held out are all runs of one setting (weight decay and drop-path) at a time, so that no
seed of it was seen; or one of 5 stratified folds. What our rule looks at, the trend of overfitting,
was itself chosen on these runs: only other searches can test that.
"""

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from provenance import keep
from scipy.stats import binomtest
from sklearn.model_selection import LeaveOneGroupOut, RepeatedStratifiedKFold

from neuroexapt.errors import DataError
from neuroexapt.search import PUBLISHED, CollapseRule, SearchRun, is_collapsed, read_runs

FOLDS = 5
SHIPPED = CollapseRule()
GRID = tuple(
    CollapseRule(share=edges / 8, confidence=confidence)
    for edges in (1, 2, 3, 4)
    for confidence in (0.8, 0.9, 0.95, 0.99)
)
Ties = Callable[[CollapseRule], Any]
"""Of rules that are equally good, the one is taken for which this is least."""


def as_shipped(rule: CollapseRule) -> Any:
    share = abs(rule.share - SHIPPED.share)
    return share, abs(rule.confidence - SHIPPED.confidence)


def strictest(rule: CollapseRule) -> Any:
    return -rule.share, -rule.confidence


def load(folder: Path) -> list[SearchRun]:
    """The searches that weren't broken off."""
    files = sorted(folder.glob("darts_search_logs*.json"))
    if not files:
        raise DataError(f"{folder} holds no darts_search_logs*.json; give the folder of the logs")
    runs = [run for file in files for run in read_runs(file)]
    longest = max(len(run.skips_normal) for run in runs)
    return [run for run in runs if len(run.skips_normal) == longest]


def rates(fired: Sequence[float] | NDArray[np.float64], collapsed: NDArray[np.bool_]) -> Any:
    """True-positive and false-alarm rate, each with n and Wilson's 95 % interval.

    Args:
        fired: 1 for every run on which a rule fires, 0 for others; between, if it does in some
            repetitions only.
        collapsed: whether these runs did collapse.
    """
    found: dict[str, Any] = {}
    for name, among in (("tpr", collapsed), ("fpr", ~collapsed)):
        values = np.asarray(fired, dtype=float)[among]
        found[name] = float(values.mean()) if len(values) else None
        found[f"{name}_n"] = len(values)
        if len(values):
            count = round(float(values.sum()))
            interval = binomtest(count, len(values)).proportion_ci(method="wilson")
            found[f"{name}_interval"] = [float(interval.low), float(interval.high)]
    return found


def choose(fires: NDArray[np.bool_], collapsed: NDArray[np.bool_], ties: Ties) -> int:
    """Which rule of the grid is best on some runs; `fires` is of shape (rules, runs)."""
    skill = [
        (row[collapsed].mean() if collapsed.any() else 0.0)
        - (row[~collapsed].mean() if not collapsed.all() else 0.0)
        for row in fires
    ]
    best = max(skill)
    equal = [index for index, value in enumerate(skill) if value > best - 1e-9]
    return min(equal, key=lambda index: ties(GRID[index]))


def held_out(
    fires: NDArray[np.bool_],
    collapsed: NDArray[np.bool_],
    splits: Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]],
    ties: Ties,
) -> NDArray[np.float64]:
    """How often the rule chosen without a run fires on it; 1 or 0 if it is held out once."""
    alarms, times = np.zeros(len(collapsed)), np.zeros(len(collapsed))
    for train, test in splits:
        rule = choose(fires[:, train], collapsed[train], ties)
        alarms[test] += fires[rule, test]
        times[test] += 1
    assert (times > 0).all(), "every run is held out"
    return alarms / times


def median_epoch(runs: Sequence[SearchRun]) -> float | None:
    """After how many epochs the rule first fires on runs that collapse."""
    epochs = [v.epoch for run in runs if is_collapsed(run) and (v := SHIPPED.judge(run)).epoch]
    return float(np.median(epochs)) if epochs else None


def cross_validated(runs: Sequence[SearchRun], repeats: int) -> dict[str, NDArray[np.float64]]:
    """How often our rule fires on each run when it was chosen without it, by way of holding out."""
    collapsed = np.array([is_collapsed(run) for run in runs])
    fires = np.array([[rule.judge(run).fires for run in runs] for rule in GRID])
    settings = [str(run.setting) for run in runs]
    folds = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=0)
    by_setting = list(LeaveOneGroupOut().split(settings, collapsed, settings))
    by_fold = list(folds.split(settings, collapsed))
    return {
        "leave one setting out": held_out(fires, collapsed, by_setting, as_shipped),
        "leave one setting out, ties to the strictest": held_out(
            fires, collapsed, by_setting, strictest
        ),
        "repeated stratified folds": held_out(fires, collapsed, by_fold, as_shipped),
        "repeated stratified folds, ties to the strictest": held_out(
            fires, collapsed, by_fold, strictest
        ),
        "as shipped, in sample": np.array([SHIPPED.judge(run).fires for run in runs], dtype=float),
    }


def without_errors(run: SearchRun) -> SearchRun:
    return run.model_copy(update={"train_err": (), "valid_err": ()})


def compare(runs: Sequence[SearchRun], ours: dict[str, NDArray[np.float64]]) -> dict[str, Any]:
    """All rules that can say something of all these runs.

    Args:
        runs: on which they are compared.
        ours: for each way of holding out, how often our rule fires on each of them.
    """
    collapsed = np.array([is_collapsed(run) for run in runs])
    said = {name: [rule(run) for run in runs] for name, rule in PUBLISHED.items()}
    bare = [SHIPPED.judge(without_errors(run)).fires for run in runs]
    by_way = {way: rates(fired, collapsed) for way, fired in ours.items()}
    return {
        "n": len(runs),
        "collapsed": int(collapsed.sum()),
        "rule": {
            **by_way["leave one setting out"],
            "by": "leave one setting out",
            "ways": by_way,
            "without errors": rates(np.array(bare, dtype=float), collapsed),
            "median epoch": median_epoch(runs),
        },
        "published": {
            name: rates(np.array(fired, dtype=float), collapsed)
            for name, fired in said.items()
            if None not in fired
        },
    }


def measure(runs: Sequence[SearchRun], repeats: int) -> dict[str, Any]:
    """All rules on the runs of which each can say something, and those that can on all runs."""
    ours = cross_validated(runs, repeats)
    known = [
        index
        for index, run in enumerate(runs)
        if all(rule(run) is not None for rule in PUBLISHED.values())
    ]
    return {
        **compare(
            [runs[index] for index in known],
            {way: fired[known] for way, fired in ours.items()},
        ),
        "every run": compare(runs, ours),
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20)
    args = parser.parse_args()
    measured = measure(load(args.data_dir), args.repeats)
    for part in (measured, measured["every run"]):
        print(f"{part['n']} runs, {part['collapsed']} collapsed")
        rows = {
            **part["published"],
            **part["rule"]["ways"],
            "no errors": part["rule"]["without errors"],
        }
        for name, row in rows.items():
            print(f"  {name}: TPR {row['tpr']:.3f}, false alarms {row['fpr']:.3f}")
    print(keep("diagnosis/summary", measured))


if __name__ == "__main__":
    main()
