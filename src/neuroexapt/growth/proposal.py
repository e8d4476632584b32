"""What might be changed, and what speaks for it."""

from dataclasses import dataclass
from typing import Any

from neuroexapt.edits import AnyEdit


@dataclass(frozen=True)
class Proposal:
    """An edit with the evidence for it.

    Attributes:
        edit: what would change.
        evidence: what was sensed that speaks for it, JSON-ready.
    """

    edit: AnyEdit
    evidence: dict[str, Any]
