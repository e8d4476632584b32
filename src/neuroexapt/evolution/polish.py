"""How what is left of a budget is shared out among the networks of a front."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from neuroexapt.evolution.hypervolume import hypervolume, hypervolume_of
from neuroexapt.evolution.individual import G, Individual
from neuroexapt.evolution.objectives import Limits
from neuroexapt.evolution.selection import values

ROUNDS = 8
"""Into so many parts training is cut, between which a run can be stopped and resumed."""
SHARE = 1 / 3
"""Power of a network's cost by which its share of the compute grows: b / (1 + b), where what more
training takes off the error falls with the epochs n as n^-b; b is about a half."""
LEAST = 1e-9
"""Costs below this pass for alike."""
APART = 1.2
"""By more than this factor the costs of networks that are polished differ, of one kind at least."""
WORST = 1.0
"""The largest error there is."""
BEYOND = 3.0
"""Networks stand for all who can afford up to the limit, but at least so many times what the
dearest costs: most look for the most accurate one, and don't count what it costs."""


class Polish(BaseModel):
    """How long each network is trained while the learning rate falls to 0.

    Attributes:
        steps: name -> steps in all.
        done: rounds that are through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: dict[str, int]
    done: int = 0

    @classmethod
    def sharing(
        cls, flops: float, costs: Mapping[str, int], coverage: Mapping[str, float]
    ) -> "Polish":
        """Share out what is left, so that the hypervolume grows most.

        An error that is less by some amount adds that times the coverage w to the hypervolume. If
        training takes as much off the errors of all networks, namely n^-b after n epochs, then at
        the best a FLOP adds equally much in each: w n^-(1 + b) / cost is equal, and shares of the
        compute are in proportion to cost^(b / (1 + b)) w^(1 / (1 + b)).

        Args:
            flops: what is left.
            costs: name -> FLOPs of one step.
            coverage: name -> as `coverage` tells it.

        Example:
            >>> Polish.sharing(18, {"small": 1, "large": 8}, {"small": 0.5, "large": 0.5}).steps
            {'small': 6, 'large': 1}
            >>> Polish.sharing(33, {"small": 1, "large": 8}, {"small": 0.1, "large": 0.8}).steps
            {'small': 3, 'large': 3}

        Source: errors as a sum of what the size and what the training leaves, Hoffmann et al. 2022,
        arXiv:2203.15556.
        """
        weights = {
            name: cost**SHARE * coverage[name] ** (1 - SHARE) for name, cost in costs.items()
        }
        each = flops / sum(weights.values())
        return cls(steps={name: int(each * weights[name] / cost) for name, cost in costs.items()})

    @property
    def finished(self) -> bool:
        """Whether all rounds are through."""
        return self.done >= ROUNDS

    def next_steps(self, name: str) -> range:
        """The steps of a network in the next round; those before were taken in earlier ones."""
        total = self.steps[name]
        return range(total * self.done // ROUNDS, total * (self.done + 1) // ROUNDS)

    def after_round(self) -> "Polish":
        """The same, one round on."""
        return self.model_copy(update={"done": self.done + 1})


def finalists(
    front: Sequence[Individual[G]], objectives: Sequence[str], most: int, limits: Limits
) -> list[Individual[G]]:
    """Which networks are worth polishing: few that stand for the whole front.

    Of those that cost about the same only the most accurate counts: two that are nearly alike come
    to nearly the same, each with half of the compute. Of what is left the most accurate is taken,
    then one by one those that add most to the hypervolume, up to an error of 1 and to the limits.

    Args:
        front: scored members.
        objectives: what is to become small; all but the error are costs.
        most: so many, at most.
        limits: the most that any may cost.

    Returns:
        Some of the front, in its order.
    """
    ranked = sorted(front, key=lambda member: member.scores["error"])
    apart = _standing_apart(ranked, _costs(objectives))
    kept = _covering(apart, objectives, most, limits)
    return [member for member in front if member in kept]


def coverage(
    front: Sequence[Individual[G]], objectives: Sequence[str], limits: Limits
) -> dict[str, float]:
    """For which part of all costs each network of a front is the most accurate one.

    Who reads a front can afford some costs, and takes the most accurate network within them.

    Args:
        front: scored members, none of them beaten in all objectives.
        objectives: what is to become small; all but the error are costs.
        limits: the most that any may cost.

    Returns:
        Name -> share of the costs up to the limits, above 0.

    Example:
        >>> front = [
        ...     Individual(name, None, name, scores={"error": error, "macs": macs})
        ...     for name, error, macs in [("large", 0.1, 2.0), ("small", 0.4, 1.0)]
        ... ]
        >>> coverage(front, ("error", "macs"), Limits(macs=8))  # from 2 to 8, from 1 to 2
        {'large': 0.75, 'small': 0.125}
    """
    ranked = sorted(front, key=lambda member: member.scores["error"])
    names = _costs(objectives)
    ideal, reference = [0.0] * len(names), _most(ranked, names, limits)
    found, before = {}, 0.0
    for count, member in enumerate(ranked, start=1):
        points = values(ranked[:count], names)
        covered = hypervolume(points, ideal, reference) if names else 1.0
        found[member.name] = covered - before
        before = covered
    return found


def _covering(
    ranked: Sequence[Individual[G]], objectives: Sequence[str], most: int, limits: Limits
) -> list[Individual[G]]:
    """The first, and those that add most to the hypervolume, greedily."""
    dearest = dict(zip(objectives, _most(ranked, objectives, limits), strict=True))
    reference = list((dearest | {"error": WORST} if "error" in dearest else dearest).values())
    ideal = [0.0] * len(objectives)
    kept = list(ranked[:1])
    while len(kept) < min(most, len(ranked)):
        kept.append(
            max(
                (member for member in ranked if member not in kept),
                key=lambda m: hypervolume_of([*kept, m], objectives, ideal, reference),
            )
        )
    return kept


def _costs(objectives: Sequence[str]) -> list[str]:
    return [name for name in objectives if name != "error"]


def _most(members: Sequence[Individual[Any]], names: Sequence[str], limits: Limits) -> list[float]:
    """The largest costs that count."""
    given = limits.given
    dearest = [max([LEAST, *(m.scores[name] for m in members)]) for name in names]
    return [
        max(given.get(name, 0.0), BEYOND * most) for name, most in zip(names, dearest, strict=True)
    ]


def _standing_apart(ranked: Sequence[Individual[G]], costs: Sequence[str]) -> list[Individual[G]]:
    """Without those whose costs are all about those of one before them."""
    kept: list[Individual[G]] = []
    for member in ranked:
        if not any(_alike(member, other, costs) for other in kept):
            kept.append(member)
    return kept


def _alike(one: Individual[Any], other: Individual[Any], costs: Sequence[str]) -> bool:
    pairs = [(one.scores[name], other.scores[name]) for name in costs]
    return all(max(pair) <= APART * max(min(pair), LEAST) for pair in pairs)


def hunger(epochs: float, cost: float) -> float:
    """How far a network is from its share of training: the lower, the more it lacks."""
    return float(epochs * cost ** (1 - SHARE))
