"""What a search finds in NAS-Bench-201's space, scored by the benchmark's table.

python benchmarks/nasbench201.py run --data-dir PATH [--only ARM] [--seed S]
python benchmarks/nasbench201.py sum

`run` gives each arm the same training FLOPs on a small supernet (8 channels, one cell a stage,
CIFAR-10 at 16 x 16): 12,500 training images for the weights, 5,376 others for alpha. Neither any
test image nor the table is looked at before the cell is fixed; the table then gives that cell's
test accuracy after 200 epochs. `random` trains 10 cells, evenly drawn, from scratch in equal parts
of the FLOPs, and takes the best on the held-out images. One file a run in
benchmarks/results/nasbench201; what is there isn't run again. `sum` writes summary.json. In
at-6e12 are searches of less compute, in every-4 improved ones of when they drew evenly in every
fourth epoch only.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from provenance import RESULTS, provenance, spread

from neuroexapt.search import (
    AlphaConfig,
    NASBench201,
    SearchConfig,
    Searching,
    commit,
    darts,
    decisions,
    explore,
    nasbench201,
    original,
)
from neuroexapt.search.table import write_cell
from neuroexapt.training import Augment, Batches, ImageSet, Recipe, load

FOLDER = RESULTS / "nasbench201"
MAX_FLOPS = 9e12
"""About 40 epochs of the improved search."""
TRAIN, HELD_OUT, SIDE, BATCH = 12_500, 5_376, 16, 64
CELLS = 10
"""That random search trains."""
RECIPE = Recipe(lr=0.05, weight_decay=3e-4, nesterov=False, warmup=0.0)
NO_END = 10_000
"""Epochs of a search that its FLOPs end."""
SAMPLED_MFLOPS = 3.0
"""Of a forward pass of one image, mean over draws: about; it only sets original's phases."""


def _improved(seed: int) -> SearchConfig:
    return SearchConfig(epochs=NO_END, warmup=6, recipe=RECIPE, seed=seed)


def _papers(seed: int) -> SearchConfig:
    """Alpha as the papers have it: every third epoch a pass, only the drawn operation runs."""
    alpha = AlphaConfig(lr=6e-4, every=3, unit="epochs", num_running=1, horizon=0.0)
    return _improved(seed).model_copy(update={"alpha": alpha})


def _papers_run_all(seed: int) -> SearchConfig:
    """The same, but all operations run at alpha's steps."""
    alpha = AlphaConfig(lr=6e-4, every=3, unit="epochs", num_running=None, horizon=0.0)
    return _improved(seed).model_copy(update={"alpha": alpha})


def _shortsighted(seed: int) -> SearchConfig:
    """Operations count for what they do now, not for what they would still learn."""
    return _improved(seed).model_copy(update={"alpha": AlphaConfig(horizon=0.0)})


def _explored_less(seed: int) -> SearchConfig:
    """Even draws in every fourth epoch only."""
    return _improved(seed).model_copy(update={"explore_every": 4})


def _unexplored(seed: int) -> SearchConfig:
    """Without epochs of even draws."""
    return _improved(seed).model_copy(update={"explore_every": 0})


def _original(seed: int) -> SearchConfig:
    epochs = round(MAX_FLOPS / (3 * SAMPLED_MFLOPS * 1e6 * TRAIN))
    return original(epochs, seed).model_copy(update={"recipe": RECIPE})


def _darts(seed: int) -> SearchConfig:
    return darts(NO_END, seed).model_copy(update={"recipe": RECIPE})


ARMS: Mapping[str, Callable[[int], SearchConfig]] = {
    "improved": _improved,
    "original": _original,
    "darts": _darts,
    "improved-shortsighted": _shortsighted,
    "improved-papers-alpha": _papers,
    "improved-papers-alpha-run-all": _papers_run_all,
    "improved-explored-less": _explored_less,
    "improved-unexplored": _unexplored,
}


def data(data_dir: Path, seed: int) -> tuple[Batches, Batches]:
    """Batches for the weights and for alpha."""
    splits = load("cifar10", data_dir)
    small = torch.nn.functional.interpolate(
        splits.train.images[: TRAIN + HELD_OUT].float(), size=(SIDE, SIDE), mode="area"
    )
    images, labels = small.round().to(torch.uint8), splits.train.labels[: TRAIN + HELD_OUT]
    classes = splits.train.classes
    known = {"mean": splits.mean, "std": splits.std, "drop_last": True}
    weights = ImageSet(images[:TRAIN], labels[:TRAIN], classes)
    held_out = ImageSet(images[TRAIN:], labels[TRAIN:], classes)
    shifted, flipped = Augment(shift=1, flip=True), Augment(flip=True)
    return (
        Batches(weights, BATCH, seed=seed, augment=shifted, **known),
        Batches(held_out, BATCH, seed=seed + 1000, augment=flipped, **known),
    )


def space(seed: int) -> torch.nn.Module:
    """The supernet."""
    torch.manual_seed(seed)
    return nasbench201(10, channels=8, cells_a_stage=1, seed=seed)


def searched(arm: str, seed: int, train: Batches, held_out: Batches) -> dict[str, Any]:
    """What one search came to."""
    config = ARMS[arm](seed).model_copy(update={"max_flops": MAX_FLOPS})
    search = Searching(space(seed), config, next(iter(train))[0])
    history = list(search.run(train, held_out))
    kept = {"phase", "train_accuracy", "val_accuracy", "alpha_steps", "movement", "flops"}
    return {
        "cell": write_cell(history[-1].choices),
        "train_flops": search.flops,
        "config": config.model_dump(mode="json"),
        "history": [
            {"cell": write_cell(item.choices)} | item.model_dump(mode="json", include=kept)
            for item in history
        ],
    }


def drawn(seed: int, train: Batches, held_out: Batches) -> dict[str, Any]:
    """The best of some cells, each trained alone."""
    generator = torch.Generator().manual_seed(seed)
    tried, flops = [], 0
    for number in range(CELLS):
        network = space(seed * CELLS + number)
        explore(network, generator)
        with torch.no_grad():
            for decision in decisions(network).values():
                decision.alpha[decision.active[0]] += 1.0
        commit(network)
        part = {"epochs": NO_END, "warmup": 0, "final": 0, "max_flops": MAX_FLOPS / CELLS}
        config = SearchConfig(recipe=RECIPE, seed=seed, expansion=None, **part)
        search = Searching(network, config, next(iter(train))[0])
        last = list(search.run(train, held_out))[-1]
        tried.append({"cell": write_cell(last.choices), "val_accuracy": last.val_accuracy})
        flops += search.flops
    best = max(tried, key=lambda item: item["val_accuracy"])
    return {"cell": best["cell"], "train_flops": flops, "tried": tried}


def run(arm: str, seed: int, data_dir: Path) -> None:
    """One run, unless it is there."""
    path = FOLDER / f"{arm}-seed{seed}.json"
    if path.exists():
        return
    train, held_out = data(data_dir, seed)
    began, used = time.perf_counter(), time.process_time()
    if arm == "random":
        found = drawn(seed, train, held_out)
    else:
        found = searched(arm, seed, train, held_out)
    minutes = (time.perf_counter() - began) / 60
    scores = NASBench201(data_dir.parent / "nasbench201.csv")[found["cell"]]
    measured = {
        "provenance": provenance(),
        "arm": arm,
        "seed": seed,
        "test_accuracy": scores.test,
        "minutes": minutes,
        "cpu_minutes": (time.process_time() - used) / 60,
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n")
    print(arm, seed, scores.test, found["cell"], f"{minutes:.1f} min", flush=True)


def summed(folder: Path = FOLDER) -> dict[str, Any]:
    """What each arm found over its seeds."""
    arms: dict[str, Any] = {}
    for arm in [*ARMS, "random"]:
        found = [json.loads(path.read_text()) for path in sorted(folder.glob(f"{arm}-seed?.json"))]
        if not found:
            continue
        accuracies = [100 * item["test_accuracy"] for item in found]
        moves = [moved(item["history"]) for item in found if "history" in item]
        threads = [item["provenance"]["threads"] for item in found]
        alone = [item for item, count in zip(found, threads, strict=True) if count == max(threads)]
        arms[arm] = {
            "test_accuracy": accuracies,
            **spread(accuracies),
            "minutes": max(item["minutes"] for item in alone),
            "threads": max(threads),
            "minutes_of_each": [item["minutes"] for item in found],
            "cpu_minutes": max(item["cpu_minutes"] for item in found),
            "train_flops": [item["train_flops"] for item in found],
            "cells": [item["cell"] for item in found],
        }
        if moves:
            arms[arm]["alpha"] = {name: fmean(move[name] for move in moves) for name in moves[0]}
    return arms


def moved(history: list[dict[str, Any]]) -> dict[str, float]:
    """How alpha moved while it was trained: L1 change of softmax(alpha), mean over decisions."""
    searched = [item for item in history if item["phase"] in ("search", "growth")]
    change = sum(item["movement"]["change"] for item in searched)
    steps = sum(item["alpha_steps"] for item in searched)
    cells = [item["cell"] for item in searched]
    return {
        "change_an_epoch": change / len(searched),
        "change_a_step": change / steps,
        "steps": steps,
        "cells_on_the_way": len(set(cells)),
    }


def main() -> None:
    """Run or sum up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "sum"])
    parser.add_argument("--data-dir", type=Path, help="CIFAR-10's; the table lies beside it")
    parser.add_argument("--only", choices=[*ARMS, "random"])
    parser.add_argument("--seed", type=int)
    args = parser.parse_args()
    if args.what == "run":
        for seed in range(3) if args.seed is None else [args.seed]:
            for arm in [*ARMS, "random"] if args.only is None else [args.only]:
                run(arm, seed, args.data_dir)
        return
    sums = summed()
    ratio = {
        name: sums["improved"]["alpha"][name] / sums["original"]["alpha"][name]
        for name in ("change_an_epoch", "change_a_step")
    }
    earlier = {"every-4": summed(FOLDER / "every-4")}
    told = {"provenance": provenance(), "max_flops": MAX_FLOPS, **sums, **earlier}
    path = FOLDER / "summary.json"
    path.write_text(json.dumps(told | {"alpha_movement_ratio": ratio}, indent=1) + "\n")
    print(f"alpha moved {ratio['change_an_epoch']:.1f} times as far an epoch as original's")
    for arm, item in sums.items():
        print(f"{arm:30} {item['mean']:.2f} +- {item['std']:.2f} {item['test_accuracy']}")


if __name__ == "__main__":
    main()
