"""A grown network from its run, to go on with elsewhere."""

from pathlib import Path

import torch

from neuroexapt.edits import load_edits, replay
from neuroexapt.errors import EditError, RunError
from neuroexapt.evolution import Choice
from neuroexapt.graph import LivingModel
from neuroexapt.runs.checkpoint import Progress
from neuroexapt.runs.config import read_config
from neuroexapt.runs.evolved import load_member
from neuroexapt.runs.folder import find_run, load_checkpoint
from neuroexapt.runs.kind import NOUNS, kind_of
from neuroexapt.runs.search_run import load_derived
from neuroexapt.runs.session import EXAMPLES, load_weights
from neuroexapt.training import build_model
from neuroexapt.training.whitening import freeze_whitening


def load_model(
    path: str | Path, *, pick: Choice | None = None, member: str | None = None
) -> LivingModel:
    """Load the network that a run has grown, on the CPU and in eval mode; its data isn't needed.

    What a search has found is loaded likewise, as a plain network that can grow on, and of an
    evolution the network that is asked for.

    Args:
        path: the run's folder, for its newest checkpoint, or one of its checkpoints.
        pick: of an evolution's front the "knee", or the most "accurate", "small" or "fast" one; by
            default as the run picked.
        member: of an evolution the network of that name instead, such as "3.2".

    Raises:
        RunError: naming the file, if one is missing or damaged; or if the run has no such network.
        TraceError: if the seed model can't be built any more.
    """
    folder, asked = find_run(Path(path))
    kind = kind_of(folder)
    if kind == "evolve":
        return load_member(Path(path), pick, member)
    if pick is not None or member is not None:
        raise RunError(
            f"{folder.path} holds a {NOUNS[kind]}, of which there is one model; leave out pick and "
            "member"
        )
    if kind == "search":
        return load_derived(path)
    config = read_config(folder.config)
    newest = asked or folder.latest
    if newest is None:
        raise RunError(f"{folder.path} holds no checkpoint yet; resume the run")
    checkpoint = load_checkpoint(folder, newest, Progress)
    progress = checkpoint.progress
    channels, height, width = progress.image_shape
    model = build_model(
        config.model,
        num_classes=progress.num_classes,
        in_channels=channels,
        image_size=(height, width),
    )
    freeze_whitening(model)
    try:
        example = torch.zeros(EXAMPLES, *progress.image_shape)
        living = replay(model, example, load_edits(checkpoint.edits))
    except EditError as error:
        raise RunError(
            f"the edits of {newest} don't fit {config.model}: {error}. The model has to be built "
            "as when the run was started"
        ) from error
    load_weights(living, checkpoint.weights)
    return living.eval()
