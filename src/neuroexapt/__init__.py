"""neuroexapt: neural networks that grow while they train."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neuroexapt.edits import (
        Activate,
        Attend,
        Change,
        Connect,
        Deepen,
        Edit,
        Prune,
        Settle,
        Split,
        Widen,
        carry_optimizer,
        dump_edits,
        load_edits,
        replay,
    )
    from neuroexapt.errors import (
        DataError,
        EditError,
        EvolutionError,
        LimitError,
        NeuroexaptError,
        PreservationError,
        RunError,
        SearchError,
        TraceError,
        TrainingError,
    )
    from neuroexapt.evolution import (
        DNMConfig,
        DNMTrainer,
        EvolutionConfig,
        MultiObjectiveArchitectureEvolution,
    )
    from neuroexapt.graph import ChannelGroup, Cost, LivingModel
    from neuroexapt.growth import (
        Budget,
        GradientGuidedConnectionGrowth,
        Grower,
        Growth,
        GrowthConfig,
        InformationEntropyNeuronDivision,
        Newborns,
        PerformanceBreakthroughSystem,
        Refusal,
    )
    from neuroexapt.runs import load_model
    from neuroexapt.search import (
        ASOSEDiagnostics,
        ImprovedASOSEFramework,
        OriginalASOSE,
        SearchConfig,
        aso_se,
        derive,
        nasbench201,
        searchable,
    )
    from neuroexapt.signals import Readings, sense
    from neuroexapt.training import History, Recipe


__all__ = [
    "ASOSEDiagnostics",
    "Activate",
    "Attend",
    "Budget",
    "Change",
    "ChannelGroup",
    "Connect",
    "Cost",
    "DNMConfig",
    "DNMTrainer",
    "DataError",
    "Deepen",
    "Edit",
    "EditError",
    "EvolutionConfig",
    "EvolutionError",
    "GradientGuidedConnectionGrowth",
    "Grower",
    "Growth",
    "GrowthConfig",
    "History",
    "ImprovedASOSEFramework",
    "InformationEntropyNeuronDivision",
    "LimitError",
    "LivingModel",
    "MultiObjectiveArchitectureEvolution",
    "NeuroexaptError",
    "Newborns",
    "OriginalASOSE",
    "PerformanceBreakthroughSystem",
    "PreservationError",
    "Prune",
    "Readings",
    "Recipe",
    "Refusal",
    "RunError",
    "SearchConfig",
    "SearchError",
    "Settle",
    "Split",
    "TraceError",
    "TrainingError",
    "Widen",
    "aso_se",
    "carry_optimizer",
    "derive",
    "dump_edits",
    "load_edits",
    "load_model",
    "nasbench201",
    "replay",
    "searchable",
    "sense",
]

if not TYPE_CHECKING:
    _PARTS = (
        "errors",
        "graph",
        "edits",
        "signals",
        "training",
        "growth",
        "search",
        "evolution",
        "runs",
    )

    def __getattr__(name: str) -> object:
        """Import what is asked for, when it is asked for.

        Importing torch takes seconds. The command line has to be in charge before they begin, so
        that Ctrl-C ends it without a traceback, and it can't import anything before this file.
        """
        if name in _PARTS:
            return import_module(f"neuroexapt.{name}")
        for part in _PARTS if name in __all__ else ():
            found = vars(import_module(f"neuroexapt.{part}"))
            if name in found:
                return globals().setdefault(name, found[name])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
