"""Write docs/families.md: what coupling makes of each test family.

python docs/families_table.py
"""

import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from families import FAMILIES  # noqa: E402 - found through the path above

from neuroexapt import ChannelGroup, LivingModel  # noqa: E402

INTRODUCTION = """# Model families

What the living graph makes of networks written the way people write them. A *group* is a set of
tensor dimensions that must change size together; a *growable* group can be split, widened and
pruned, exactly. Everything else is frozen, with the reason that `group.frozen` gives.
The models are in `tests/families.py`; every edit is tested on every growable group of each of them.

| family | groups | growable | frozen, and why |
| --- | ---: | ---: | --- |
"""


def reasons(groups: tuple[ChannelGroup, ...]) -> str:
    """Frozen groups, gathered by reason."""
    by_reason: dict[str, list[str]] = {}
    for group in groups:
        if group.frozen is not None:
            by_reason.setdefault(group.frozen, []).append(f"`{group.name}`")
    parts = []
    for reason, names in by_reason.items():
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        parts.append(f"{shown}: {reason}")
    return "; ".join(parts).replace("|", "\\|")


def table() -> str:
    """The whole page."""
    lines = []
    for family in FAMILIES:
        torch.manual_seed(0)
        groups = LivingModel(family.build(), family.example()).groups
        growable = sum(group.frozen is None for group in groups)
        lines.append(f"| {family.name} | {len(groups)} | {growable} | {reasons(groups)} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (ROOT / "docs" / "families.md").write_text(table())
