"""A network of an evolution from its run, to go on with elsewhere."""

import logging
from pathlib import Path

import torch

from neuroexapt.errors import EvolutionError, RunError
from neuroexapt.evolution import Choice, fronts
from neuroexapt.evolution import pick as picked
from neuroexapt.evolution.networks import Network
from neuroexapt.graph import LivingModel
from neuroexapt.runs.evolution_config import EvolutionRunConfig, read_evolution_config
from neuroexapt.runs.evolution_run import find_evolution
from neuroexapt.runs.evolution_session import EvolutionProgress, developed, members_of
from neuroexapt.runs.folder import load_checkpoint
from neuroexapt.runs.session import EXAMPLES
from neuroexapt.training import build_model
from neuroexapt.training.whitening import freeze_whitening

logger = logging.getLogger(__name__)


def load_member(path: Path, pick: Choice | None = None, member: str | None = None) -> LivingModel:
    """Load a network of an evolution, on the CPU and in eval mode; its data isn't needed.

    Args:
        path: the evolution's folder, for its newest checkpoint, or one of its checkpoints.
        pick: which one of the front; None for as the run picks.
        member: the name of the one to load instead.

    Raises:
        RunError: naming the file, if one is missing or damaged; or if there is no such network.
        TraceError: if the seed model can't be built any more.
    """
    folder, asked = find_evolution(path)
    config = read_evolution_config(folder.config)
    newest = asked or folder.latest
    population, progress = [], None
    if newest is not None:
        checkpoint = load_checkpoint(folder, newest, EvolutionProgress)
        population, progress = members_of(checkpoint), checkpoint.progress
    if not population or progress is None:
        raise RunError(f"{folder.path} holds no network yet; resume the run")
    chosen = _chosen(population, config, pick, member)
    excess = config.evolution.limits.excess(chosen.scores)
    if excess > 0:
        logger.warning("%s passes the run's limits by %.0f%%", chosen.name, 100 * excess)
    channels, height, width = progress.image_shape
    model = build_model(
        config.model,
        num_classes=progress.num_classes,
        in_channels=channels,
        image_size=(height, width),
    )
    freeze_whitening(model)
    seed = LivingModel(model, torch.zeros(EXAMPLES, *progress.image_shape))
    return developed(seed, chosen)


def _chosen(
    population: list[Network], config: EvolutionRunConfig, pick: Choice | None, member: str | None
) -> Network:
    if member is not None and pick is not None:
        raise RunError(f"pick={pick!r} and member={member!r} both choose a network; give one")
    if member is not None:
        found = next((one for one in population if one.name == member), None)
        if found is None:
            names = ", ".join(one.name for one in population)
            raise RunError(f"there is no network {member!r}; there are {names}")
        return found
    objectives = config.evolution.objectives
    front = sorted(fronts(population, objectives)[0], key=lambda one: one.scores["error"])
    try:
        return picked(front, pick or config.pick, objectives)
    except EvolutionError as error:
        raise RunError(f"pick: {error}") from error
