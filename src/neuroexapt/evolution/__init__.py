"""Evolve: populations of grown networks along the Pareto front."""

from neuroexapt.evolution.hypervolume import hypervolume, hypervolume_of
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.selection import Breeding, Selection, fronts, renewed

__all__ = [
    "Breeding",
    "Individual",
    "Selection",
    "fronts",
    "hypervolume",
    "hypervolume_of",
    "renewed",
]
