"""What every candidate would really bring: each is tried alone, for a while, with several seeds."""

import copy
import itertools
import time
from pathlib import Path
from typing import Any

import torch
from checkpoints import Checkpoint, batches, set_rate, splits
from torch import nn

from neuroexapt import LivingModel
from neuroexapt.growth import Newborns, Nursery, nominate
from neuroexapt.growth.proposal import Proposal
from neuroexapt.signals import Readings, growth_gain, sense
from neuroexapt.training import build_optimizer, evaluate, evaluation_batches

HORIZON = 300
SHARE = 1.0
PRUNED = 0.25
MOST_CONNECTIONS = 4
CRITERION = nn.CrossEntropyLoss()
NEWBORNS = Newborns()


def candidates(living: LivingModel, readings: Readings) -> list[Proposal]:
    """Whatever any nominator can name, groups doubled or cut by a quarter."""
    return [
        *nominate.nominate_splits(readings, living, SHARE),
        *nominate.nominate_widening(readings, living, SHARE),
        *nominate.nominate_blocks(living, nominate.BLOCKS),
        *itertools.islice(nominate.nominate_connections(readings, living), MOST_CONNECTIONS),
        *nominate.nominate_attention(living),
        *itertools.islice(nominate.nominate_driving(readings, living), MOST_CONNECTIONS),
        *nominate.nominate_activations(living),
        *nominate.nominate_pruning(readings, living, PRUNED),
    ]


NAMES = (
    "gain",
    "error",
    "beyond",
    "beyond_error",
    "dual",
    "share",
    "num_parameters",
    "params",
    "macs",
)


def sensed(checkpoint: Checkpoint, living: LivingModel, data_dir: Path) -> list[dict[str, Any]]:
    """All candidates with everything that was measured of them."""
    stream = batches(checkpoint, data_dir, seed=99)
    data = [next(stream) for _ in range(16)]
    readings = sense(living, data, CRITERION, num_batches=8)
    proposals = candidates(living, readings)
    growing = [p.edit for p in proposals if p.edit.kind != "prune"]
    gains = growth_gain(living, growing, data, CRITERION, parts=1)
    known = {repr(gain.edit): gain for gain in gains.found}
    rows: list[dict[str, Any]] = []
    for proposal in proposals:
        edit = proposal.edit
        row = {
            "edit": edit.model_dump(mode="json"),
            "evidence": proposal.evidence,
            "loss": gains.loss,
        }
        if (gain := known.get(repr(edit))) is not None:
            row["gain"] = {name: getattr(gain, name) for name in NAMES}
        elif edit.kind != "prune":
            continue  # it doesn't fit the model
        rows.append(row)
    return rows


def outcome(
    checkpoint: Checkpoint,
    start: tuple[LivingModel, torch.optim.Optimizer],
    proposal: Any,
    seed: int,
    data_dir: Path,
    newborns: Newborns = NEWBORNS,
    steps: int = HORIZON,
) -> dict[str, float]:
    """Train on with an edit, or without one, while the learning rate falls to zero.

    Runs of one seed see the same batches, and all begin with the same weights and the same state of
    the optimiser: `load_state_dict` alone would share its tensors, which each run changes.
    """
    began = time.perf_counter()
    living = copy.deepcopy(start[0])
    recipe = checkpoint.recipe
    optimizer = build_optimizer(living, recipe)
    optimizer.load_state_dict(copy.deepcopy(start[1].state_dict()))
    nursery = Nursery(newborns, optimizer)
    if proposal is not None:
        nursery.admit(living.apply(proposal, optimizer, seed=seed, check=False))
    stream = batches(checkpoint, data_dir, seed=1000 + seed)
    losses = []
    living.train()
    for step in range(steps):
        set_rate(optimizer, recipe.lr * (1 - step / steps))
        inputs, targets = next(stream)
        optimizer.zero_grad()
        loss = CRITERION(living(inputs), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    found = splits(checkpoint.data, data_dir)
    validation = evaluation_batches(found, found.validation, channels_last=recipe.channels_last)
    held_out = evaluate(living, validation, CRITERION)
    late = losses[-steps // 3 :]
    return {
        "seed": seed,
        "loss": held_out.loss,
        "accuracy": held_out.accuracy,
        "train_loss": sum(late) / len(late),
        "params": living.cost().params,
        "macs": living.cost().macs,
        "seconds": time.perf_counter() - began,
    }
