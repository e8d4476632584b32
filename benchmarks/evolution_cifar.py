"""Does evolution pay? Fronts on CIFAR-10 for the same total compute, by three ways to get them.

python benchmarks/evolution_cifar.py run --data-dir PATH [--only ARM] [--seed S] [--max-flops 5e13]
    [--device cpu]
python benchmarks/evolution_cifar.py sum

`run` spends the FLOPs, sensing and edits included, on `evolution` (mutations drawn from the
arbiter's ranking), on `random_mutation` (the same, mutations drawn evenly) or on `separate_runs`
(five DNM trainings of seed networks of several widths, each with a fifth of them, grown as what the
race's tuning has chosen grows). Everything is chosen by 5,000 held-out training images. The front's
networks are then tested once, and the hypervolume is that of their test errors and MACs, with the
error from 0.1 to 0.5 and the MACs from 0 to 26 million scaled to 0..1. One file a run in
benchmarks/results/evolution; what is there isn't run again, and what was cut off goes on from its
last checkpoint. `sum` adds "cifar10" to summary.json.

Evolution's seed network is airbench's at width 12, and the recipe airbench's with half the batch
and a learning rate that suits it.
"""

import argparse
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "race"))

from begun import begun
from provenance import RESULTS, provenance, spread
from variants import SOON

from neuroexapt.evolution import (
    EvolutionConfig,
    MultiObjectiveArchitectureEvolution,
    hypervolume,
)
from neuroexapt.evolution.networks import Network
from neuroexapt.growth import GrowthConfig
from neuroexapt.runs import GrowConfig, Summary, configure
from neuroexapt.training import (
    RECIPES,
    airbench,
    build_criterion,
    evaluate,
    evaluation_batches,
    load,
    train_batches,
)
from neuroexapt.training.whitening import whiten_first_

FOLDER = RESULTS / "evolution"
RUNS = Path(__file__).parent.parent / "runs" / "evolution"
WIDTH = 12
MAX_MACS = 26_000_000
IDEAL, REFERENCE = (0.1, 0.0), (0.5, float(MAX_MACS))
SIZES = (4, 6, 8, 12, 16)
"""Widths of the separate runs' seed networks."""
RECIPE = RECIPES["airbench"].model_copy(
    update={"batch_size": 250, "lr": 0.15, "steps_per_epoch": 45, "views": "plain"}
)
"""A quarter of a pass over the images is an epoch here: fast trainings have few."""
GROWTH: dict[str, Any] = {
    "policy": "arbiter",
    "every": 1,
    **SOON,
    "newborns": {"lr": 1.0, "steps": 0},
}
"""How the separate runs grow."""
MUTATION: dict[str, Any] = {"kinds": ("connect",), "exchange": 0.1, "min_saving": 0.0}
"""How mutations that grow a network do it: what the race's tuning has found to pay."""
EVOLUTION: dict[str, Any] = {
    "error_ratio": 1.5,
    "size": 8,
    "num_children": 4,
    "founding": 3.0,
    "rungs": (0.5,),
    "trained": 1,
    "num_edits": 4,
    "pruning": 0.5,
    "polish": 0.8,
    "finalists": 5,
}
"""How networks evolve, in both arms."""
POLICIES: Mapping[str, str] = {"evolution": "arbiter", "random_mutation": "random"}
ARMS = (*POLICIES, "separate_runs")


def evolved(arm: str, seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """A front by evolution."""
    data = load("cifar10", args.data_dir)
    growth = GrowthConfig.model_validate(MUTATION | {"policy": POLICIES[arm]})
    config = EvolutionConfig.model_validate(
        EVOLUTION
        | {
            "objectives": ("error", "macs"),
            "limits": {"macs": MAX_MACS},
            "max_flops": args.max_flops,
            "recipe": RECIPE,
            "growth": growth,
            "seed": seed,
        }
    )
    torch.manual_seed(seed)
    network = airbench(10, 3, width=WIDTH)
    whiten_first_(network, data)
    network.to(args.device)
    evolution = MultiObjectiveArchitectureEvolution(
        network,
        train_batches(data, RECIPE, seed=seed, device=args.device),
        evaluation_batches(data, data.validation, channels_last=True, device=args.device),
        config,
    )
    path = checkpoint(arm, seed)
    population, before = _resumed(evolution, path)
    parts = [*before, provenance() | {"device": args.device, "from_flops": evolution.flops}]
    generations = evolution.run(population)
    for population in generations:
        _keep(evolution, population, parts, path)
        record = evolution.history[-1]
        best = min(member.scores["error"] for member in record.population)
        print(arm, seed, record.phase, f"{record.flops:.2e} {best:.4f}", flush=True)
    test = evaluation_batches(data, data.test, channels_last=True, device=args.device)
    criterion = build_criterion(RECIPE)
    scored = [
        {
            "test_error": 1 - evaluate(evolution.model(member), test, criterion).accuracy,
            "val_error": member.scores["error"],
            "macs": member.scores["macs"],
            "params": member.scores["params"],
            "epochs": member.told["epochs"],
            "edits": [str(edit) for edit in member.genome.edits],
        }
        for member in evolution.front(population)
    ]
    born = [child for record in evolution.history[1:] for child in record.children]
    differences = [
        abs(child.told["accuracy_at_birth"] - child.told["accuracy_of_parent"])
        for child in born
        if child.origin != "pruning"
    ]
    return {
        "parts": parts,
        "config": config.model_dump(mode="json"),
        "front": scored,
        "train_flops": evolution.flops,
        "seconds": sum(record.seconds for record in evolution.history),
        "generations": Counter(record.phase for record in evolution.history),
        "born": Counter(child.origin for child in born),
        "lost": {name: why for record in evolution.history for name, why in record.lost.items()},
        "inheritance": {
            "largest_difference": max(differences, default=0.0),
            "num_children": len(differences),
        },
        "history": [
            {
                "phase": record.phase,
                "flops": record.flops,
                "population": [
                    [m.name, m.scores["error"], m.scores["macs"]] for m in record.population
                ],
            }
            for record in evolution.history
        ],
    }


def checkpoint(arm: str, seed: int) -> Path:
    """Where an evolution is kept until it is through."""
    return RUNS / f"{arm}-seed{seed}.pt"


def _keep(
    evolution: MultiObjectiveArchitectureEvolution,
    population: list[Network],
    parts: list[dict[str, Any]],
    path: Path,
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(
        {
            "config": evolution.config.model_dump(mode="json"),
            "state": evolution.state_dict(),
            "population": population,
            "parts": parts,
        },
        temporary,
    )
    temporary.replace(path)


def _resumed(
    evolution: MultiObjectiveArchitectureEvolution, path: Path
) -> tuple[list[Network], list[dict[str, Any]]]:
    """The population of a run that was cut off, if there is one, and where its parts were run."""
    if not path.exists():
        return [], []
    known = torch.load(path, map_location="cpu", weights_only=False)
    if EvolutionConfig.model_validate(known["config"]) != evolution.config:
        raise SystemExit(f"{path} is of an evolution with other settings; remove it to begin anew")
    evolution.load_state_dict(known["state"])
    print("goes on from", path.stem, f"{evolution.flops:.2e}", flush=True)
    return known["population"], known.get("parts", [])


def separate(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """A front of DNM trainings, each for an equal part of the compute."""
    front, flops = [], 0.0
    folders = {width: RUNS / f"separate-w{width}-seed{seed}" for width in SIZES}
    for width, folder in folders.items():
        given = {
            "data": "cifar10",
            "data_dir": str(args.data_dir),
            "model": f"networks:airbench-{width}",
            "max_flops": args.max_flops / len(SIZES),
            "seed": seed,
            "threads": 1,
            "device": args.device,
            "recipe": RECIPE.model_dump(mode="json"),
            "checkpoint_seconds": 300,
            "growth": GROWTH,
            "max_macs": MAX_MACS,
        }
        summary = trained(configure(given), folder)
        flops += summary.train_flops
        front.append(
            {
                "test_error": 1 - summary.test_accuracy,
                "val_error": 1 - summary.val_accuracy,
                "macs": summary.macs_final,
                "params": summary.params_final,
                "edits": summary.kinds,
            }
        )
        print("separate_runs", seed, width, summary.val_accuracy, summary.macs_final, flush=True)
    for folder in folders.values():
        shutil.rmtree(folder)
    return {"front": front, "train_flops": flops, "growth": GROWTH}


def trained(config: GrowConfig, folder: Path) -> Summary:
    """A run to its end, from where it was cut off if it was begun by the same settings."""
    found = begun(config, folder)
    return found if isinstance(found, Summary) else found.finish()


def run(arm: str, seed: int, args: argparse.Namespace) -> None:
    """One run, unless it is there."""
    path = FOLDER / f"cifar10-{arm}-seed{seed}.json"
    if path.exists():
        return
    began = time.perf_counter()
    found = separate(seed, args) if arm == "separate_runs" else evolved(arm, seed, args)
    points = {
        kind: np.array([[member[f"{kind}_error"], member["macs"]] for member in found["front"]])
        for kind in ("test", "val")
    }
    measured = {
        "provenance": provenance() | {"device": args.device},
        "arm": arm,
        "seed": seed,
        "max_flops": args.max_flops,
        "hypervolume": hypervolume(points["test"], IDEAL, REFERENCE),
        "val_hypervolume": hypervolume(points["val"], IDEAL, REFERENCE),
        "seconds": time.perf_counter() - began,
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(measured, indent=1) + "\n")
    checkpoint(arm, seed).unlink(missing_ok=True)
    print(path.stem, measured["hypervolume"], f"{measured['seconds']:.0f} s", flush=True)


def summed() -> dict[str, Any]:
    """What each arm came to over its seeds."""
    seed_network = airbench(10, 3, width=WIDTH)
    arms: dict[str, Any] = {
        "seed_params": sum(weight.numel() for weight in seed_network.parameters()),
        "max_macs": MAX_MACS,
    }
    born = []
    for arm in ARMS:
        paths = sorted(FOLDER.glob(f"cifar10-{arm}-seed?.json"))
        found = [json.loads(path.read_text()) for path in paths]
        if found:
            arms[arm] = spread([item["hypervolume"] for item in found]) | {
                "val": spread([item["val_hypervolume"] for item in found]),
                "best_test_error": spread(
                    [min(member["test_error"] for member in item["front"]) for item in found]
                ),
                "max_flops": found[0]["max_flops"],
                "by_seed": {str(item["seed"]): item["hypervolume"] for item in found},
            }
            born += [item["inheritance"] for item in found if "inheritance" in item]
    arms["inheritance"] = {
        "largest_difference": max((item["largest_difference"] for item in born), default=None),
        "num_children": sum(item["num_children"] for item in born),
    }
    arms["ahead"] = ahead(arms)
    return arms


def ahead(arms: Mapping[str, Any]) -> dict[str, Any]:
    """By how much evolution's hypervolume is larger than the others', seed by seed."""
    own = arms.get("evolution", {}).get("by_seed", {})
    both = {
        arm: [own[seed] - value for seed, value in arms[arm]["by_seed"].items() if seed in own]
        for arm in ARMS[1:]
        if arm in arms
    }
    return {arm: spread(differences) for arm, differences in both.items() if differences}


def main() -> None:
    """Run or sum up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "sum"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--only", choices=ARMS)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--max-flops", type=float, default=5e13)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    if args.what == "run":
        for seed in range(3) if args.seed is None else [args.seed]:
            for arm in ARMS if args.only is None else [args.only]:
                run(arm, seed, args)
        return
    path = FOLDER / "summary.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {"cifar10": summed()}, indent=1) + "\n")
    print(json.dumps(summed(), indent=1))


if __name__ == "__main__":
    main()
