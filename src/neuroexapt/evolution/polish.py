"""How what is left of a budget is shared out among the networks of a front."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from neuroexapt.evolution.hypervolume import hypervolume_of
from neuroexapt.evolution.individual import G, Individual

SHARE = 1 / 3
"""Power of a network's cost by which its share of the compute grows. Where error falls with the
epochs n as n^-b, a joule is worth equally much in each network at epochs in proportion to
cost^(-1 / (1 + b)); b is about a half."""
ROUNDS = 8
"""Into so many parts training is cut, between which a run can be stopped and resumed."""
LEAST = 1e-9
"""Costs below this pass for alike."""
APART = 1.2
"""By more than this factor the costs of networks that are polished differ, of one kind at least."""
WORST = 1.0
"""The largest error there is."""


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
    def sharing(cls, flops: float, costs: Mapping[str, int]) -> "Polish":
        """Share out what is left: networks that cost less get less of it, but more steps.

        Args:
            flops: what is left.
            costs: name -> FLOPs of one step.

        Example:
            >>> Polish.sharing(1800, {"small": 1, "large": 8}).steps
            {'small': 600, 'large': 150}
        """
        share = flops / sum(cost**SHARE for cost in costs.values())
        return cls(steps={name: int(share * cost**SHARE / cost) for name, cost in costs.items()})

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
    front: Sequence[Individual[G]], objectives: Sequence[str], most: int
) -> list[Individual[G]]:
    """Which networks are worth polishing: few that stand for the whole front.

    Of those that cost about the same only the most accurate counts: two that are nearly alike come
    to nearly the same, each with half of the compute. Of what is left the most accurate is taken,
    then one by one those that add most to the hypervolume, up to an error of 1 and the worst costs.

    Args:
        front: scored members.
        objectives: what is to become small; all but the error are costs.
        most: so many, at most.

    Returns:
        Some of the front, in its order.
    """
    ranked = sorted(front, key=lambda member: member.scores["error"])
    apart = _standing_apart(ranked, [name for name in objectives if name != "error"])
    kept = _covering(apart, objectives, most)
    return [member for member in front if member in kept]


def _covering(
    ranked: Sequence[Individual[G]], objectives: Sequence[str], most: int
) -> list[Individual[G]]:
    """The first, and those that add most to the hypervolume, greedily."""
    reference = [
        WORST if name == "error" else APART * max([LEAST, *(m.scores[name] for m in ranked)])
        for name in objectives
    ]
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
