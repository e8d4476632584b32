"""The picture of a front: a page of its own that shows every network, and needs nothing else."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuroexapt.evolution import Limits
from neuroexapt.runs import Evaluated, Front, FrontMember
from neuroexapt.runs.evolution_picture import figure, picture, shown, ticks

NUM_VALIDATION = 100


def seen(name: str, accuracy: float, macs: int, params: int, **told: Any) -> Evaluated:
    given: dict[str, Any] = {
        "generation": int(name[0]),
        "origin": "mutation",
        "parents": ("0.0",),
        "edits": (f"widen fc1 by {name[-1]}",),
        "accuracy_of_parent": 0.5,
        "accuracy_at_birth": 0.5,
        "latency_ms": None,
    }
    return Evaluated(name=name, accuracy=accuracy, macs=macs, params=params, **given | told)


SEEN = (
    seen("0.0", 0.5, 1000, 100, origin="seed", parents=(), edits=(), accuracy_at_birth=None),
    seen("1.1", 0.8, 2000, 150),
    seen("1.2", 0.4, 3000, 400),
    seen("2.1", 1.0, 9000, 900, parents=("1.1", "1.2"), origin="crossover", edits=("<b> & co",)),
    seen("2.2", 0.7, 2500, 90, parents=("1.1",)),
)


def member(name: str, lineage: tuple[str, ...]) -> FrontMember:
    of = next(one for one in SEEN if one.name == name)
    return FrontMember(
        name=name,
        lineage=lineage,
        edits=(),
        grown_by=of.edits,
        epochs=3.0,
        val_accuracy=of.accuracy,
        test_accuracy=of.accuracy - 0.015,
        test_loss=1.0,
        macs=of.macs,
        params=of.params,
        latency_ms=of.latency_ms,
        excess=0.0,
        weights=f"models/{name}.safetensors",
    )


FRONT = Front(
    data="digits",
    model="mlp",
    seed=3,
    objectives=("error", "macs", "params"),
    limits=Limits(),
    pick="knee",
    picked="1.1",
    num_validation=NUM_VALIDATION,
    generations=3,
    polished=2,
    train_flops=12_300_000,
    members=(
        member("2.1", ("0.0", "1.1", "2.1")),
        member("1.1", ("0.0", "1.1")),
        member("2.2", ("0.0", "1.1", "2.2")),
        member("0.0", ("0.0",)),
    ),
    evaluated=SEEN,
)


@pytest.fixture(scope="module")
def page() -> str:
    return picture(FRONT)


@pytest.mark.parametrize("axis", shown(FRONT))
def test_every_network_is_shown_where_it_is(axis: Any) -> None:
    traces = figure(FRONT, axis)["data"]
    places = {
        name: (x, y)
        for trace in traces
        for name, x, y in zip(trace.get("customdata", ()), trace["x"], trace["y"], strict=False)
    }
    assert places.keys() == {one.name for one in SEEN}
    for one in SEEN:
        x, y = places[one.name]
        assert x == getattr(one, axis.field)
        # No error at all has no place on a logarithmic axis.
        assert y == pytest.approx(0.5 if one.accuracy == 1 else 100 * (1 - one.accuracy))


@pytest.mark.parametrize(("axis", "steps"), [(0, [1000, 2000, 9000]), (1, [90, 150, 900])])
def test_steps_are_what_no_other_network_beats_in_a_panel(axis: int, steps: list[int]) -> None:
    """By hand: by MACs 2.2 is dearer and worse than 1.1; by parameters it is the cheapest."""
    traces = figure(FRONT, shown(FRONT)[axis])["data"]
    (line,) = [trace for trace in traces if trace.get("line", {}).get("shape") == "hv"]
    assert line["x"] == steps


def test_the_lineage_of_the_pick_is_drawn() -> None:
    line = figure(FRONT, shown(FRONT)[0])["data"][0]
    assert line["x"] == [1000, 2000]


def test_figures_are_plotlys() -> None:
    for axis in shown(FRONT):
        go.Figure(figure(FRONT, axis))  # refuses what it doesn't know


def test_hover_tells_parents_edits_and_accuracies() -> None:
    traces = figure(FRONT, shown(FRONT)[0])["data"]
    told = {
        name: text
        for trace in traces
        for name, text in zip(trace.get("customdata", ()), trace.get("text", ()), strict=True)
    }
    assert told["2.1"].split("<br>") == [
        "<b>2.1</b>  generation 2, crossover of 1.1 and 1.2",
        "+ &lt;b&gt; &amp; co",
        "at birth 50.0 %, its parent 50.0 % (validation)",
        "trained 100.0 % (validation), 98.5 % (test)",
        "9,000 MACs, 900 parameters",
        "lineage 0.0 → 1.1 → 2.1",
    ]
    assert told["1.2"].count("(test)") == 0
    assert told["0.0"].startswith("<b>0.0</b>  generation 0, the first network<br>trained 50.0 %")


def test_latency_has_a_panel_where_it_was_measured() -> None:
    timed = [one.model_copy(update={"latency_ms": 1.0 + one.macs / 1000}) for one in SEEN]
    members = [
        one.model_copy(update={"latency_ms": 1.0 + one.macs / 1000}) for one in FRONT.members
    ]
    front = FRONT.model_copy(update={"evaluated": tuple(timed), "members": tuple(members)})
    assert [axis.field for axis in shown(FRONT)] == ["macs", "params"]
    assert [axis.field for axis in shown(front)] == ["macs", "params", "latency_ms"]
    assert ", 3 ms<br>" in figure(front, shown(front)[2])["data"][4]["text"][0]


class _Page(HTMLParser):
    """What a page loads, and the rows of its table."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.rows: list[list[str]] = []
        self._in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loaded += [str(value) for name, value in attrs if name in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")


def test_page_loads_nothing(page: str) -> None:
    found = _Page()
    found.feed(page)
    assert found.loaded == []
    assert "Plotly.newPlot(" in page
    assert len(page) > 1_000_000  # plotly's program is part of it


def test_page_has_the_front_as_a_table(page: str) -> None:
    found = _Page()
    found.feed(page)
    head, *rows = [[cell.strip() for cell in row] for row in found.rows]
    assert head[:5] == ["network", "validation", "test", "MACs", "parameters"]
    assert [row[0] for row in rows] == ["2.1", "1.1 (knee)", "2.2", "0.0"]
    assert rows[0][1:6] == ["100.0 %", "98.5 %", "9,000", "900", "3"]
    assert rows[0][6] == "<b> & co"
    assert rows[3][6] == "nothing: it is the seed network"


def test_page_holds_lineages_for_clicks(page: str) -> None:
    (written,) = re.findall(r"const lineages = (\{.*?\});", page)
    assert json.loads(written)["2.2"] == ["0.0", "1.1", "2.2"]


def test_names_cannot_end_the_script() -> None:
    front = FRONT.model_copy(update={"data": "</script><b>"})
    evil = SEEN[1].model_copy(update={"edits": ("</script>",)})
    page = picture(front.model_copy(update={"evaluated": (SEEN[0], evil, *SEEN[2:])}))
    assert page.count("</script>") == picture(FRONT).count("</script>")
    assert "&lt;/script&gt;&lt;b&gt;" in page


@given(st.floats(1e-3, 1e9), st.floats(1.11, 1e6))
def test_axes_have_a_few_ticks_within(low: float, factor: float) -> None:
    found = ticks(low, low * factor)
    assert found == sorted(set(found))
    assert all(low <= tick <= low * factor for tick in found)
    assert 1 <= len(found) <= 8
