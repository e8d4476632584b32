"""A birth: a parent's network, changed by a mutation or by what the other parent has."""

from dataclasses import dataclass

from neuroexapt.evolution.crossover import transplant
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.individual import Origin
from neuroexapt.evolution.mutation import Mutation, Sensed, grow, shrink
from neuroexapt.evolution.structure import structure_key
from neuroexapt.evolution.world import World
from neuroexapt.graph import LivingModel
from neuroexapt.graph.inputs import probe_size
from neuroexapt.growth import Budget
from neuroexapt.growth.fitting import check_flops
from neuroexapt.training import evaluate
from neuroexapt.training.seed import generator_for

MOST_SEED = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Newborn:
    """A child before it is trained.

    Attributes:
        genome: of the child; None if there is none.
        key: of its structure.
        edits: what sets it apart from its mother, in words.
        accuracy: on held-out data: its mother's, unless it was pruned.
        macs: multiply-accumulates of one sample.
        flops: that sensing and checks took.
        why: there is no child, in words.
    """

    genome: Genome | None
    key: str = ""
    edits: tuple[str, ...] = ()
    accuracy: float = 0.0
    macs: int = 0
    flops: int = 0
    why: str = ""


def bear(world: World, origin: Origin, mother: Genome, father: Genome, seed: int) -> Newborn:
    """Make one child.

    Args:
        world: seed network, data, settings.
        origin: how it is made.
        mother: whose network it has.
        father: whose edits it gets by a crossover.
        seed: the only source of randomness.

    Raises:
        DataError: if a loader yields nothing usable.
        TrainingError: if activations or gradients aren't finite.
    """
    with world.task(seed % MOST_SEED):
        living = world.templates.develop(mother)
        if origin == "crossover":
            changes = transplant(living, father.edits, seed, world.config.limits.exceeded)
            samples = probe_size(living.example_inputs)
            flops = sum(check_flops(change, samples) for change in changes)
            done = Mutation(tuple(changes), flops, "nothing of the other parent applies")
        else:
            done = _mutated(world, living, origin, seed)
        if not done.changes:
            return Newborn(None, flops=done.flops, why=done.why)
        found = evaluate(living, world.validation, world.criterion, amp=world.config.recipe.amp)
        return Newborn(
            Genome.of(living),
            structure_key(living),
            tuple(str(change.edit) for change in done.changes),
            found.accuracy,
            living.cost().macs,
            done.flops,
        )


def _mutated(world: World, living: LivingModel, origin: Origin, seed: int) -> Mutation:
    config, limit = world.config, world.config.limits.exceeded
    budget = Budget(params=config.limits.params, macs=config.limits.macs)
    generator = generator_for(seed)
    loader = list(world.batches(seed % 1000, config.growth.num_batches))
    sensed = Sensed.of(living, loader, world.criterion, config.growth, budget, config.num_samples)
    num_edits = 1 + seed % config.num_edits
    mutate = shrink if origin == "pruning" else grow
    return mutate(sensed, num_edits, generator, limit)
