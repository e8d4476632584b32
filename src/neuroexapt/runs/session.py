"""Everything that trains, built from a configuration; taken down into a checkpoint and put back."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, nn

from neuroexapt.edits import dump_edits, load_edits, replay
from neuroexapt.errors import EditError, RunError
from neuroexapt.graph import Cost, LivingModel
from neuroexapt.graph.compare import run_in_mode
from neuroexapt.growth import Budget, Grower, Loop
from neuroexapt.runs.checkpoint import Checkpoint, Progress, distinct
from neuroexapt.runs.config import GrowConfig
from neuroexapt.runs.optimizer_state import load_optimizer_state, optimizer_state
from neuroexapt.runs.random_state import load_random_state, random_state
from neuroexapt.training import (
    Batches,
    DataSplits,
    History,
    build_criterion,
    build_model,
    build_optimizer,
    check_outputs,
    evaluation_batches,
    first_batch,
    load,
    seeded,
    train_batches,
    whiten_first_,
)

NO_END = 10**9
"""Epochs of a run that only its FLOPs end."""
EXAMPLES = 8
"""Samples that the model is traced with and its edits are checked on."""


@dataclass(frozen=True, eq=False)
class Session:
    """What trains.

    Attributes:
        config: what it was built from.
        data: the data set.
        train: its training batches.
        validation: its validation batches.
        seed_cost: of the model before any edit.
        loop: model, optimiser, grower, and how far they are.
        began: the clock when training would have begun, had it all been in one sitting.
    """

    config: GrowConfig
    data: DataSplits
    train: Batches
    validation: Batches
    seed_cost: Cost
    loop: Loop
    began: float

    @property
    def seconds(self) -> float:
        """Wall time so far, earlier sittings included."""
        return time.perf_counter() - self.began


def build(config: GrowConfig, checkpoint: Checkpoint[Progress] | None = None) -> Session:
    """Build what trains, as it was at a checkpoint or as it starts.

    Seeds all global random numbers.

    Raises:
        RunError: if the device can't be used, or the checkpoint is of another model.
        DataError: if the data can't be read.
        TraceError: if the model can't be built or seen as a graph, or is no classifier of the data.
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
    recipe = config.recipe
    train = train_batches(data, recipe, seed=config.seed, device=device)
    example = first_batch(train)[0][:EXAMPLES]
    seed = LivingModel(model, example)
    outputs = run_in_mode(seed, seed.example_inputs, training=False)
    check_outputs(config.model, outputs, num_samples=len(example), num_classes=data.num_classes)
    optimizer = build_optimizer(seed, config.recipe)
    seed_cost = seed.cost()
    living = seed
    if checkpoint is not None:
        try:
            edits = load_edits(checkpoint.edits)
            living = replay(model, example, edits, optimizer=optimizer)
        except EditError as error:
            raise RunError(
                f"the run's edits don't fit {config.model}: {error}. The model has to be built as "
                "when the run was started"
            ) from error
    criterion = build_criterion(config.recipe)
    grower = None
    if config.growth is not None:
        budget = Budget(
            params=config.max_params,
            macs=config.max_macs,
            latency_ms=config.max_latency_ms,
            train_flops=config.max_flops,
        )
        grower = Grower(living, optimizer, criterion, budget, config.growth, config.seed)
    loop = Loop(
        living,
        optimizer,
        criterion,
        config.recipe,
        epochs=config.epochs or NO_END,
        max_flops=config.max_flops,
        grower=grower,
        scaler=needed_scaler(device, config.recipe.amp),
    )
    if checkpoint is not None:
        _restore(loop, checkpoint)
    validation = evaluation_batches(
        data, data.validation, channels_last=recipe.channels_last, device=device
    )
    began = time.perf_counter() - (checkpoint.progress.seconds if checkpoint is not None else 0)
    return Session(config, data, train, validation, seed_cost, loop, began)


def take_down(session: Session, events: int) -> Checkpoint[Progress]:
    """All that `build` needs to go on from here.

    Args:
        session: what trains; left as it is.
        events: size in bytes of the run's events so far.

    Raises:
        RunError: if the optimiser holds what can't be saved.
    """
    loop, data = session.loop, session.data
    optimizer_tensors, optimizer_rest = optimizer_state(loop.optimizer)
    random_tensors, random_rest = random_state()
    progress = Progress(
        epochs=loop.epoch,
        training_flops=loop.training_flops,
        history=loop.history.to_list(),
        grower=loop.grower.state_dict() if loop.grower is not None else None,
        scaler=loop.scaler.state_dict() if loop.scaler is not None else None,
        events=events,
        seconds=session.seconds,
        params_seed=session.seed_cost.params,
        macs_seed=session.seed_cost.macs,
        num_classes=data.num_classes,
        image_shape=(data.num_channels, *data.image_size),
    )
    return Checkpoint(
        weights=distinct(loop.living.state_dict()),
        edits=dump_edits(loop.living.edits),
        tensors={f"optimizer.{name}": tensor for name, tensor in optimizer_tensors.items()}
        | {f"random.{name}": tensor for name, tensor in random_tensors.items()},
        rest={"optimizer": optimizer_rest, "random": random_rest},
        progress=progress,
    )


def by_part(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """A checkpoint's tensors by what they are of: what stands before the first dot."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    return parts


def load_weights(living: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load a checkpoint's weights.

    Raises:
        RunError: if they are another model's.
    """
    own = distinct(living.state_dict())
    wrong = sorted(own.keys() ^ weights.keys()) or [
        name for name, tensor in own.items() if tensor.shape != weights[name].shape
    ]
    if wrong:
        raise RunError(
            f"the checkpoint's weights don't fit the model: {wrong[0]!r} is missing or of another "
            "shape. The model has to be built as when the run was started"
        )
    living.load_state_dict(weights, strict=False)


def usable_device(name: str) -> torch.device:
    """The device of that name, tried.

    Raises:
        RunError: if there is none, or it doesn't work.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"the device {name!r} can't be used ({reason}); give another, as cpu") from (
            error
        )
    return device


def needed_scaler(device: torch.device, amp: bool) -> torch.amp.GradScaler | None:
    """A gradient scaler where half precision has to be float16, for want of bfloat16."""
    bfloat16 = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.amp.GradScaler(device.type) if amp and not bfloat16 else None


@contextmanager
def num_threads(count: int) -> Iterator[None]:
    """Compute with so many threads of the CPU inside, and with as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@final
class Watched:
    """Batches that tell when each one is taken; otherwise as they are."""

    def __init__(self, batches: Batches, on_batch: Callable[[], None]) -> None:
        self._batches = batches
        self._on_batch = on_batch

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self._on_batch()
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """As the batches'."""
        self._batches.set_epoch(epoch)


def _restore(loop: Loop, checkpoint: Checkpoint[Progress]) -> None:
    """Put a loop where it was; the random numbers last, since building draws some."""
    progress = checkpoint.progress
    load_weights(loop.living, checkpoint.weights)
    parts = by_part(checkpoint.tensors)
    load_optimizer_state(loop.optimizer, parts["optimizer"], checkpoint.rest["optimizer"])
    loop.history = History.from_list(progress.history)
    loop.training_flops = progress.training_flops
    if loop.grower is not None and progress.grower is not None:
        loop.grower.load_state_dict(progress.grower)
    if loop.scaler is not None and progress.scaler is not None:
        loop.scaler.load_state_dict(progress.scaler)
    load_random_state(parts["random"], checkpoint.rest["random"])
