"""Figures as words, and words into pages."""

import re
from pathlib import Path


def percent(mean: float, deviation: float) -> str:
    """Mean and standard deviation of a share, in percent."""
    return f"{100 * mean:.2f} ± {100 * deviation:.2f} %"


def between(page: Path, name: str, text: str) -> None:
    """Put a text between a page's markers, `<!-- name -->` and the next `<!-- end -->`."""
    before = page.read_text("utf-8")
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    after, count = re.subn(
        pattern, lambda match: f"{match[1]}{text}\n{match[2]}", before, flags=re.DOTALL
    )
    assert count == 1, f"{page} has no markers for {name}"
    page.write_text(after, "utf-8")
