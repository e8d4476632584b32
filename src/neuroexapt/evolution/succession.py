"""A succession: in the midst of training a model gives way to a better one that evolved from it."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

from neuroexapt.edits import Change
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.evolution import MultiObjectiveArchitectureEvolution
from neuroexapt.evolution.networks import Network
from neuroexapt.evolution.record import GenerationRecord
from neuroexapt.evolution.world import loaders_seeded
from neuroexapt.growth import Loop
from neuroexapt.training import evaluate
from neuroexapt.training.modes import device_of


class Succession(BaseModel):
    """What an evolution in the midst of training came to.

    Attributes:
        epoch: after so many epochs.
        before: accuracy of the model on held-out data, 0 to 1.
        best: accuracy of the best network that was found within the limits, likewise.
        taken: whether that one took the model's place: only if it is better.
        edits: what sets it apart from the model, in words; none if it was only trained on.
        flops: that the evolution took (2 for each multiply-accumulate).
        generations: a record of each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    before: float
    best: float
    taken: bool
    edits: tuple[str, ...]
    flops: int
    generations: tuple[GenerationRecord, ...]


def succeed(
    loop: Loop,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    config: EvolutionConfig,
    num_generations: int,
) -> tuple[Succession, list[Change]]:
    """Evolve networks from a loop's model, and let the best take its place if it is better.

    Args:
        loop: its model is changed in place only if it is replaced, the optimiser with it; the FLOPs
            are counted in any case.
        train_loader: yields (inputs, targets), and has a length.
        val_loader: likewise, held out.
        config: how networks evolve.
        num_generations: how long.

    Returns:
        What came of it, and what changed.

    Raises:
        EvolutionError: if the loader has no length.
        DataError: if a loader yields nothing usable.
    """
    with loaders_seeded((train_loader, val_loader), config.seed, device_of(loop.living)):
        before = evaluate(loop.living, val_loader, loop.criterion, amp=loop.recipe.amp).accuracy
        evolution = MultiObjectiveArchitectureEvolution(
            loop.living, train_loader, val_loader, config, criterion=loop.criterion
        )
        population = evolution.population([loop.living])
        for _ in range(num_generations):
            population = evolution.evolve_generation(population)
    loop.other_flops += evolution.flops
    best = min(population, key=_merit)
    new = best.genome.edits[len(loop.living.edits) :]
    taken = best.excess <= 0 and best.told["accuracy"] > before
    told = Succession(
        epoch=loop.epoch,
        before=before,
        best=best.told["accuracy"],
        taken=taken,
        edits=tuple(str(edit) for edit in new),
        flops=evolution.flops,
        generations=tuple(evolution.history),
    )
    return told, _replaced(loop, best, before) if taken else []


def _merit(member: Network) -> tuple[float, float, float]:
    """The lower the better: within the limits, then right, then small."""
    return max(member.excess, 0.0), member.scores["error"], member.scores["params"]


def _replaced(loop: Loop, member: Network, before: float) -> list[Change]:
    """Make a loop's model what a member is; optimiser and grower follow what is inherited."""
    living, genome = loop.living, member.genome
    changes = [
        edit.apply_to(living, loop.optimizer, check=False, replaying=True)
        for edit in genome.edits[len(living.edits) :]
    ]
    genome.load_into(living)
    if loop.grower is not None:
        loop.grower.give_way(changes, before)
    return changes
