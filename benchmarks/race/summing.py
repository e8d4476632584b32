"""What the contenders came to over their seeds, from their result files."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Any

from contenders import SWEEP
from provenance import provenance, spread

GOAL = 0.94
"""Test accuracy that `to_94` is about."""
FIGURES = ("params", "macs", "pflop", "overhead_share", "peak_memory_mb", "seconds", "epochs")
Runs = list[dict[str, Any]]


def write_summary(folder: Path) -> dict[str, Any]:
    """Sum up a folder of result files into its summary.json.

    Raises:
        SystemExit: if it holds none.
    """
    summary = {"provenance": provenance(), **summed(read_all(folder))}
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    for data in (name for name in summary if name not in ("provenance", "to_94", "comparisons")):
        _tell(data, summary[data])
    return summary


def read_all(folder: Path) -> Runs:
    """All runs of a folder.

    Raises:
        SystemExit: if there are none.
    """
    paths = [path for path in sorted(folder.glob("*.json")) if path.name != "summary.json"]
    if not paths:
        raise SystemExit(f"{folder} holds no results; python benchmarks/race run makes them")
    return [json.loads(path.read_text()) for path in paths]


def course(run: dict[str, Any]) -> str:
    """What a run is compared within: its data set, and its regime unless that is the short one."""
    return run["data"] if run["regime"] in ("short", "quick") else f"{run['data']}-{run['regime']}"


def grouped(runs: Runs) -> dict[str, dict[float, dict[str, Runs]]]:
    """Course -> budget -> contender -> its runs."""
    found: dict[str, dict[float, dict[str, Runs]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for run in runs:
        found[course(run)][run["budget"]][run["contender"]].append(run)
    return found


def summed(runs: Runs) -> dict[str, Any]:
    """The summary, without where it comes from."""
    found: dict[str, Any] = {"comparisons": {}}
    for where, budgets in grouped(runs).items():
        found[where], found["comparisons"][where] = {}, {}
        for budget, contenders in sorted(budgets.items()):
            tuned = best_of_sweep(contenders)
            told = {name: figures(own) for name, own in sorted(contenders.items())}
            if tuned is not None:
                told[SWEEP] = figures(contenders[tuned]) | _swept(contenders, tuned)
            found[where][f"{budget:g}"] = told
            against = contenders | ({SWEEP: contenders[tuned]} if tuned is not None else {})
            found["comparisons"][where][f"{budget:g}"] = differences(against)
    return found | {"to_94": to_goal(found.get("cifar10", {}))}


def figures(runs: Runs) -> dict[str, Any]:
    """Mean and deviation of the test accuracy, and means of everything else."""
    told = spread([run["test_accuracy"] for run in runs])
    validation = spread([run["val_accuracy"] for run in runs])
    return (
        {key: told[key] for key in ("mean", "std", "n")}
        | {"val_mean": validation["mean"], "val_std": validation["std"]}
        | {key: fmean(run[key] for run in runs) for key in FIGURES}
    )


def sweep_of(contenders: dict[str, Runs]) -> dict[str, Runs]:
    """Runs of one width each, the seed network's among them."""
    return {
        name: runs
        for name, runs in contenders.items()
        if name.startswith("static-w") or (name == "static-seed" and len(contenders) > 1)
    }


def best_of_sweep(contenders: dict[str, Runs]) -> str | None:
    """The width with the best validation accuracy, mean over its seeds; None for fewer than two."""
    swept = sweep_of(contenders)
    if len(swept) < 2:
        return None
    return max(swept, key=lambda name: fmean(run["val_accuracy"] for run in swept[name]))


def _swept(contenders: dict[str, Runs], tuned: str) -> dict[str, Any]:
    """The width that was chosen, and what a whole sweep takes with one seed."""
    swept = sweep_of(contenders)
    return {
        "width": contenders[tuned][0]["width"],
        "sweep_pflop": sum(fmean(run["pflop"] for run in runs) for runs in swept.values()),
        "sweep": {
            str(runs[0]["width"]): fmean(run["val_accuracy"] for run in runs)
            for runs in sorted(swept.values(), key=lambda runs: runs[0]["width"])
        },
    }


def differences(contenders: dict[str, Runs]) -> dict[str, Any]:
    """By how much dnm's test accuracy is above each other one's, over the seeds of both."""
    own = {run["seed"]: run["test_accuracy"] for run in contenders.get("dnm", [])}
    found = {}
    for name, runs in contenders.items():
        pairs = [own[run["seed"]] - run["test_accuracy"] for run in runs if run["seed"] in own]
        if name != "dnm" and pairs:
            told = spread(pairs)
            found[name] = {key: told[key] for key in ("mean", "std", "n")}
    return found


def to_goal(budgets: dict[str, Any]) -> dict[str, Any]:
    """Contender -> the least compute at which two seeds or more reach the goal on average."""
    found: dict[str, Any] = {}
    for contenders in budgets.values():  # from the smallest
        for name, item in contenders.items():
            if item["mean"] >= GOAL and item["n"] > 1 and name not in found:
                found[name] = {"pflop": item["pflop"], "accuracy": item["mean"], "n": item["n"]}
    return found


def _tell(where: str, budgets: dict[str, Any]) -> None:
    for budget, contenders in budgets.items():
        print(f"{where}, {budget} PFLOP")
        for name, item in sorted(contenders.items(), key=lambda pair: -pair[1]["mean"]):
            print(
                f"  {name:20} {item['mean']:.4f} +- {item['std']:.4f} n={item['n']} "
                f"val {item['val_mean']:.4f} {item['params']:,.0f} parameters"
            )
