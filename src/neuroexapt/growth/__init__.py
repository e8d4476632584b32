"""Decide: proposals from readings, budgets, and the records of what followed."""

from neuroexapt.growth.breakthrough import PerformanceBreakthroughSystem
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.connections import GradientGuidedConnectionGrowth
from neuroexapt.growth.division import InformationEntropyNeuronDivision
from neuroexapt.growth.epochs import Loop
from neuroexapt.growth.grower import Grower
from neuroexapt.growth.newborns import Newborns, Nursery
from neuroexapt.growth.policies import POLICIES
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.record import Growth, Refusal

__all__ = [
    "POLICIES",
    "Budget",
    "GradientGuidedConnectionGrowth",
    "Grower",
    "Growth",
    "GrowthConfig",
    "InformationEntropyNeuronDivision",
    "Loop",
    "Newborns",
    "Nursery",
    "PerformanceBreakthroughSystem",
    "Proposal",
    "Refusal",
]
