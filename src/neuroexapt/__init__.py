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

__all__ = [
    "Change",
    "ChannelGroup",
    "Connect",
    "Cost",
    "DataError",
    "Deepen",
    "Edit",
    "EditError",
    "LivingModel",
    "NeuroexaptError",
    "Prune",
    "RunError",
    "Split",
    "TraceError",
    "TrainingError",
    "Widen",
    "carry_optimizer",
    "replay",
]
