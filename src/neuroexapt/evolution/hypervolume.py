"""How much of the space of objectives a front dominates."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from pymoo.indicators.hv import HV

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.selection import Array, values


def hypervolume(points: Array, ideal: Sequence[float], reference: Sequence[float]) -> float:
    """Volume that points dominate, as a share of the box between two corners.

    Args:
        points: shape (n, objectives), smaller is better.
        ideal: corner with the smallest values.
        reference: corner with the largest; what lies beyond it counts nothing.

    Returns:
        Between 0 and 1.

    Raises:
        EvolutionError: if the corners are of another shape, or not one below the other.

    Example:
        >>> hypervolume(np.array([[0.0, 0.5], [0.5, 0.0]]), ideal=(0, 0), reference=(1, 1))
        0.75
    """
    low, high = np.asarray(ideal, float), np.asarray(reference, float)
    if low.shape != high.shape or points.ndim != 2 or points.shape[1:] != low.shape:
        raise EvolutionError(
            f"points of shape {points.shape}, an ideal of {low.shape} and a reference of "
            f"{high.shape}; give points of shape (n, k), and corners of k numbers each"
        )
    if not (low < high).all():
        raise EvolutionError(
            f"the ideal {tuple(ideal)} isn't below the reference {tuple(reference)} in each "
            "objective; give the corner with the smallest values first"
        )
    scaled = np.maximum((points - low) / (high - low), 0.0)
    inside = scaled[(scaled <= 1).all(axis=1)]
    return float(HV(ref_point=np.ones(len(low)))(inside)) if len(inside) else 0.0


def hypervolume_of(
    population: Sequence[Individual[Any]],
    objectives: Sequence[str],
    ideal: Sequence[float],
    reference: Sequence[float],
) -> float:
    """The same of a population's feasible members."""
    feasible = [member for member in population if member.excess <= 0]
    points = values(feasible, objectives) if feasible else np.empty((0, len(objectives)))
    return hypervolume(points, ideal, reference)
