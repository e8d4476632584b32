"""NAS-Bench-201: cells written as text, and what they came to when they were trained."""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from neuroexapt.errors import DataError, SearchError
from neuroexapt.search.cells import edges
from neuroexapt.search.operations import NASBENCH201_OPERATIONS

EDGES = tuple(f"{start}->{end}" for start, end in edges(4))
GROWN = "edit"
"""What names of decisions in grown blocks begin with."""
COLUMNS = {
    "c10_val_12ep": "validation_12",
    "c10_test_200ep": "test",
    "c100_test_200ep": "test_cifar100",
    "in16_test_200ep": "test_imagenet16",
    "params_M": "params",
    "flops_M": "macs",
}


@dataclass(frozen=True)
class CellScores:
    """What the benchmark says of a cell; accuracies are shares, 0 to 1.

    Attributes:
        cell: as the benchmark writes it.
        validation_12: on CIFAR-10 after 12 epochs, one seed.
        test: on CIFAR-10 after 200 epochs, mean over seeds; likewise the two below.
        test_cifar100: on CIFAR-100.
        test_imagenet16: on ImageNet16-120.
        params: parameters of the benchmark's network.
        macs: multiply-accumulates of one image.
    """

    cell: str
    validation_12: float
    test: float
    test_cifar100: float
    test_imagenet16: float
    params: float
    macs: float


class NASBench201:
    """The benchmark's table.

    Args:
        path: a CSV file with the columns `arch` and those in `COLUMNS`; percent and millions.

    Raises:
        DataError: if it can't be read, or is no such table.
    """

    def __init__(self, path: Path) -> None:
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read ({error}); give NAS-Bench-201's CSV") from error
        rows = csv.DictReader(text.splitlines())
        missing = {"arch", *COLUMNS} - set(rows.fieldnames or ())
        if missing:
            raise DataError(
                f"{path} has no column {min(missing)!r}; NAS-Bench-201's table has arch, "
                f"{', '.join(COLUMNS)}"
            )
        try:
            self._scores = {row["arch"]: _scores(row) for row in rows}
        except (TypeError, ValueError) as error:
            raise DataError(f"{path} holds what is no number: {error}; bring back the table") from (
                error
            )

    def __len__(self) -> int:
        return len(self._scores)

    def __getitem__(self, cell: str) -> CellScores:
        """What a cell came to.

        Raises:
            SearchError: if the table holds no such cell.
        """
        if not isinstance(cell, str):
            raise SearchError(f"{cell!r} is no cell; give one as `write_cell` writes it")
        if cell not in self._scores:
            read_cell(cell)  # which says what is wrong with its form, if anything is
            raise SearchError(f"the table of {len(self)} cells has no row for {cell}")
        return self._scores[cell]

    def __iter__(self) -> Iterator[str]:
        """All cells, as they are written."""
        return iter(self._scores)


def write_cell(choices: Mapping[str, str]) -> str:
    """A cell in the benchmark's own writing.

    Args:
        choices: edge "0->1" -> operation, for all six. What a search decided on in blocks that it
            grew is left out: the benchmark knows no such cells.

    Raises:
        SearchError: if an edge is missing, or an operation isn't the benchmark's.

    Example:
        >>> write_cell({edge: "skip_connect" for edge in EDGES})[:40]
        '|skip_connect~0|+|skip_connect~0|skip_co'
    """
    wrong = set(EDGES) ^ {name for name in choices if not name.startswith(GROWN)}
    unknown = {choices.get(edge, "none") for edge in EDGES} - set(NASBENCH201_OPERATIONS)
    if wrong or unknown:
        raise SearchError(
            f"{min(wrong or unknown)!r} doesn't belong to a cell of NAS-Bench-201; its edges are "
            f"{', '.join(EDGES)} and its operations {', '.join(NASBENCH201_OPERATIONS)}"
        )
    nodes = (
        "|".join(f"{choices[f'{start}->{end}']}~{start}" for start in range(end))
        for end in range(1, 4)
    )
    return "+".join(f"|{node}|" for node in nodes)


def read_cell(cell: str) -> dict[str, str]:
    """Edge -> operation of a cell in the benchmark's writing.

    Raises:
        SearchError: if it isn't written so, or an operation is unknown.

    Example:
        >>> read_cell("|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|")["2->3"]
        'nor_conv_3x3'
    """
    found = {
        f"{start}->{end}": name
        for end, node in enumerate(cell.split("+"), start=1)
        for name, start in re.findall(r"\|([a-z0-9_]+)~(\d)", node)
    }
    if set(found) != set(EDGES) or write_cell(found) != cell:
        raise SearchError(
            f"{cell!r} is no cell of NAS-Bench-201; one is written as "
            f"{write_cell(dict.fromkeys(EDGES, 'skip_connect'))}"
        )
    return found


def without_idle(choices: Mapping[str, str]) -> dict[str, str]:
    """The same cell with "none" on each edge that has no part in its output.

    That is an edge which what goes into the cell doesn't reach (it would give no more than a
    constant), or from which nothing leads out. Without them a cell costs less and does the same.

    Args:
        choices: edge "0->1" -> operation, for all six.

    Example:
        >>> cell = dict.fromkeys(EDGES, "none") | {"0->3": "skip_connect", "0->1": "nor_conv_3x3"}
        >>> without_idle(cell)["0->1"]
        'none'
    """
    open_edges = [edge.split("->") for edge in EDGES if choices[edge] != "none"]
    reached, useful = {"0"}, {"3"}
    for start, end in sorted(open_edges):
        reached |= {end} if start in reached else set()
    for start, end in sorted(open_edges, reverse=True):
        useful |= {start} if end in useful else set()
    return {
        edge: choices[edge] if edge[0] in reached and edge[-1] in useful else "none"
        for edge in EDGES
    }


def _scores(row: Mapping[str, str]) -> CellScores:
    values = {field: float(row[column]) for column, field in COLUMNS.items()}
    for field in values:
        values[field] = values[field] * 1e6 if field in ("params", "macs") else values[field] / 100
    return CellScores(cell=row["arch"], **values)
