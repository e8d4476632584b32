"""How long sensing takes as networks get deeper, and its share of a growing network's training.

python benchmarks/sensing.py [--repeats 3] [--quick]

Chains of 10 to 200 convolutions, plain and with a sum over every two: CPU seconds of `sense`, of
the growth gain of everything the arbiter would try and of its whole ranking, beside one training
step on the same batch, in turn and after a warm-up. CPU time, since a machine's other work doesn't
count in it. Then digits grow, by the arbiter and by the papers' rules: the FLOPs of sensing and of
checking edits over all training FLOPs. With `--quick`, shallow chains and few epochs, to see that
it runs; nothing is kept.
"""

import argparse
import gc
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch
from provenance import keep
from torch import Tensor, nn

from neuroexapt import Budget, GrowthConfig, LivingModel
from neuroexapt.growth.arbiter import candidates, rank_by_worth
from neuroexapt.growth.situation import Situation
from neuroexapt.runs import configure, grow
from neuroexapt.signals import growth_gain, sense

CHANNELS = 8
SAMPLES = 64
SIDE = 16
DEPTHS = (10, 20, 50, 100, 200)
QUICK_DEPTHS = (4, 6, 10)
DEEP = 50
"""From this depth on, what a call costs whatever the depth no longer hides how time grows."""
CRITERION = nn.CrossEntropyLoss()


class Chain(nn.Module):
    """Convolutions of one width, each with norm and ReLU; a sum over every two, if residual."""

    def __init__(self, depth: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.convs = nn.ModuleList(
            nn.Conv2d(CHANNELS if i else 3, CHANNELS, 3, padding=1, bias=False)
            for i in range(depth)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(CHANNELS) for _ in range(depth))
        self.head = nn.Linear(CHANNELS, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images."""
        kept: Tensor | None = None
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x))
            if self.residual and index % 2 == 0:
                x = kept = x if kept is None else x + kept
            x = torch.relu(x)
        return self.head(x.mean((2, 3)))


def batch() -> tuple[Tensor, Tensor]:
    """Noise: times don't depend on what there is to learn."""
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(SAMPLES, 3, SIDE, SIDE, generator=generator)
    return images, torch.randint(10, (SAMPLES,), generator=generator)


def situation(living: LivingModel, data: Sequence[Any]) -> Situation:
    """A situation as a grower meets it, sensed."""
    return Situation(
        living,
        sense(living, data, CRITERION),
        data,
        CRITERION,
        GrowthConfig(policy="arbiter"),
        Budget(),
        torch.Generator().manual_seed(0),
        {"other": 1.0},
        0.1,
    )


def step(living: LivingModel, data: tuple[Tensor, Tensor]) -> None:
    """Forward and backward of one training step."""
    living.train()
    living.zero_grad()
    CRITERION(living(data[0]), data[1]).backward()


def seconds(run: Callable[[], object]) -> float:
    """CPU time of one call, without collecting what earlier ones left behind."""
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


def timings(depth: int, residual: bool, repeats: int) -> dict[str, Any]:
    """Medians for one chain; what is compared runs in turn."""
    torch.manual_seed(0)
    data = batch()
    living = LivingModel(Chain(depth, residual), data[0][:2])
    now = situation(living, [data])
    edits = [proposal.edit for proposal in candidates(now)]
    runs: dict[str, Callable[[], Any]] = {
        "step": lambda: step(living, data),
        "sense": lambda: sense(living, [data], CRITERION),
        "gain": lambda: growth_gain(living, edits, [data], CRITERION),
        "rank": lambda: rank_by_worth(now),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            times[name].append(seconds(run))
    middle = {f"{name}_s": median(values) for name, values in times.items()}
    a_layer = {f"{name}_ms_a_layer": 1000 * middle[f"{name}_s"] / depth for name in runs}
    return {"depth": depth, "candidates": len(edits), **middle, **a_layer}


def exponent(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    """Slope of a straight line through log(time) over log(depth): 1 if linear."""
    xs = [math.log(row["depth"]) for row in rows]
    ys = [math.log(row[name]) for row in rows]
    mean_x, mean_y = fmean(xs), fmean(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return over / sum((x - mean_x) ** 2 for x in xs)


def chains(residual: bool, depths: Sequence[int], repeats: int) -> dict[str, Any]:
    """All depths of one kind of chain, and how their times grow."""
    timings(depths[0], residual, 1)
    rows = []
    for depth in depths:
        rows.append(timings(depth, residual, repeats))
        print(json.dumps(rows[-1]), flush=True)
    deep = [row for row in rows if row["depth"] >= DEEP]
    return {
        "rows": rows,
        "exponents": exponents(rows),
        f"exponents_from_{DEEP}": exponents(deep) if len(deep) > 1 else None,
    }


def exponents(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """How each time grows with depth."""
    return {name: exponent(rows, f"{name}_s") for name in ("step", "sense", "gain", "rank")}


def share(policy: str, seed: int, epochs: int | None) -> dict[str, Any]:
    """What growing took of a run's training FLOPs, and what it came to."""
    settings = {"data": "digits", "seed": seed, "growth": {"policy": policy}, "epochs": epochs}
    with tempfile.TemporaryDirectory() as folder:
        summary = grow(configure(settings), Path(folder) / "run")
    kept = ("seed", "growth_flops_share", "train_flops", "edits", "params_seed", "params_final")
    return {name: getattr(summary, name) for name in kept}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    depths, epochs = (QUICK_DEPTHS, 8) if options.quick else (DEPTHS, None)
    measured = {
        "samples": SAMPLES,
        "channels": CHANNELS,
        "side": SIDE,
        "plain": chains(False, depths, options.repeats),
        "residual": chains(True, depths, options.repeats),
        "digits": {
            policy: [share(policy, seed, epochs) for seed in range(options.seeds)]
            for policy in ("arbiter", "papers")
        },
    }
    if options.quick:
        print(json.dumps(measured, indent=2))
    else:
        print(keep("sensing", measured).read_text())


if __name__ == "__main__":
    main()
