"""Everything that evolves, built from a configuration; taken down and put back."""

import time
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from neuroexapt.edits import dump_edits, load_edits
from neuroexapt.errors import EditError, RunError
from neuroexapt.evolution import (
    EvolutionConfig,
    Genome,
    MemberRecord,
    MultiObjectiveArchitectureEvolution,
)
from neuroexapt.evolution.networks import Network
from neuroexapt.graph import Cost, LivingModel
from neuroexapt.graph.compare import run_in_mode
from neuroexapt.runs.checkpoint import Checkpoint, Moment
from neuroexapt.runs.evolution_config import WORTH, EvolutionRunConfig
from neuroexapt.runs.evolution_executor import Watched, build_executor
from neuroexapt.runs.session import EXAMPLES, usable_device
from neuroexapt.training import (
    Batches,
    DataSplits,
    build_criterion,
    build_model,
    check_outputs,
    evaluation_batches,
    first_batch,
    load,
    seeded,
    train_batches,
    training_flops,
    whiten_first_,
)


class EvolutionProgress(Moment):
    """How far an evolution is.

    Attributes:
        evolution: as `MultiObjectiveArchitectureEvolution.state_dict` gives it.
        num_classes: outputs of the networks.
        image_shape: channels, height and width of their inputs.
    """

    evolution: dict[str, Any]
    num_classes: int
    image_shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class EvolutionSession:
    """What evolves.

    Attributes:
        config: what it was built from, complete.
        data: the data set.
        evolution: the evolution.
        executor: its own.
        population: where it begins; none before it is founded.
        seed_cost: of the seed network.
        began: the clock when it would have begun, had it all been in one sitting.
    """

    config: EvolutionRunConfig
    data: DataSplits
    evolution: MultiObjectiveArchitectureEvolution
    executor: Watched
    population: list[Network]
    seed_cost: Cost
    began: float

    @property
    def seconds(self) -> float:
        """Wall time so far, earlier sittings included."""
        return time.perf_counter() - self.began


def build_evolution(
    config: EvolutionRunConfig, checkpoint: Checkpoint[EvolutionProgress] | None = None
) -> EvolutionSession:
    """Build what evolves, as it was at a checkpoint or as it starts.

    Seeds all global random numbers.

    Raises:
        RunError: if the device or the executor can't be used, or the checkpoint is of another
            model.
        DataError: if the data can't be read.
        TraceError: if the model can't be built or seen as a graph, or is no classifier of the data.
        EvolutionError: if the budget doesn't reach for the seed network.
    """
    device = usable_device(config.device)
    data = load(
        config.data, config.data_dir, validation=config.validation, image_size=config.image_size
    )
    seeded(config.seed)
    model = build_model(
        config.model,
        num_classes=data.num_classes,
        in_channels=data.num_channels,
        image_size=data.image_size,
    ).to(device)
    whiten_first_(model, data)
    recipe = config.evolution.recipe
    train = train_batches(data, recipe, seed=config.seed, device=device)
    held_out = evaluation_batches(
        data, data.validation, channels_last=recipe.channels_last, device=device
    )
    example = first_batch(train)[0][:EXAMPLES]
    seed = LivingModel(model, example)
    outputs = run_in_mode(seed, seed.example_inputs, training=False)
    check_outputs(config.model, outputs, num_samples=len(example), num_classes=data.num_classes)
    config = _with_an_end(config, seed, train)
    executor = Watched(build_executor(config))
    with ExitStack() as on_failure:
        on_failure.callback(executor.close)
        evolution = MultiObjectiveArchitectureEvolution(
            seed, train, held_out, _on_threads(config), executor
        )
        population = _restored(evolution, checkpoint) if checkpoint is not None else []
        on_failure.pop_all()
    began = time.perf_counter() - (checkpoint.progress.seconds if checkpoint is not None else 0)
    return EvolutionSession(config, data, evolution, executor, population, seed.cost(), began)


def _with_an_end(
    config: EvolutionRunConfig, seed: LivingModel, train: Batches
) -> EvolutionRunConfig:
    """The same settings, with the FLOPs that may be spent."""
    if config.evolution.max_flops is not None:
        return config
    inputs, targets = first_batch(train)
    per_sample = training_flops(seed, (inputs, targets), build_criterion(config.evolution.recipe))
    flops = float(WORTH * per_sample * len(inputs) * len(train))
    evolution = config.evolution.model_copy(update={"max_flops": flops})
    return config.model_copy(update={"evolution": evolution})


def _on_threads(config: EvolutionRunConfig) -> EvolutionConfig:
    """The evolution's settings, with the run's threads for each of its tasks."""
    return config.evolution.model_copy(update={"threads": config.threads})


def take_down_evolution(
    session: EvolutionSession, population: list[Network], events: int
) -> Checkpoint[EvolutionProgress]:
    """All that `build_evolution` needs to go on from here.

    Args:
        session: what evolves; left as it is.
        population: who lives now.
        events: size in bytes of the run's events so far.
    """
    data = session.data
    progress = EvolutionProgress(
        epochs=session.evolution.generation,
        events=events,
        seconds=session.seconds,
        evolution=session.evolution.state_dict(),
        num_classes=data.num_classes,
        image_shape=(data.num_channels, *data.image_size),
    )
    weights = {
        f"{member.name}/{key}": value
        for member in population
        for key, value in member.genome.weights.items()
    }
    members = [
        MemberRecord.of(member).model_dump(mode="json")
        | {"genome": dump_edits(member.genome.edits)}
        for member in population
    ]
    return Checkpoint(weights, members, {}, {}, progress)


def members_of(checkpoint: Checkpoint[EvolutionProgress]) -> list[Network]:
    """The population at a checkpoint.

    Raises:
        RunError: if its edits are none of this version.
    """
    weights: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in checkpoint.weights.items():
        member, _, key = name.partition("/")
        weights[member][key] = tensor
    population = []
    for written in checkpoint.edits:
        told = {name: value for name, value in written.items() if name != "genome"}
        try:
            record, edits = MemberRecord.model_validate(told), load_edits(written["genome"])
        except (ValidationError, EditError) as error:
            raise RunError(
                f"the population holds what is no member of this version ({error}); read it with "
                "the version that wrote it"
            ) from error
        population.append(record.member(Genome(edits, weights[record.name])))
    return population


def _restored(
    evolution: MultiObjectiveArchitectureEvolution, checkpoint: Checkpoint[EvolutionProgress]
) -> list[Network]:
    """Put an evolution where it was, and give its population.

    Raises:
        RunError: if it was one of another seed network.
    """
    population = members_of(checkpoint)
    for member in population:
        developed(evolution.seed, member)
    evolution.load_state_dict(checkpoint.progress.evolution)
    return population


def developed(seed: LivingModel, member: Network) -> LivingModel:
    """The network of a member, in eval mode.

    Raises:
        RunError: if it doesn't fit the seed network.
    """
    wrong = "its weights are another network's"
    try:
        living = Genome(member.genome.edits, {}).develop(seed)
    except EditError as error:
        wrong = str(error)
    else:
        shapes = {name: value.shape for name, value in living.state_dict().items()}
        if shapes == {name: value.shape for name, value in member.genome.weights.items()}:
            return member.genome.load_into(living).eval()
    raise RunError(
        f"the network {member.name} doesn't fit the seed model: {wrong}. The model has to be built "
        "as when the run was started"
    )
