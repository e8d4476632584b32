"""Who is told how an evolution goes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neuroexapt.evolution import GenerationRecord, MemberRecord
from neuroexapt.graph import Cost
from neuroexapt.runs.evolution_config import EvolutionRunConfig
from neuroexapt.runs.evolution_front import Front
from neuroexapt.runs.evolution_summary import EvolutionSummary


@dataclass(frozen=True)
class EvolutionBeginning:
    """How an evolution begins, or goes on.

    Attributes:
        config: what defines it.
        folder: where it is kept.
        cost: of the seed network.
        generations: that are through.
        flops: spent so far.
    """

    config: EvolutionRunConfig
    folder: Path
    cost: Cost
    generations: int
    flops: int


class EvolutionReporter(Protocol):
    """Is told of everything as it happens."""

    def begun(self, beginning: EvolutionBeginning) -> None:
        """It begins, or goes on."""
        ...

    def worked(self, task: str) -> None:
        """A network was made (`bear`), trained (`train`) or scored; maybe on another thread."""
        ...

    def evolved(self, record: GenerationRecord, front: Sequence[MemberRecord]) -> None:
        """A generation is through, and this is its front, the smallest error first."""
        ...

    def ended(self, summary: EvolutionSummary, front: Front, folder: Path) -> None:
        """It is over, and everything written."""
        ...


class SilentEvolution:
    """A reporter that tells nobody."""

    def begun(self, beginning: EvolutionBeginning) -> None:
        """Keep silent."""

    def worked(self, task: str) -> None:
        """Keep silent."""

    def evolved(self, record: GenerationRecord, front: Sequence[MemberRecord]) -> None:
        """Keep silent."""

    def ended(self, summary: EvolutionSummary, front: Front, folder: Path) -> None:
        """Keep silent."""
