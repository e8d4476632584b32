"""Pictures and tables of the race, from its result files alone."""

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from contenders import SWEEP
from layering import layers_table
from readme import write_readmes
from summing import Runs, best_of_sweep, figures, grouped, read_all, summed, sweep_of
from writing import between, spread_percent

INK = "#24292f"
COLOURS: Mapping[str, str] = {
    "dnm": "#0b7a5c",
    "static-tuned": "#c2571a",
    "static-final": "#6b4fa0",
    "static-seed": "#9aa3ad",
    "random-growth": "#4f9dd1",
    "aso-se-improved": "#b5387a",
    "aso-se-original": "#e0a3c4",
    "gromo": "#8a7a1f",
}
"""Contenders in the pictures, in the legend's order."""
VARIANT: Mapping[str, Any] = {"facecolor": "white", "edgecolor": COLOURS["dnm"]}
"""How variants of dnm look there."""
HEADINGS = (
    "contender",
    "test accuracy",
    "validation",
    "n",
    "dnm is above it by",
    "parameters",
    "MACs",
    "PFLOP",
    "sensing, editing, search",
    "peak memory",
)
TUNING = "tuning"
"""Folder of the runs by which settings were chosen; their test accuracy plays no part."""
TICKS = (10, 20, 40, 60, 70, 80, 85, 88, 90, 92, 94, 96)
"""Accuracies named beside the pictures, %."""
POINTS = 60
"""At which curves are averaged over seeds."""


def draw(folder: Path, docs: Path) -> None:
    """Draw all pictures and write all tables, the READMEs' among them.

    Args:
        folder: of result files.
        docs: where `race.md` and `images` are.
    """
    runs = [run for run in read_all(folder) if run["regime"] != "quick"]
    page = docs / "race.md"
    for where, raced in grouped(runs).items():
        budgets = {budget: all_of for budget, all_of in raced.items() if len(chosen(all_of)) > 1}
        if not budgets:
            continue
        name = "race" if where == "cifar10" else f"race-{where}"
        _curves(budgets, docs / "images" / f"{name}.svg")
        if any(len(sweep_of(contenders)) > 1 for contenders in budgets.values()):
            _pareto(budgets, docs / "images" / f"{name}-pareto.svg")
    between(page, "results", _tables(runs, page.parent))
    write_readmes(runs, docs.parent)
    if (folder / TUNING).exists():
        tuned = read_all(folder / TUNING)
        between(page, "tuning", tuning_table(tuned))
        between(page, "layers", layers_table(tuned))


def chosen(contenders: dict[str, Runs]) -> dict[str, Runs]:
    """The contenders of the pictures, the best of the sweep under its name."""
    tuned = best_of_sweep(contenders)
    best = {} if tuned is None else {SWEEP: contenders[tuned]}
    return {name: runs for name in COLOURS if (runs := (contenders | best).get(name))}


def variants_of_dnm(contenders: dict[str, Runs]) -> list[Runs]:
    """Runs of each variant that was raced."""
    return [runs for name, runs in contenders.items() if name.startswith("dnm@")]


def averaged(runs: Runs) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute, and mean and deviation of the accuracy there, over seeds.

    Only where every seed has a point before and after.
    """
    curves = [np.array([point[:2] for point in run["curve"]]) for run in runs]
    first = max(curve[0, 0] for curve in curves)
    last = min(curve[-1, 0] for curve in curves)
    at = np.geomspace(first, last, POINTS) if last > first else np.array([last])
    values = np.array([np.interp(at, curve[:, 0], curve[:, 1]) for curve in curves])
    return at, values.mean(0), values.std(0, ddof=1) if len(runs) > 1 else np.zeros(len(at))


def _curves(budgets: dict[float, dict[str, Runs]], path: Path) -> None:
    """Validation accuracy over compute, a panel a budget, a line a contender."""
    figure, panels = _panels(len(budgets), path.stem)
    for axes, (budget, contenders) in zip(panels, sorted(budgets.items()), strict=True):
        for name, runs in chosen(contenders).items():
            at, mean, deviation = averaged(runs)
            axes.plot(at, 100 * mean, color=COLOURS[name], linewidth=1.5)
            low, high = 100 * (mean - deviation), 100 * (mean + deviation)
            axes.fill_between(at, low, high, color=COLOURS[name], alpha=0.15, linewidth=0)
            test = 100 * fmean(run["test_accuracy"] for run in runs)
            label = f"{name}: test {test:.1f} %, n={len(runs)}"
            axes.plot([], [], color=COLOURS[name], label=label)
        axes.set(xlabel="training PFLOP, all included", ylabel="validation accuracy, %")
        axes.set_title(f"{budget:g} PFLOP", color=INK, fontsize=10)
        _by_errors(axes)
        _legend(axes)
    _save(figure, path)


def _pareto(budgets: dict[float, dict[str, Runs]], path: Path) -> None:
    """Test accuracy over inference's multiply-accumulates and over parameters."""
    figure, panels = _panels(2, path.stem)
    for axes, (figure_name, label) in zip(
        panels, (("macs", "multiply-accumulates a picture"), ("params", "parameters")), strict=True
    ):
        for contenders in budgets.values():
            swept = [_point(runs, figure_name) for runs in sweep_of(contenders).values()]
            if swept:
                axes.plot(*zip(*sorted(swept), strict=True), color="#d8dde2", zorder=0)
            for name, runs in chosen(contenders).items():
                # Where two are the same, the one below is larger and is seen, too.
                place = list(COLOURS).index(name)
                size = 14 + 12 * place
                at = _point(runs, figure_name)
                axes.scatter(*at, color=COLOURS[name], s=size, zorder=len(COLOURS) - place)
            for runs in variants_of_dnm(contenders):
                axes.scatter(*_point(runs, figure_name), s=14, zorder=9, **VARIANT)
        raced = {name for contenders in budgets.values() for name in chosen(contenders)}
        for name in (name for name in COLOURS if name in raced):
            axes.scatter([], [], color=COLOURS[name], s=18, label=name)
        if any(variants_of_dnm(contenders) for contenders in budgets.values()):
            axes.scatter([], [], s=18, label="dnm from another seed network", **VARIANT)
        axes.set(xscale="log", xlabel=label, ylabel="test accuracy, %")
        _by_errors(axes)
    _legend(panels[0])
    _save(figure, path)


def _point(runs: Runs, figure_name: str) -> tuple[float, float]:
    return (
        fmean(run[figure_name] for run in runs),
        100 * fmean(run["test_accuracy"] for run in runs),
    )


def _panels(count: int, salt: str) -> tuple[Any, list[Any]]:
    mpl.rcParams |= {"svg.hashsalt": salt, "font.size": 9, "svg.fonttype": "none"}
    figure, panels = plt.subplots(
        1, count, figsize=(4.6 * count, 3.8), layout="constrained", squeeze=False
    )
    for axes in panels[0]:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK)
    return figure, list(panels[0])


def _by_errors(axes: Any) -> None:
    """Space accuracies by the logarithm of the error, so that the best ones don't lie together."""
    ticks = [tick for tick in TICKS if axes.get_ylim()[0] <= tick <= axes.get_ylim()[1]]

    def up(accuracy: np.ndarray) -> np.ndarray:
        return -np.log(np.clip(100 - accuracy, 0.1, None))

    def down(place: np.ndarray) -> np.ndarray:
        return 100 - np.exp(-place)

    axes.set_yscale("function", functions=(up, down))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])


def _legend(axes: Any) -> None:
    """Below the picture, where no line is in its way."""
    axes.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def _tables(runs: Runs, docs: Path) -> str:
    summary = summed(runs)
    parts: list[str] = []
    for where in grouped(runs):
        name = "race" if where == "cifar10" else f"race-{where}"
        for kind, told in (("", "Accuracy over compute"), ("-pareto", "Accuracy over size")):
            if (docs / "images" / f"{name}{kind}.svg").exists():
                parts.append(f"![{told}, {where}](images/{name}{kind}.svg)")
        for budget, contenders in summary[where].items():
            parts.append(f"### {where}, {budget} PFLOP")
            parts.append(table(contenders, summary["comparisons"][where][budget]))
            if SWEEP in contenders:
                parts.append(_accounted(contenders))
    reached = "; ".join(
        f"{name} {100 * item['accuracy']:.2f} % for {item['pflop']:.3g} PFLOP (n = {item['n']})"
        for name, item in summary["to_94"].items()
    )
    parts.append(f"94 % on CIFAR-10's test images: {reached or 'by none of these runs'}.")
    return "\n\n".join(parts)


def table(contenders: dict[str, Any], differences: dict[str, Any]) -> str:
    """One row a contender, the best first; variants of dnm and single widths after the others."""
    lines = [
        f"| {' | '.join(HEADINGS)} |",
        f"| --- |{' ---: |' * (len(HEADINGS) - 1)}",
    ]
    ranked = sorted(contenders.items(), key=lambda pair: (pair[0] not in COLOURS, -pair[1]["mean"]))
    for name, item in ranked:
        above = differences.get(name)
        told = f" (width {item['width']})" if "width" in item else ""
        lines.append(
            f"| {name}{told} | {spread_percent(item)} % "
            f"| {spread_percent(item, 'val_')} % | {item['n']} "
            f"| {spread_percent(above, sign='+') if above else ''} | {item['params'] / 1e3:,.1f} k "
            f"| {item['macs'] / 1e6:.2f} M | {item['pflop']:.3g} "
            f"| {item['overhead_share']:.1%} | {item['peak_memory_mb']:,.0f} MB |"
        )
    return "\n".join(lines)


def tuning_table(runs: Runs) -> str:
    """One row for each budget and contender, by validation accuracy, the best first."""
    lines = [
        "| PFLOP | variant | seed network | validation | n | on | MACs | edits | overhead |",
        "| ---: | --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
    ]
    for budgets in grouped(runs).values():
        for budget, contenders in sorted(budgets.items()):
            told = [(figures(own), name, own) for name, own in contenders.items()]
            for item, name, own in sorted(told, key=lambda row: -row[0]["val_mean"]):
                lines.append(
                    f"| {budget:g} | {name} | {_seed_network(own[0])} "
                    f"| {spread_percent(item, 'val_')} % | {item['n']} "
                    f"| {', '.join(sorted({run['provenance']['device'] for run in own}))} "
                    f"| {item['macs'] / 1e6:.2f} M | {fmean(len(run['edits']) for run in own):.1f} "
                    f"| {item['overhead_share']:.1%} |"
                )
    return "\n".join(lines)


def _seed_network(run: dict[str, Any]) -> str:
    name = run["settings"]["model"].partition(":")[2]
    return "`dnm`'s, as it ended" if name.endswith(".json") else name


def _accounted(contenders: dict[str, Any]) -> str:
    """All compute counted: one run of dnm against the sweep that found the best width."""
    tuned, dnm = contenders[SWEEP], contenders.get("dnm")
    swept = ", ".join(f"{w}: {100 * value:.2f} %" for w, value in tuned["sweep"].items())
    told = (
        f"The sweep (width: validation accuracy): {swept}. "
        f"With one seed it takes {tuned['sweep_pflop']:.3g} PFLOP"
    )
    if dnm is None:
        return f"{told}."
    share = dnm["pflop"] / tuned["sweep_pflop"]
    return f"{told}, one run of dnm {share:.0%} of that."
