"""Figures as words, and words into pages."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def spread_percent(told: Mapping[str, Any], prefix: str = "", sign: str = "") -> str:
    """Mean and standard deviation of a share, times 100; one measurement has no deviation.

    Args:
        told: with "mean", "std" and "n".
        prefix: of "mean" and "std".
        sign: "+" to have one in any case.
    """
    mean = f"{100 * told[f'{prefix}mean']:{sign}.2f}"
    return f"{mean} ± {100 * told[f'{prefix}std']:.2f}" if told["n"] > 1 else mean


def between(page: Path, name: str, text: str) -> None:
    """Put a text between a page's markers, `<!-- name -->` and the next `<!-- end -->`."""
    before = page.read_text("utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    after, count = re.subn(
        pattern, lambda match: f"{match[1]}{text}\n{match[2]}", before, flags=re.DOTALL
    )
    assert count == 1, f"{page} has no markers for {name}"
    page.write_text(after, "utf-8")
