"""Who is told how a search goes."""

from pathlib import Path
from typing import Protocol

from neuroexapt.runs.search_config import SearchRunConfig
from neuroexapt.runs.search_summary import SearchSummary
from neuroexapt.search import Expansion, SearchEpoch


class SearchReporter(Protocol):
    """Is told of everything as it happens, on the thread that trains."""

    def begun(self, config: SearchRunConfig, folder: Path, epochs: int) -> None:
        """It begins, or goes on after so many epochs."""
        ...

    def searched(self, record: SearchEpoch) -> None:
        """An epoch is over."""
        ...

    def expanded(self, expansion: Expansion) -> None:
        """The network has grown."""
        ...

    def ended(self, summary: SearchSummary, folder: Path) -> None:
        """It is over, and its summary written."""
        ...


class SilentSearch:
    """A reporter that tells nobody."""

    def begun(self, config: SearchRunConfig, folder: Path, epochs: int) -> None:
        """Keep silent."""

    def searched(self, record: SearchEpoch) -> None:
        """Keep silent."""

    def expanded(self, expansion: Expansion) -> None:
        """Keep silent."""

    def ended(self, summary: SearchSummary, folder: Path) -> None:
        """Keep silent."""
