"""Everything that searches, built from a configuration; taken down and put back."""

import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import EditError, RunError, SearchError
from neuroexapt.graph.compare import run_in_mode
from neuroexapt.graph.inputs import as_inputs
from neuroexapt.runs.checkpoint import Checkpoint, Moment, distinct
from neuroexapt.runs.optimizer_state import load_optimizer_state, optimizer_state
from neuroexapt.runs.random_state import load_random_state, random_state
from neuroexapt.runs.search_config import SearchRunConfig, build_space
from neuroexapt.runs.session import EXAMPLES, by_part, load_weights, usable_device
from neuroexapt.search import Searching, commit
from neuroexapt.search.alpha import BACKWARD
from neuroexapt.search.frameworks import with_decisions
from neuroexapt.search.heard import check_traceable
from neuroexapt.training import (
    Batches,
    DataSplits,
    check_outputs,
    first_batch,
    load,
    seeded,
    train_batches,
)

_LOADED = "A search that is kept in a folder loads what it has found by its trace"


class SearchProgress(Moment):
    """How far a search is.

    Attributes:
        search: as `Searching.progress_dict` gives it.
        num_classes: outputs of the network.
        image_shape: channels, height and width of its inputs.
    """

    search: dict[str, Any]
    num_classes: int
    image_shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class SearchSession:
    """What searches.

    Attributes:
        config: what it was built from.
        data: the data set.
        train: batches for the weights.
        held_out: batches that are held out from them.
        searching: the search.
        began: the clock when it would have begun, had it all been in one sitting.
    """

    config: SearchRunConfig
    data: DataSplits
    train: Batches
    held_out: Batches
    searching: Searching
    began: float

    @property
    def seconds(self) -> float:
        """Wall time so far, earlier sittings included."""
        return time.perf_counter() - self.began


def build_search(
    config: SearchRunConfig, checkpoint: Checkpoint[SearchProgress] | None = None
) -> SearchSession:
    """Build what searches, as it was at a checkpoint or as it starts.

    Seeds all global random numbers.

    Raises:
        RunError: if the device can't be used, or the checkpoint is of another network.
        DataError: if the data can't be read.
        TraceError: if a model of one's own can't be built, is no classifier of the data, or
            can't be traced, which loading what was found takes.
        SearchError: if there is nothing to decide.
    """
    device = usable_device(config.device)
    data = load(
        config.data, config.data_dir, validation=config.validation, image_size=config.image_size
    )
    recipe = config.search.recipe
    traced_on = first_batch(train_batches(data, recipe, seed=config.seed, device=device))[0]
    network = fresh(config, traced_on[:EXAMPLES], data.num_classes).to(device)
    train = train_batches(data, recipe, seed=config.seed, device=device)
    held_out = Batches(
        data.validation,
        min(recipe.batch_size, len(data.validation)),
        mean=data.mean,
        std=data.std,
        seed=config.seed + 1,
        drop_last=True,
        channels_last=recipe.channels_last,
        device=device,
    )
    example = first_batch(train)[0][:EXAMPLES]
    outputs = run_in_mode(network, as_inputs(example), training=False)
    check_outputs(config.space, outputs, num_samples=len(example), num_classes=data.num_classes)
    searching = Searching(network, config.search, example)
    if checkpoint is not None:
        _restore(searching, checkpoint)
    else:
        check_traceable(network, example, _LOADED)
    began = time.perf_counter() - (checkpoint.progress.seconds if checkpoint is not None else 0)
    return SearchSession(config, data, train, held_out, searching, began)


def check_reach(searching: Searching, train: Batches) -> None:
    """Refuse FLOPs that surely end a search before alpha's first turn: nothing would be chosen.

    Args:
        searching: a search that is to begin.
        train: batches for its weights.

    Raises:
        SearchError: saying how many FLOPs would do.
    """
    config = searching.config
    if config.max_flops is None:
        return
    epoch = (1 + BACKWARD) * searching.costs.mean * train.batch_size * len(train)
    own = config.alpha.every if config.alpha.unit == "epochs" else 0
    reached, needed = config.max_flops / epoch, config.warmup + own
    if reached > needed or not needed:
        return
    fewer = f", or a shorter warm-up, by fewer epochs than {config.epochs}" if not own else ""
    raise SearchError(
        f"{config.max_flops:.3g} FLOPs are spent after {reached:.2g} epochs of about {epoch:.2g} "
        f"each, before alpha has had a turn: the warm-up alone takes {config.warmup} of "
        f"{config.epochs}; give {2 * needed * epoch:.1g} FLOPs or more{fewer}"
    )


def fresh(config: SearchRunConfig, example: Tensor, num_classes: int) -> nn.Module:
    """The network of a search before its first step, on the CPU.

    Raises:
        TraceError: if a model of one's own can't be built.
        SearchError: if there is nothing to decide.
    """
    seeded(config.seed)
    channels, height, width = example.shape[1:]
    network = build_space(
        config, num_classes=num_classes, in_channels=channels, image_size=(height, width)
    )
    network = with_decisions(network, example.cpu())
    commit(network)
    return network


def take_down_search(session: SearchSession, events: int) -> Checkpoint[SearchProgress]:
    """All that `build_search` needs to go on from here.

    Args:
        session: what searches; left as it is.
        events: size in bytes of the run's events so far.

    Raises:
        RunError: if an optimiser holds what can't be saved.
    """
    searching, data = session.searching, session.data
    tensors: dict[str, Tensor] = {"draws.generator": searching.generator.get_state()}
    rest: dict[str, Any] = {}
    for name, optimizer in (("weights", searching.weights), ("alpha", searching.alpha)):
        state, rest[name] = optimizer_state(optimizer)
        tensors |= {f"{name}.{key}": tensor for key, tensor in state.items()}
    random_tensors, rest["random"] = random_state()
    tensors |= {f"random.{key}": tensor for key, tensor in random_tensors.items()}
    progress = SearchProgress(
        epochs=searching.epoch,
        events=events,
        seconds=session.seconds,
        search=searching.progress_dict(),
        num_classes=data.num_classes,
        image_shape=(data.num_channels, *data.image_size),
    )
    edits = [growth.model_dump(mode="json") for growth in searching.expansions]
    weights = distinct(searching.network.state_dict())
    return Checkpoint(weights, edits, tensors, rest, progress)


def _restore(searching: Searching, checkpoint: Checkpoint[SearchProgress]) -> None:
    """Put a search where it was; the random numbers last, since building draws some.

    Raises:
        RunError: if it was one of another network.
    """
    try:
        searching.load_progress_dict(checkpoint.progress.search)
    except EditError as error:
        raise RunError(
            f"the search's expansions don't fit the network: {error}. The model has to be built as "
            "when the search was started"
        ) from error
    load_weights(searching.network, checkpoint.weights)
    parts = by_part(checkpoint.tensors)
    for name, optimizer in (("weights", searching.weights), ("alpha", searching.alpha)):
        load_optimizer_state(optimizer, parts[name], checkpoint.rest[name])
    searching.generator.set_state(parts["draws"]["generator"].to(torch.uint8))
    commit(searching.network)
    load_random_state(parts["random"], checkpoint.rest["random"])
