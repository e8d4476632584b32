"""Measured values as the pages show them, and where they are kept."""

import json
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"


def result(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / name).read_text())
    return found


def cell(spread: dict[str, float], form: str) -> str:
    """Mean and standard deviation."""
    return f"{spread['mean']:{form}} ± {spread['std']:{form}}"


def percent(spread: dict[str, float]) -> str:
    """Mean and standard deviation in percent, or a single value."""
    return f"{spread_cell(spread, 100, 2)} %"


def spread_cell(spread: dict[str, float], factor: float, digits: int) -> str:
    """Mean and standard deviation, or a single value."""
    mean = f"{factor * spread['mean']:.{digits}f}"
    return f"{mean} ± {factor * spread['std']:.{digits}f}" if spread["n"] > 1 else mean


def spread_of(values: list[float]) -> str:
    """Mean and standard error in percent."""
    return f"{100 * fmean(values):.2f} ± {100 * stdev(values) / len(values) ** 0.5:.2f} %"
