"""What each kind of edit is worth by the end of a training, where a trial of 300 steps can't tell.

Networks of the families that the prior is fitted on grow at random until a budget is spent, each
run with a random choice of the kinds; how the final loss goes with the number of edits of each kind
is a regression.
"""

import math
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from checkpoints import FIT_FAMILIES, RECIPES, Checkpoint, batches, build, set_rate, splits
from torch import nn

from neuroexapt import LivingModel
from neuroexapt.growth import GrowthConfig, Grower
from neuroexapt.growth.prior import kind_of
from neuroexapt.training import build_optimizer, evaluate, evaluation_batches

MAX_FLOPS = 1e12
GROWTHS = 5
UNTIL = 0.5
WARMUP = 0.02
GROWING = ("widen", "deepen", "connect", "attend", "activate")
KINDS = ("widen", "deepen", "connect", "attend-channels", "attend-positions", "activate")
CRITERION = nn.CrossEntropyLoss()


def run(number: int, data_dir: Path) -> dict[str, Any]:
    """One network, grown at random from a beginning and with kinds that the number says."""
    began = time.perf_counter()
    rng = random.Random(number)
    family, data = FIT_FAMILIES[number % 3], ("cifar", "clutter")[number // 3 % 2]
    kinds = [kind for kind in GROWING if rng.random() < 0.5]
    place = Checkpoint(family, data, "early", "fit", seed=number)
    found = splits(data, data_dir)
    torch.manual_seed(number)
    example = torch.zeros(2, found.num_channels, *found.image_size)
    living = LivingModel(build(family, found.num_channels), example)
    recipe = RECIPES[data]
    optimizer = build_optimizer(living, recipe)
    config = GrowthConfig(policy="random", every=1, kinds=kinds, max_edits=4, pace=1.6, until=1.0)
    grower = Grower(living, optimizer, CRITERION, config=config, seed=number)
    stream = batches(place, data_dir, seed=number)
    spent, grown = 0.0, 0
    while spent < MAX_FLOPS:
        done = spent / MAX_FLOPS
        if kinds and grown < GROWTHS and done >= UNTIL * (grown + 1) / GROWTHS:
            grower.step(list(islice(stream, 2)), metric=float(grown))
            grown += 1
        set_rate(optimizer, recipe.lr * min(done / WARMUP + 0.01, 1.0, 1.0 - done))
        spent += _step(living, optimizer, stream)
    held_out = evaluate(living, evaluation_batches(found, found.validation), CRITERION)
    counts = Counter(kind_of(growth.edit) for growth in grower.growths)
    return {
        "number": number,
        "family": family,
        "data": data,
        "kinds": kinds,
        "edits": [growth.edit.model_dump(mode="json") for growth in grower.growths],
        "counts": dict(counts),
        "params": living.cost().params,
        "macs": living.cost().macs,
        "loss": held_out.loss,
        "accuracy": held_out.accuracy,
        "seconds": time.perf_counter() - began,
    }


def _step(
    living: LivingModel,
    optimizer: torch.optim.Optimizer,
    stream: Iterator[tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """One training step; its FLOPs."""
    living.train()
    inputs, targets = next(stream)
    optimizer.zero_grad()
    CRITERION(living(inputs), targets).backward()
    optimizer.step()
    return 6.0 * living.cost().macs * len(inputs)


def worth(runs: Sequence[dict[str, Any]], ridge: float = 1.0) -> dict[str, dict[str, float]]:
    """Share of the final loss that an edit of each kind saves, at equal compute, with its error.

    Least squares of log loss on the counts, with a level for each family and data set; the counts
    enter by their square root, since the second edit of a kind brings less than the first.
    """
    places = sorted({(run["family"], run["data"]) for run in runs})
    level = np.array([[(run["family"], run["data"]) == p for p in places] for run in runs], float)
    counts = np.array([[math.sqrt(run["counts"].get(k, 0)) for k in KINDS] for run in runs])
    design = np.hstack([level, counts])
    penalty = np.diag([0.0] * len(places) + [ridge] * len(KINDS))
    inverse = np.linalg.inv(design.T @ design + penalty)
    y = np.array([math.log(run["loss"]) for run in runs])
    found = inverse @ design.T @ y
    freedom = max(len(runs) - design.shape[1], 1)
    error = np.sqrt(np.diag(inverse) * ((y - design @ found) ** 2).sum() / freedom)
    at = range(len(places), design.shape[1])
    return {k: {"saved": -float(found[i]), "error": float(error[i])} for k, i in zip(KINDS, at)}
