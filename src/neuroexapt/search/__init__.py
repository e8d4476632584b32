"""Differentiable architecture search: spaces, mixed operations, ASO-SE and its diagnosis."""

from neuroexapt.search.alternatives import ALTERNATIVES
from neuroexapt.search.cells import Cell, aso_se, nasbench201
from neuroexapt.search.collapse import PUBLISHED, CollapseRule, Verdict, is_collapsed
from neuroexapt.search.config import (
    AlphaConfig,
    ExpansionConfig,
    MeasureConfig,
    SearchConfig,
    darts,
    improved,
    original,
)
from neuroexapt.search.decisions import (
    Decision,
    commit,
    decisions,
    explore,
    mix,
    probabilities,
    sample,
)
from neuroexapt.search.derive import Gap, derive, discretisation_gap
from neuroexapt.search.diagnosis import ASOSEDiagnostics, diagnose_history, diagnose_log
from neuroexapt.search.expand import Expansion
from neuroexapt.search.finding import CHECKS, HEADINGS, Diagnosis, Finding
from neuroexapt.search.frameworks import ImprovedASOSEFramework, OriginalASOSE
from neuroexapt.search.history import SearchHistory
from neuroexapt.search.logs import SearchRun, read_runs
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.mixed import Mixed
from neuroexapt.search.record import SearchEpoch
from neuroexapt.search.searchable import searchable
from neuroexapt.search.searching import Searching
from neuroexapt.search.table import CellScores, NASBench201
from neuroexapt.search.temperature import Annealing, Temperature

__all__ = [
    "ALTERNATIVES",
    "CHECKS",
    "HEADINGS",
    "PUBLISHED",
    "ASOSEDiagnostics",
    "AlphaConfig",
    "Annealing",
    "Cell",
    "CellScores",
    "CollapseRule",
    "Decision",
    "Diagnosis",
    "Expansion",
    "ExpansionConfig",
    "Finding",
    "Gap",
    "ImprovedASOSEFramework",
    "MeasureConfig",
    "Measurement",
    "Mixed",
    "NASBench201",
    "OriginalASOSE",
    "SearchConfig",
    "SearchEpoch",
    "SearchHistory",
    "SearchRun",
    "Searching",
    "Temperature",
    "Verdict",
    "aso_se",
    "commit",
    "darts",
    "decisions",
    "derive",
    "diagnose_history",
    "diagnose_log",
    "discretisation_gap",
    "explore",
    "improved",
    "is_collapsed",
    "mix",
    "nasbench201",
    "original",
    "probabilities",
    "read_runs",
    "sample",
    "searchable",
]
