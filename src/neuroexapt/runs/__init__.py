"""Runs on disk: what defines them, what happened, checkpoints, and going on from them."""

from neuroexapt.runs.config import GrowConfig, configure, read_settings
from neuroexapt.runs.events import read_events
from neuroexapt.runs.evolution_config import EvolutionRunConfig, configure_evolution
from neuroexapt.runs.evolution_front import Evaluated, Front, FrontMember
from neuroexapt.runs.evolution_reporter import (
    EvolutionBeginning,
    EvolutionReporter,
    SilentEvolution,
)
from neuroexapt.runs.evolution_run import (
    TrackedEvolution,
    read_front,
    reopen_evolution,
    start_evolution,
)
from neuroexapt.runs.evolution_summary import EvolutionSummary
from neuroexapt.runs.grown import load_model
from neuroexapt.runs.reporter import Beginning, Reporter, Silent
from neuroexapt.runs.run import Run, grow, read_summary, reopen, resume, start
from neuroexapt.runs.search_config import METHODS, SPACES, SearchRunConfig, configure_search
from neuroexapt.runs.search_reporter import SearchReporter, SilentSearch
from neuroexapt.runs.search_run import (
    TrackedSearch,
    read_search,
    read_search_summary,
    reopen_search,
    start_search,
)
from neuroexapt.runs.search_summary import SearchSummary
from neuroexapt.runs.summary import Summary

__all__ = [
    "METHODS",
    "SPACES",
    "Beginning",
    "Evaluated",
    "EvolutionBeginning",
    "EvolutionReporter",
    "EvolutionRunConfig",
    "EvolutionSummary",
    "Front",
    "FrontMember",
    "GrowConfig",
    "Reporter",
    "Run",
    "SearchReporter",
    "SearchRunConfig",
    "SearchSummary",
    "Silent",
    "SilentEvolution",
    "SilentSearch",
    "Summary",
    "TrackedEvolution",
    "TrackedSearch",
    "configure",
    "configure_evolution",
    "configure_search",
    "grow",
    "load_model",
    "read_events",
    "read_front",
    "read_search",
    "read_search_summary",
    "read_settings",
    "read_summary",
    "reopen",
    "reopen_evolution",
    "reopen_search",
    "resume",
    "start",
    "start_evolution",
    "start_search",
]
