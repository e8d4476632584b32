"""Evolve: populations of grown networks along the Pareto front."""

from neuroexapt.evolution.choices import Choices
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.crossover import transplant
from neuroexapt.evolution.evolution import MultiObjectiveArchitectureEvolution
from neuroexapt.evolution.executors import (
    Executor,
    InProcess,
    ProcessPool,
    RayExecutor,
    Shared,
)
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.hypervolume import hypervolume, hypervolume_of
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.objectives import Limits, Objective
from neuroexapt.evolution.pick import Choice, pick
from neuroexapt.evolution.record import GenerationRecord, MemberRecord
from neuroexapt.evolution.selection import Breeding, Selection, fittest, fronts, renewed
from neuroexapt.evolution.structure import structure_key
from neuroexapt.evolution.succession import Succession
from neuroexapt.evolution.trainer import DNMConfig, DNMTrainer

__all__ = [
    "Breeding",
    "Choice",
    "Choices",
    "DNMConfig",
    "DNMTrainer",
    "EvolutionConfig",
    "Executor",
    "GenerationRecord",
    "Genome",
    "InProcess",
    "Individual",
    "Limits",
    "MemberRecord",
    "MultiObjectiveArchitectureEvolution",
    "Objective",
    "ProcessPool",
    "RayExecutor",
    "Selection",
    "Shared",
    "Succession",
    "fittest",
    "fronts",
    "hypervolume",
    "hypervolume_of",
    "pick",
    "renewed",
    "structure_key",
    "transplant",
]
