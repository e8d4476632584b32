"""What might be changed, and what speaks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from neuroexapt.edits import AnyEdit, Edit
from neuroexapt.growth.evidence import Look


@dataclass(frozen=True)
class Proposal:
    """An edit with the evidence for it.

    Attributes:
        edit: what would change.
        evidence: what was sensed that speaks for it, JSON-ready.
        predicted: share of the held-out loss that it is expected to save, beyond what training on
            would; negative for what is expected to cost some. None where nothing was predicted.
        scale: by which the prior's prediction was multiplied for what followed in this run.
    """

    edit: AnyEdit
    evidence: dict[str, Any]
    predicted: float | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Ranking:
    """What a policy would do.

    Attributes:
        proposals: in the order in which they're to be tried.
        otherwise: why there is nothing to do, in words, for the case that nothing is done.
        flops: that ranking took (2 for each multiply-accumulate).
        look: what was seen of all edits together, if the policy measures that.
        exhausted: whether enough samples have shown that there is nothing to gain.
        paced: whether the configuration's `max_edits` and `pace` hold for it.
        refused: edits that were considered and don't fit the model, with the reason.
    """

    proposals: Sequence[Proposal]
    otherwise: str
    flops: int = 0
    look: Look | None = None
    exhausted: bool = False
    paced: bool = True
    refused: Sequence[tuple[Edit, str]] = ()
