"""Who is told how a run goes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neuroexapt.graph import Cost
from neuroexapt.growth import Growth, Refusal
from neuroexapt.runs.config import GrowConfig
from neuroexapt.runs.summary import Summary
from neuroexapt.training import EpochRecord


@dataclass(frozen=True)
class Beginning:
    """How a run begins, or goes on.

    Attributes:
        config: what defines it.
        folder: where it is kept.
        cost: of the model as it is now.
        epochs: trained so far.
    """

    config: GrowConfig
    folder: Path
    cost: Cost
    epochs: int


class Reporter(Protocol):
    """Is told of everything as it happens, on the thread that trains."""

    def begun(self, beginning: Beginning) -> None:
        """Training begins."""
        ...

    def stepped(self, progress: float) -> None:
        """A batch is about to be trained on; `progress` is the share of the run, 0 to 1."""
        ...

    def trained(self, record: EpochRecord) -> None:
        """An epoch is over."""
        ...

    def grew(self, growth: Growth) -> None:
        """The network has changed."""
        ...

    def refused(self, refusal: Refusal) -> None:
        """A change that was proposed isn't possible."""
        ...

    def growth_ended(self, reason: str) -> None:
        """It won't change any more."""
        ...

    def ended(self, summary: Summary, folder: Path) -> None:
        """The run is over, and its summary written."""
        ...


class Silent:
    """A reporter that tells nobody; also a base to tell only a little."""

    def begun(self, beginning: Beginning) -> None:
        """Keep silent."""

    def stepped(self, progress: float) -> None:
        """Keep silent."""

    def trained(self, record: EpochRecord) -> None:
        """Keep silent."""

    def grew(self, growth: Growth) -> None:
        """Keep silent."""

    def refused(self, refusal: Refusal) -> None:
        """Keep silent."""

    def growth_ended(self, reason: str) -> None:
        """Keep silent."""

    def ended(self, summary: Summary, folder: Path) -> None:
        """Keep silent."""
