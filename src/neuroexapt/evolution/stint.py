"""A stint of training: one network, so many batches, and its scores afterwards."""

from dataclasses import dataclass

from neuroexapt.evolution.birth import MOST_SEED
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.world import World
from neuroexapt.graph import LivingModel
from neuroexapt.graph.latency import latency_ms
from neuroexapt.training import Step, build_optimizer, evaluate, train_epoch, training_flops
from neuroexapt.training.calibrate import recalibrate
from neuroexapt.training.loaders import pairs
from neuroexapt.training.recipe import scale_lr

ROUNDING = 1e-6
"""Share of a batch by which a number of epochs may be off."""


@dataclass(frozen=True)
class Stint:
    """What a network is trained for.

    Attributes:
        epochs: how many.
        epoch: number of the first one, by which loaders choose order and variations.
        lr_from: learning rate at the first step, relative to the recipe's.
        lr_to: after the last step, likewise; it changes in a straight line between.
        seed: of everything random.
        trained: batches that the network was trained on before.
    """

    epochs: float
    epoch: int
    lr_from: float = 1.0
    lr_to: float = 1.0
    seed: int = 0
    trained: int = 0


@dataclass(frozen=True, eq=False)
class Trained:
    """What a stint came to.

    Attributes:
        genome: of the same structure, with other weights.
        scores: by objective.
        accuracy: on held-out data, 0 to 1.
        flops: that training took (2 for each multiply-accumulate).
        batches: that it was trained on.
    """

    genome: Genome
    scores: dict[str, float]
    accuracy: float
    flops: int
    batches: int = 0


def train(world: World, genome: Genome, stint: Stint) -> Trained:
    """Train a network for a stint, and score it.

    Raises:
        TrainingError: if a loss isn't finite.
        DataError: if a loader yields nothing usable.
    """
    config = world.config
    with world.task(stint.seed % MOST_SEED):
        living = world.templates.develop(genome)
        per_sample = world.templates.flops(
            genome, lambda: world.aside(lambda: stint_flops(world, living))
        )
        flops = _train(world, living, stint, per_sample)
        known = pairs(world.batches(stint.epoch, config.calibration), living)
        if config.calibration:
            recalibrate(living, [inputs for inputs, _ in known])
        found = evaluate(living, world.validation, world.criterion, amp=config.recipe.amp)
        return Trained(
            Genome.of(living),
            scores(world, living, found.accuracy),
            found.accuracy,
            flops,
            stint_batches(world, stint),
        )


def judge(world: World, genome: Genome) -> Trained:
    """Score a network as it is."""
    with world.task(0):
        living = world.templates.develop(genome)
        found = evaluate(living, world.validation, world.criterion, amp=world.config.recipe.amp)
        return Trained(genome, scores(world, living, found.accuracy), found.accuracy, flops=0)


def scores(world: World, living: LivingModel, accuracy: float) -> dict[str, float]:
    """What a network is judged by; latency only where it is asked for."""
    cost = living.cost()
    known = {
        "error": 1.0 - accuracy,
        "macs": float(cost.macs),
        "params": float(cost.params),
    }
    config = world.config
    if "latency_ms" in config.objectives or config.limits.latency_ms is not None:
        known["latency_ms"] = latency_ms(living.graph_module, living.example_inputs)
    return known


def stint_flops(world: World, living: LivingModel) -> int:
    """FLOPs of training on one sample."""
    inputs, targets = next(pairs(world.batches(0, 1), living))
    return training_flops(living, (inputs, targets), world.criterion)


def stint_batches(world: World, stint: Stint) -> int:
    """How many batches a stint takes, 1 at least."""
    return max(int(stint.epochs * world.num_batches + ROUNDING), 1)


def _train(world: World, living: LivingModel, stint: Stint, per_sample: int) -> int:
    """Train, and count FLOPs, so many a sample."""
    recipe = world.config.recipe
    optimizer = build_optimizer(living, recipe)
    steps = stint_batches(world, stint)
    flops = 0

    def set_lr(share: float) -> None:
        factor = stint.lr_from + (stint.lr_to - stint.lr_from) * share
        scale_lr(optimizer, recipe, factor)

    def after_step(step: Step) -> None:
        nonlocal flops
        flops += per_sample * step.num_samples
        set_lr((step.index + 1) / steps)

    set_lr(0.0)
    train_epoch(
        living,
        world.batches(stint.epoch, steps, stint.trained),
        optimizer,
        world.criterion,
        amp=recipe.amp,
        clip_norm=recipe.clip_norm,
        on_step=after_step,
    )
    return flops
