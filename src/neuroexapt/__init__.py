"""neuroexapt: neural networks that grow while they train."""

from neuroexapt.edits import (
    Change,
    Connect,
    Deepen,
    Edit,
    Prune,
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
    NeuroexaptError,
    RunError,
    TraceError,
    TrainingError,
)
from neuroexapt.graph import ChannelGroup, Cost, LivingModel
from neuroexapt.growth import (
    Budget,
    DNMConfig,
    DNMTrainer,
    GradientGuidedConnectionGrowth,
    Grower,
    Growth,
    GrowthConfig,
    InformationEntropyNeuronDivision,
)
from neuroexapt.signals import Readings, sense
from neuroexapt.training import History, Recipe

__all__ = [
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
    "GradientGuidedConnectionGrowth",
    "Grower",
    "Growth",
    "GrowthConfig",
    "History",
    "InformationEntropyNeuronDivision",
    "LivingModel",
    "NeuroexaptError",
    "Prune",
    "Readings",
    "Recipe",
    "RunError",
    "Split",
    "TraceError",
    "TrainingError",
    "Widen",
    "carry_optimizer",
    "dump_edits",
    "load_edits",
    "replay",
    "sense",
]
