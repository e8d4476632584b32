"""How networks breed: births and training as tasks on an executor."""

import logging
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

from neuroexapt.errors import TrainingError, WorkerLostError
from neuroexapt.evolution.birth import Newborn, bear
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.executors import Executor, Shared
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.individual import Individual, Origin
from neuroexapt.evolution.selection import Couple, fittest
from neuroexapt.evolution.stint import Stint, Trained, judge, train
from neuroexapt.evolution.world import World

logger = logging.getLogger(__name__)
R = TypeVar("R")
Network: TypeAlias = Individual[Genome]
LOSSES = (TrainingError, MemoryError, torch.OutOfMemoryError, WorkerLostError)
"""What may befall one network without ending an evolution."""
SETTLED = 0.1
"""To this share of its peak the learning rate falls in each stint, before networks are compared. At
the peak, what sets two networks apart is mostly the last batches that they saw."""

LEAST_ERROR = 1e-3
"""Where the best member errs less, the others' bound goes by this."""


@dataclass
class Networks:
    """Breeds networks: a `Breeding`.

    Attributes:
        executor: where births and training happen.
        world: what they share.
        config: how networks evolve.
        generation: names children, and numbers epochs.
        most_error: an error above it counts as passing a limit.
        rate: FLOPs that an epoch takes for each multiply-accumulate of a network, about.
        most_flops: what may be spent, as far as it can be foreseen: rungs that would pass it are
            left out.
        flops: spent so far (2 for each multiply-accumulate); a network that is lost while it is
            trained is taken to have spent what its training would have taken.
        lost: name -> why a network was lost or never made.
        is_cut: whether children were left as they were where the budget didn't reach.
    """

    executor: Executor
    world: Shared[World]
    config: EvolutionConfig
    generation: int
    most_error: float = math.inf
    rate: float = 0.0
    most_flops: float = math.inf
    flops: int = 0
    lost: dict[str, str] = field(default_factory=dict)
    is_cut: bool = False
    _num_born: int = 0

    def bear(self, couples: Sequence[Couple[Genome]], seeds: Sequence[int]) -> list[Network]:
        """A child of each couple, unless nothing applies; not trained yet."""
        plans = []
        for couple, seed in zip(couples, seeds, strict=True):
            self._num_born += 1
            name = f"{self.generation}.{self._num_born}"
            plans.append((name, self._origin(couple, seed), couple, seed))
        futures = [
            self.executor.submit(bear, self.world, origin, one.genome, other.genome, seed)
            for _, origin, (one, other), seed in plans
        ]
        found = []
        for (name, origin, couple, _), future in zip(plans, futures, strict=True):
            newborn = self._result(name, future)
            if newborn is None:
                continue
            self.flops += newborn.flops
            if newborn.genome is None:
                self.lost[name] = newborn.why
            else:
                found.append(_child(name, origin, couple, newborn, newborn.genome))
        return found

    def _origin(self, couple: Couple[Genome], seed: int) -> Origin:
        generator = np.random.default_rng(seed)
        if couple[0] is not couple[1] and generator.random() < self.config.crossover:
            return "crossover"
        return "pruning" if generator.random() < self.config.pruning else "mutation"

    def rear(self, children: Sequence[Network], seed: int) -> list[Network]:
        """Train and score children by successive halving; without those that were lost.

        Where the budget doesn't reach for a rung, they are left as they are.
        """
        going: list[Network] = list(children)
        done: list[Network] = []
        for rung, epochs in enumerate(self.config.rungs):
            if not self.reaches(going, epochs):
                self.is_cut = True
                logger.warning(
                    "children aren't trained for %g epochs more: the budget doesn't reach", epochs
                )
                return done + (going if rung else self.judge(going))
            trained = self.train(going, stints(going, epochs, seed + rung))
            rest = len(self.config.rungs) - rung - 1
            count = math.ceil(self.config.kept * len(trained)) if rest else 0
            going = fittest(trained, self.config.objectives, count) if count else []
            names = {member.name for member in going}
            done += [member for member in trained if member.name not in names]
        return done

    def reaches(self, members: Sequence[Network], epochs: float) -> bool:
        """Whether the budget allows for training each of them for so many epochs."""
        due = sum(self._foreseen(member, epochs) for member in members)
        return self.flops + due <= self.most_flops

    def _foreseen(self, member: Network, epochs: float) -> float:
        """About the FLOPs that training a member takes."""
        macs = member.scores["macs"] if "macs" in member.scores else member.told.get("macs", 0)
        return self.rate * macs * epochs

    def train(self, members: Sequence[Network], stints: Sequence[Stint]) -> list[Network]:
        """Train each member for a stint, and score it; without those that were lost."""
        futures = [
            self.executor.submit(train, self.world, member.genome, stint)
            for member, stint in zip(members, stints, strict=True)
        ]
        found = []
        for member, stint, future in zip(members, stints, futures, strict=True):
            trained = self._result(member.name, future)
            if trained is None:
                self.flops += int(self._foreseen(member, stint.epochs))
            else:
                self.flops += trained.flops
                found.append(self._older(member, trained, stint.epochs))
        return found

    def judge(self, members: Sequence[Network]) -> list[Network]:
        """Score members as they are; without those that were lost."""
        futures = [self.executor.submit(judge, self.world, member.genome) for member in members]
        found = []
        for member, future in zip(members, futures, strict=True):
            judged = self._result(member.name, future)
            if judged is not None:
                found.append(self._older(member, judged, 0.0))
        return found

    def _older(self, member: Network, trained: Trained, epochs: float) -> Network:
        told = {
            "epochs": member.told["epochs"] + epochs,
            "stints": member.told["stints"] + math.ceil(epochs),
            "batches": member.told.get("batches", 0) + trained.batches,
            "accuracy": trained.accuracy,
        }
        older = replace(member, genome=trained.genome)
        return older.scored(trained.scores, self._excess(trained.scores), **told)

    def bounded(self, members: Sequence[Network]) -> list[Network]:
        """The same members, by the limits and the largest error that hold now."""
        excess = [self._excess(member.scores) for member in members]
        return [
            member if member.excess == now else replace(member, excess=now)
            for member, now in zip(members, excess, strict=True)
        ]

    def _excess(self, scores: Mapping[str, float]) -> float:
        beyond = max(scores["error"] / self.most_error - 1, 0.0)
        return self.config.limits.excess(scores) + beyond

    def _result(self, name: str, future: Future[R]) -> R | None:
        """What a task gave; None if that network is lost."""
        try:
            return future.result()
        except LOSSES as error:
            self.lost[name] = f"{type(error).__name__}: {error}"
            logger.warning("%s is lost: %s", name, self.lost[name])
            return None


def most_error(population: Sequence[Network], config: EvolutionConfig) -> float:
    """The largest error that a member may have, by the best of those that keep the limits."""
    if config.error_ratio is None:
        return math.inf
    feasible = [member for member in population if config.limits.excess(member.scores) <= 0]
    best = min((member.scores["error"] for member in feasible), default=math.inf)
    return config.error_ratio * max(best, LEAST_ERROR)


def stints(members: Sequence[Network], epochs: float, seed: int) -> list[Stint]:
    """A stint of equal length for each member: the learning rate falls from its peak."""
    return [
        Stint(
            epochs,
            member.told["stints"],
            lr_to=SETTLED,
            seed=seed + number,
            trained=member.told.get("batches", 0),
        )
        for number, member in enumerate(members)
    ]


def _child(
    name: str, origin: Origin, couple: Couple[Genome], newborn: Newborn, genome: Genome
) -> Network:
    mother, father = couple
    inherited: dict[str, Any] = {
        "epochs": mother.told["epochs"],
        "stints": mother.told["stints"],
        "batches": mother.told.get("batches", 0),
        "edits": list(newborn.edits),
        "macs": newborn.macs,
        "accuracy_at_birth": newborn.accuracy,
        "accuracy_of_parent": mother.told["accuracy"],
    }
    parents = (mother.name, father.name) if origin == "crossover" else (mother.name,)
    return Individual(name, genome, newborn.key, origin, parents, told=inherited)
