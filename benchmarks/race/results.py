"""One result file a run: what it came to, how it got there, and how to repeat it."""

import json
import resource
import sys
from pathlib import Path
from typing import Any

from provenance import provenance
from settings import PFLOP, REGIMES, Job, Place
from torch import Tensor, nn

from neuroexapt import LivingModel
from neuroexapt.graph.compare import run_in_mode
from neuroexapt.runs import load_model


def path_of(job: Job, place: Place) -> Path:
    """Where a run's result is or will be."""
    return place.results / f"{job.name}.json"


def read(job: Job, place: Place) -> dict[str, Any]:
    """A run's result.

    Raises:
        SystemExit: if there is none.
    """
    path = path_of(job, place)
    if not path.exists():
        raise SystemExit(
            f"{path} isn't there, from which others are made; run --only {job.contender} with the "
            "same data, budget and seed first"
        )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def write(job: Job, place: Place, outcome: dict[str, Any]) -> Path:
    """Write a run's result file in one go, so that a broken-off one is never taken for one."""
    path = path_of(job, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {
        "provenance": provenance() | {"threads": place.threads, "device": place.device},
        "regime": job.regime,
        "data": job.data,
        "budget": job.budget,
        "contender": job.contender,
        "seed": job.seed,
        **outcome,
        "peak_memory_mb": peak_memory(),
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(told, indent=1) + "\n")
    temporary.replace(path)
    return path


def peak_memory() -> float:
    """The most memory that this process has held, in megabytes, torch and the data included."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def known_settings(job: Job, place: Place) -> dict[str, Any]:
    """Settings that all runs of a job's kind share."""
    data_dir = {} if place.data_dir is None else {"data_dir": str(place.data_dir)}
    return {
        "data": job.data,
        "seed": job.seed,
        "threads": place.threads,
        "device": place.device,
    } | data_dir


def seed_width(job: Job) -> int:
    """Width of the seed network."""
    regime = REGIMES[job.regime]
    return sorted(regime.widths(job.budget))[regime.chosen.width]


def of_run(folder: Path, events: list[dict[str, Any]], summary: Any) -> dict[str, Any]:
    """What a grown or a static run came to.

    Args:
        folder: the run's.
        events: its events.
        summary: its `Summary`.
    """
    epochs = [event for event in events if event["event"] == "epoch"]
    spent = {epoch["epoch"] + 1: epoch["flops"] for epoch in epochs}
    outcomes = {event["number"]: event for event in events if event["event"] == "outcome"}
    grown = [event for event in events if event["event"] == "edit"]
    return {
        "test_accuracy": summary.test_accuracy,
        "val_accuracy": summary.val_accuracy,
        "views": summary.test_views,
        "params": summary.params_final,
        "macs": summary.macs_final,
        "params_seed": summary.params_seed,
        "macs_seed": summary.macs_seed,
        "pflop": summary.train_flops / PFLOP,
        "overhead_share": summary.growth_flops_share,
        "epochs": summary.epochs,
        "seconds": summary.seconds,
        "stopped": summary.growth_stopped,
        "curve": [[e["flops"] / PFLOP, e["val_accuracy"], e["params"], e["macs"]] for e in epochs],
        "edits": [
            {
                "pflop": spent[event["epoch"]] / PFLOP,
                "epoch": event["epoch"],
                "edit": event["edit"],
                "predicted": event["predicted"],
                "saved": outcomes.get(number, {}).get("saved"),
                "params": [event["params_before"], event["params_after"]],
                "macs": [event["macs_before"], event["macs_after"]],
            }
            for number, event in enumerate(grown)
        ],
        "layers": layers(load_model(folder)),
    }


def layers(living: LivingModel) -> list[dict[str, Any]]:
    """Channels, weights and multiply-accumulates of each convolution and linear layer, in order."""
    found: list[dict[str, Any]] = []

    def note(name: str, layer: nn.Conv2d | nn.Linear, outputs: Tensor) -> None:
        weights = layer.weight.numel()
        reads, gives = layer.weight.shape[1], layer.weight.shape[0]
        positions = outputs[0].numel() // gives
        found.append(
            {
                "name": name,
                "in": reads,
                "out": gives,
                "params": weights,
                "macs": weights * positions,
            }
        )

    handles = [
        module.register_forward_hook(
            lambda layer, _inputs, outputs, name=name: note(name, layer, outputs)
        )
        for name, module in living.graph_module.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]
    run_in_mode(living, living.example_inputs, training=False)
    for handle in handles:
        handle.remove()
    return found
