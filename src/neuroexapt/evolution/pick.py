"""One network of a front, by what its user cares for most."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.individual import G, Individual
from neuroexapt.evolution.selection import Array, values

Choice: TypeAlias = Literal["knee", "accurate", "small", "fast"]
WEIGHTS = {"error": 0.7, "macs": 0.2, "params": 0.1}
"""Of accuracy, efficiency and simplicity, where two members are as near to the ideal."""


def pick(
    front: Sequence[Individual[G]], choice: Choice, objectives: Sequence[str]
) -> Individual[G]:
    """Pick a member of a front.

    Args:
        front: scored members, at least one.
        choice: "accurate": with the smallest error; "small": with the fewest parameters; "fast":
            with the smallest latency where that was measured, otherwise with the fewest
            multiply-accumulates; "knee": nearest to the best that the front has in each objective,
            each scaled to its range over the front. All that isn't the error counts as much as the
            error does together: multiply-accumulates and parameters mostly rise together.
        objectives: by which the knee is told.

    Raises:
        EvolutionError: if the front is empty, or the choice unknown.

    Source: the compromise by distance to the ideal point, Zeleny 1973.
    """
    if not front:
        raise EvolutionError("the front is empty, so there is nothing to pick from")
    match choice:
        case "accurate":
            return min(front, key=lambda member: (member.scores["error"], member.scores["macs"]))
        case "small":
            return min(front, key=lambda member: (member.scores["params"], member.scores["error"]))
        case "fast":
            timed = all("latency_ms" in member.scores for member in front)
            score = "latency_ms" if timed else "macs"
            return min(front, key=lambda member: (member.scores[score], member.scores["error"]))
        case "knee":
            return _knee(front, objectives)
    raise EvolutionError(f"{choice!r} is no choice; give knee, accurate, small or fast")


def _knee(front: Sequence[Individual[G]], objectives: Sequence[str]) -> Individual[G]:
    names = tuple(WEIGHTS)
    costs = [name for name in objectives if name != "error"]
    shares = [1 if name == "error" else 1 / max(len(costs), 1) for name in objectives]
    distances = np.sqrt(_scaled(front, objectives) ** 2 @ np.array(shares)).round(9)
    composites = _scaled(front, names) @ np.array(list(WEIGHTS.values()))
    order = np.lexsort((composites, distances))
    return front[int(order[0])]


def _scaled(front: Sequence[Individual[G]], objectives: Sequence[str]) -> Array:
    points = values(front, objectives)
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: Array = (points - low) / np.where(high > low, high - low, 1.0)
    return scaled
