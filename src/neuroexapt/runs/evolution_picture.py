"""The picture of a front: what can be had for how much, and how it was grown; a page of its own.

The page needs nothing from elsewhere: plotly's program is part of it.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

from neuroexapt.runs.evolution_front import Evaluated, Front, FrontMember, lineages
from neuroexapt.runs.evolution_page import PAGE

INK, MUTED, GRID, PAPER = "#0f172a", "#475569", "#e2e8f0", "#ffffff"
PALE, STRONG, PICKED = "#94a3b8", "#1d4ed8", "#c2410c"
FONT = "system-ui, -apple-system, sans-serif"
LONGEST = 6
"""Ancestors that are named where the mouse is."""
LEAST_TICKS, MOST_TICKS = 4, 8
DIGITS = (
    (1,),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    tuple(digit / 2 for digit in range(2, 20)),
    tuple(digit / 10 for digit in range(10, 100)),
)
"""Of ticks on a logarithmic axis, from few to many."""
WORDS = {"error": "error", "macs": "MACs", "params": "parameters", "latency_ms": "latency"}


@dataclass(frozen=True)
class Axis:
    """What a network costs, as one panel shows it.

    Attributes:
        field: of a network's record.
        title: with its unit.
        head: of the table's column.
    """

    field: str
    title: str
    head: str


AXES = (
    Axis("macs", "multiply-accumulates for one sample", "MACs"),
    Axis("params", "parameters", "parameters"),
    Axis("latency_ms", "latency for one sample (ms)", "latency (ms)"),
)


def picture(front: Front) -> str:
    """The page, in HTML.

    Args:
        front: what an evolution came to.
    """
    from plotly.offline import get_plotlyjs  # takes a while, which no other command need pay

    axes = shown(front)
    heads = ("network", "validation", "test", *(axis.head for axis in axes), "epochs", "grown by")
    return Template(PAGE).substitute(
        title=escape(f"{front.model} on {front.data}"),
        told=escape(_told(front)),
        picked=escape(f"{front.picked}, {front.pick}"),
        plotly=get_plotlyjs(),
        panels="\n".join(
            f'<div class="panel"><div id="panel{n}"></div></div>' for n in range(len(axes))
        ),
        lineages=_script(lineages(front.evaluated)),
        figures=_script([figure(front, axis) for axis in axes]),
        head="".join(f"<th>{name}</th>" for name in heads),
        rows="\n".join(_row(front, member, axes) for member in front.members),
        note=escape(_note(front)),
    )


def shown(front: Front) -> list[Axis]:
    """What was measured of a front's networks."""
    return [axis for axis in AXES if getattr(front.members[0], axis.field) is not None]


def _script(value: Any) -> str:
    """JSON that is safe within a script of a page."""
    return json.dumps(value, ensure_ascii=False).replace("</", "<\\/")


def _told(front: Front) -> str:
    *most, last = [WORDS[name] for name in front.objectives]
    objectives = f"all of {', '.join(most)} and {last}" if most else last
    return (
        f"{len(front.evaluated):,} networks were evaluated in {front.generations:,} generations. "
        f"{len(front.members)} form the front: no other one does as well in {objectives}. "
        f"Seed {front.seed}, {front.train_flops:.3g} training FLOPs in all."
    )


def _note(front: Front) -> str:
    least = _percent(1 / front.num_validation, 2)
    zero = any(one.accuracy >= 1 for one in front.evaluated)
    return (
        f"Errors are those on {front.num_validation:,} validation images, of which one is {least}. "
        "Networks were chosen by them; the test images were read once, at the end. The front alone "
        f"was trained on, in {front.polished:,} rounds over which the learning rate fell."
        + (" No error at all is drawn as half an image." if zero else "")
        + (f" {front.warning}" if front.warning else "")
    )


def _row(front: Front, member: FrontMember, axes: Sequence[Axis]) -> str:
    picked = member.name == front.picked
    cells = [
        f"{member.name} ({front.pick})" if picked else member.name,
        _percent(member.val_accuracy),
        _percent(member.test_accuracy),
        *(_number(getattr(member, axis.field)) for axis in axes),
        f"{member.epochs:.3g}",
        "; ".join(member.grown_by) or "nothing: it is the seed network",
    ]
    row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
    return f'<tr class="picked">{row}</tr>' if picked else f"<tr>{row}</tr>"


def figure(front: Front, axis: Axis) -> dict[str, Any]:
    """One panel, as plotly takes it."""
    return {"data": _traces(front, axis), "layout": _layout(front, axis)}


def _traces(front: Front, axis: Axis) -> list[dict[str, Any]]:
    """The lineage first, which the page changes; then what is drawn over it."""
    by_name = {one.name: one for one in front.evaluated}
    names = {member.name for member in front.members}
    best = [by_name[member.name] for member in front.members]
    others = [one for one in front.evaluated if one.name not in names]
    picked = by_name[front.picked]
    path = [by_name[name] for name in front[front.picked].lineage]
    line = {"mode": "lines", "hoverinfo": "skip"}
    dots = {"mode": "markers", "hovertemplate": "%{text}<extra></extra>"}
    styles: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (_xy(front, axis, path), line | {"line": {"color": PICKED, "width": 2, "dash": "dot"}}),
        (
            _xy(front, axis, _steps(front, axis, best)),
            line | {"line": {"color": STRONG, "width": 1.5, "shape": "hv"}, "opacity": 0.45},
        ),
        (
            _points(front, axis, others),
            dots | {"marker": {"color": PALE, "size": 7, "opacity": 0.65}},
        ),
        (
            _points(front, axis, best),
            dots | {"marker": {"color": STRONG, "size": 10, "line": {"color": PAPER, "width": 1}}},
        ),
        (
            _points(front, axis, [picked]),
            dots
            | {"marker": {"color": PAPER, "size": 15, "line": {"color": PICKED, "width": 3.5}}},
        ),
    ]
    return [points | style for points, style in styles]


def _xy(front: Front, axis: Axis, networks: Sequence[Evaluated]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [getattr(one, axis.field) for one in networks],
        "y": [_error(front, one) for one in networks],
    }


def _points(front: Front, axis: Axis, networks: Sequence[Evaluated]) -> dict[str, Any]:
    paths = lineages(front.evaluated)
    return _xy(front, axis, networks) | {
        "text": [_hover(front, one, paths[one.name]) for one in networks],
        "customdata": [one.name for one in networks],
    }


def _error(front: Front, one: Evaluated) -> float:
    """Validation error in percent; none at all as half an image, since the axis is logarithmic."""
    return 100 * max(1 - one.accuracy, 0.5 / front.num_validation)


def _steps(front: Front, axis: Axis, best: Sequence[Evaluated]) -> list[Evaluated]:
    """Those that no other one beats in what a panel shows, the smallest first."""
    found: list[Evaluated] = []
    for one in sorted(best, key=lambda one: (getattr(one, axis.field), _error(front, one))):
        if not found or _error(front, one) < _error(front, found[-1]):
            found.append(one)
    return found


def _hover(front: Front, one: Evaluated, path: tuple[str, ...]) -> str:
    """What is told of a network where the mouse is."""
    origin = {"seed": "the first network"}.get(
        one.origin, f"{one.origin} of {' and '.join(one.parents)}"
    )
    lines = [f"<b>{one.name}</b>  generation {one.generation}, {origin}"]
    lines += [f"+ {escape(edit)}" for edit in one.edits]
    if one.accuracy_at_birth is not None and one.accuracy_of_parent is not None:
        lines.append(
            f"at birth {_percent(one.accuracy_at_birth)}, its parent "
            f"{_percent(one.accuracy_of_parent)} (validation)"
        )
    tested = [member.test_accuracy for member in front.members if member.name == one.name]
    told = [f"{_percent(one.accuracy)} (validation)", *(f"{_percent(a)} (test)" for a in tested)]
    lines.append(f"trained {', '.join(told)}")
    cost = f"{one.macs:,} MACs, {one.params:,} parameters"
    lines.append(cost if one.latency_ms is None else f"{cost}, {_number(one.latency_ms)} ms")
    if len(path) > 1:
        shown = path if len(path) <= LONGEST else (path[0], "…", *path[1 - LONGEST :])
        lines.append(f"lineage {' → '.join(shown)}")
    return "<br>".join(lines)


def _layout(front: Front, axis: Axis) -> dict[str, Any]:
    costs = [getattr(one, axis.field) for one in front.evaluated]
    errors = [_error(front, one) for one in front.evaluated]
    return {
        "showlegend": False,
        "autosize": True,
        "hovermode": "closest",
        "margin": {"l": 62, "r": 20, "t": 18, "b": 56},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "font": {"family": FONT, "size": 12, "color": INK},
        "hoverlabel": {
            "align": "left",
            "bgcolor": PAPER,
            "bordercolor": PALE,
            "font": {"color": INK, "size": 12, "family": FONT},
        },
        "xaxis": _scale(axis.title, costs),
        "yaxis": _scale("validation error (%)", errors),
    }


def _scale(title: str, values: Sequence[float]) -> dict[str, Any]:
    """A logarithmic axis with ticks at round numbers."""
    low, high = math.log10(min(values)), math.log10(max(values))
    room = 0.06 * (high - low) + 0.02
    marks = ticks(10 ** (low - room), 10 ** (high + room))
    return {
        "type": "log",
        "range": [low - room, high + room],
        "tickvals": marks,
        "ticktext": [_tick(value) for value in marks],
        "gridcolor": GRID,
        "linecolor": PALE,
        "showline": True,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": PALE,
        "title": {"text": title, "font": {"color": MUTED, "size": 13}, "standoff": 10},
    }


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, as few as tell enough.

    Example:
        >>> ticks(900, 80_000), ticks(11, 60)
        ([1000.0, 2000.0, 5000.0, 10000.0, 20000.0, 50000.0], [15.0, 20.0, 30.0, 50.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in DIGITS:
        marks = sorted({round(digit * 10.0**power, 9) for power in powers for digit in digits})
        found = [mark for mark in marks if low <= mark <= high]
        if len(found) >= LEAST_TICKS:
            break
    return found[:: math.ceil(len(found) / MOST_TICKS) or 1]


def _tick(value: float) -> str:
    """A tick's number, short.

    Example:
        >>> _tick(15000.0), _tick(2e6), _tick(0.5)
        ('15k', '2M', '0.5')
    """
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{prefix}"
    return f"{value:.3g}"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
