"""NAS-Bench-201's table and the way that it writes cells."""

from pathlib import Path
from random import Random

import pytest

from neuroexapt.errors import DataError, SearchError
from neuroexapt.search.operations import NASBENCH201_OPERATIONS
from neuroexapt.search.table import (
    COLUMNS,
    EDGES,
    NASBench201,
    read_cell,
    without_idle,
    write_cell,
)

CELL = "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|nor_conv_3x3~1|skip_connect~2|"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    header = ",".join(["index", "arch", *COLUMNS])
    values = "63.4,85.8633,52.9,26.6,0.129306,15.64737"
    found = tmp_path / "table.csv"
    found.write_text(f"{header}\n0,{CELL},{values}\n")
    return found


def test_cell_is_read_edge_by_edge():
    assert read_cell(CELL) == {
        "0->1": "avg_pool_3x3",
        "0->2": "nor_conv_1x1",
        "1->2": "skip_connect",
        "0->3": "none",
        "1->3": "nor_conv_3x3",
        "2->3": "skip_connect",
    }


@pytest.mark.parametrize("operation", NASBENCH201_OPERATIONS)
def test_writing_is_the_inverse_of_reading(operation):
    choices = read_cell(CELL) | {"0->3": operation}
    assert read_cell(write_cell(choices)) == choices
    assert write_cell(read_cell(CELL)) == CELL


def test_table_gives_shares_and_whole_numbers(path):
    scores = NASBench201(path)[CELL]
    assert scores.test == pytest.approx(0.858633)
    assert scores.params == pytest.approx(129_306)
    assert scores.macs == pytest.approx(15_647_370)
    assert list(NASBench201(path)) == [CELL]


def test_cell_without_a_row_is_named(path):
    other = write_cell(dict.fromkeys(EDGES, "none"))
    with pytest.raises(SearchError, match="the table of 1 cells has no row for"):
        NASBench201(path)[other]


@pytest.mark.parametrize(
    "cell", ["", "|none~0|", CELL[:-1], CELL.replace("~1", "~2"), CELL.replace("none", "sep_conv")]
)
def test_what_is_no_cell_is_said_to_be_none(path, cell):
    with pytest.raises(SearchError, match="cell of NAS-Bench-201"):
        NASBench201(path)[cell]


def test_missing_and_unknown_edges_are_named():
    with pytest.raises(SearchError, match="'2->3' doesn't belong to a cell"):
        write_cell(dict.fromkeys(EDGES[:-1], "none"))
    with pytest.raises(SearchError, match="'conv_9x9' doesn't belong"):
        write_cell(dict.fromkeys(EDGES, "conv_9x9"))
    with pytest.raises(SearchError, match="'3->4' doesn't belong"):
        write_cell(dict.fromkeys([*EDGES, "3->4"], "none"))


def test_what_was_grown_beside_a_cell_is_left_out():
    cell = dict.fromkeys(EDGES, "skip_connect")
    assert write_cell(cell | {"edit0.first": "present"}) == write_cell(cell)


def test_what_is_no_string_is_no_cell(path):
    with pytest.raises(SearchError, match="3 is no cell"):
        NASBench201(path)[3]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("arch,b\nx,1\n", "has no column 'c100_test_200ep'"),
        (",".join(["arch", *COLUMNS]) + "\nx,1,2,three,4,5,6\n", "no number"),
        (",".join(["arch", *COLUMNS]) + "\nx,1,2\n", "no number"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, text, told):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        NASBench201(path)


def test_missing_table_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv cannot be read"):
        NASBench201(tmp_path / "none.csv")


def without(cell: str) -> str:
    return write_cell(without_idle(read_cell(cell)))


def test_edges_that_have_no_part_in_the_output_become_none():
    conv = "nor_conv_3x3"
    fed = f"|{conv}~0|+|{conv}~0|{conv}~1|+|{conv}~0|none~1|none~2|"
    assert without(fed) == "|none~0|+|none~0|none~1|+|nor_conv_3x3~0|none~1|none~2|"
    led = f"|none~0|+|{conv}~0|{conv}~1|+|none~0|{conv}~1|{conv}~2|"
    assert without(led) == "|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|nor_conv_3x3~2|"
    nothing = f"|{conv}~0|+|none~0|none~1|+|none~0|none~1|{conv}~2|"
    assert without(nothing) == write_cell(dict.fromkeys(EDGES, "none"))
    assert without(CELL) == CELL


@pytest.mark.parametrize("seed", range(8))
def test_edges_stay_just_if_a_signal_passes_them(seed):
    """Follow every path from input to output, one by one."""
    random = Random(seed)
    cell = {edge: random.choice(["none", "skip_connect", "nor_conv_1x1"]) for edge in EDGES}
    paths = [["0->3"], ["0->1", "1->3"], ["0->2", "2->3"], ["0->1", "1->2", "2->3"]]
    open_paths = [path for path in paths if all(cell[edge] != "none" for edge in path)]
    kept = {edge for path in open_paths for edge in path}
    assert without_idle(cell) == {e: cell[e] if e in kept else "none" for e in EDGES}
