"""Where growth put capacity, layer by layer, beside fixed widths."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from summing import Runs, figures, grouped
from writing import spread_percent

RESIZING = {"widen", "split", "prune"}
"""Kinds of edits that change a layer's width."""
GIVEN = ("whitening", "head")
"""Layers whose width the images or the classes give."""


def layers_table(runs: Runs) -> str:
    """One row a contender, the cheapest first, with the mean width of each of the seed's layers.

    Only where some grew unevenly, and others are of one width.

    Args:
        runs: any number of groups that share a budget.
    """
    return "\n\n".join(
        _of_group(f"{where}, {budget:g} PFLOP", contenders)
        for where, budgets in grouped(runs).items()
        for budget, contenders in sorted(budgets.items())
        if any(_is_uneven(own) for own in contenders.values())
        and any(name.startswith("static-w") for name in contenders)
    )


def _of_group(title: str, contenders: dict[str, Runs]) -> str:
    shown = {
        name: own
        for name, own in contenders.items()
        if _is_uneven(own) or name.startswith("static-")
    }
    names = _layers(next(iter(shown.values())))
    lines = [
        f"| {title} | validation | n | MACs | {' | '.join(names)} |",
        f"| --- | ---: | ---: | ---: |{' ---: |' * len(names)}",
    ]
    for name, own in sorted(shown.items(), key=lambda item: figures(item[1])["macs"]):
        item = figures(own)
        widths = " | ".join(f"{_width(own, layer):g}" for layer in names)
        lines.append(
            f"| {name} | {spread_percent(item, 'val_')} % | {item['n']} "
            f"| {item['macs'] / 1e6:.2f} M | {widths} |"
        )
    return "\n".join(lines)


def _is_uneven(runs: Runs) -> bool:
    """Whether they were widened, and not all layers alike."""
    return any(
        edit["edit"]["kind"] in RESIZING
        for run in runs
        for edit in run["edits"]
        if run["settings"]["growth"].get("policy") != "uniform"
    )


def _layers(runs: Runs) -> Sequence[str]:
    """The seed network's layers whose width is free."""
    found: list[dict[str, Any]] = runs[0]["layers"]
    return [
        layer["name"]
        for layer in found
        if not layer["name"].startswith("edit") and layer["name"] not in GIVEN
    ]


def _width(runs: Runs, name: str) -> float:
    return round(
        fmean(
            next(layer["out"] for layer in run["layers"] if layer["name"] == name) for run in runs
        ),
        1,
    )
