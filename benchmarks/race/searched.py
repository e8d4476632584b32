"""ASO-SE, original and improved: search, derivation and training on, inside the budget."""

import shutil
from typing import Any

import torch
from aso_se import ARMS
from begun import begun_search
from results import known_settings, layers
from settings import PFLOP, REGIMES, Job, Place
from tracked import CHECKPOINT_SECONDS

from neuroexapt.runs import (
    SearchSummary,
    configure,
    configure_search,
    load_model,
    read_search,
)
from neuroexapt.search import aso_se
from neuroexapt.search.cost import OperationCosts
from neuroexapt.training import DataSplits, load

FEWEST_EPOCHS = 5
"""Passes over the images, at least."""
PARTS = 3
"""Epochs of a search, a pass."""


def aso_se_search(job: Job, place: Place) -> dict[str, Any]:
    """One of the two frameworks, on the widest network that the budget can train long enough."""
    folder = place.runs / job.name
    own = _settings(job, place)
    found = begun_search(configure_search(known_settings(job, place) | own), folder)
    summary = found if isinstance(found, SearchSummary) else found.finish()
    history = read_search(folder).epochs
    before_final = [record.flops for record in history if record.phase != "final"]
    outcome = {
        "settings": own,
        "test_accuracy": summary.test_accuracy,
        "val_accuracy": summary.val_accuracy,
        "views": summary.test_views,
        "params": summary.params,
        "macs": summary.macs,
        "pflop": summary.train_flops / PFLOP,
        "overhead_share": max(before_final, default=0) / summary.train_flops,
        "epochs": summary.epochs,
        "seconds": summary.seconds,
        "stopped": summary.stopped,
        "choices": summary.choices,
        "alpha_steps": summary.alpha_steps,
        "expansions": summary.expansions,
        "curve": [[record.flops / PFLOP, record.val_accuracy] for record in history],
        "edits": [],
        "layers": layers(load_model(folder)),
    }
    shutil.rmtree(folder)
    return outcome


def _settings(job: Job, place: Place) -> dict[str, Any]:
    """Space and search; the weights are trained by the regime's recipe."""
    regime = REGIMES[job.regime]
    data = load(job.data, place.data_dir)
    affordable = {
        channels: job.max_flops / (3 * _mean_flops(channels, data) * len(data.train))
        for channels in regime.channels
    }
    enough = [c for c, epochs in affordable.items() if epochs >= regime.search_epochs]
    channels = max(enough, default=min(regime.channels))
    arm = job.contender.removeprefix("aso-se-")
    given = {"epochs": 1, "recipe": regime.recipe}
    recipe = configure(known_settings(job, place) | given).recipe
    # A plateau is told by epochs, and it takes some: an epoch is a third of a pass.
    steps = max(len(data.train) // (PARTS * recipe.batch_size), 1)
    passes = max(affordable[channels], FEWEST_EPOCHS)
    epochs = round(passes * len(data.train) / (steps * recipe.batch_size))
    recipe = recipe.model_copy(update={"steps_per_epoch": steps})
    search = ARMS[arm](job.max_flops, job.seed, epochs).model_copy(update={"recipe": recipe})
    return {
        "space": "aso-se",
        "channels": channels,
        "method": arm,
        "validation": 0.1,
        "search": search.model_dump(mode="json"),
        "checkpoint_seconds": CHECKPOINT_SECONDS,
    }


def _mean_flops(channels: int, data: DataSplits) -> float:
    network = aso_se(data.num_classes, data.num_channels, channels=channels)
    return OperationCosts.of(network, torch.zeros(2, data.num_channels, *data.image_size)).mean
