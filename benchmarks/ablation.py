"""What does choosing bring? The same network grown by several policies, for the same compute.

python benchmarks/ablation.py run --data-dir PATH [--worker 0 --of 2] [--seeds 3] [--only ARM]
python benchmarks/ablation.py sum

`run` grows `narrow` on CIFAR-10 by each policy and seed until 1e13 training FLOPs are spent,
sensing and edits included, and trains it and two larger networks without growth for as much; one
file a run in benchmarks/results/ablation, and what is there isn't run again. A run that was broken
off goes on from its newest checkpoint. The test images are read once, at each run's end; nothing
was chosen by them. `sum` writes summary.json.
"""

import argparse
import json
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from begun import begun
from provenance import RESULTS, provenance, spread
from torch import nn

from neuroexapt.runs import Summary, configure, read_events

FOLDER = RESULTS / "ablation"
RUNS = Path(__file__).parent.parent / "runs" / "ablation"
MAX_FLOPS = 1e13
CURVE = ("flops", "val_accuracy", "val_loss", "params", "macs")
GROWTH = {"every": 3, "until": 0.6, "pace": 1.6, "max_edits": 4}
UNPRUNED = ("widen", "deepen", "connect", "attend", "activate")
GROWN: Mapping[str, dict[str, Any]] = {
    "arbiter": {"policy": "arbiter"},
    "random": {"policy": "random"},
    "entropy": {"policy": "entropy"},
    "correlation": {"policy": "correlation"},
    "breakthrough": {"policy": "breakthrough", "timing": "plateau", "plateau_window": 5},
    "arbiter-plateau": {"policy": "arbiter", "timing": "plateau", "plateau_window": 5},
    "arbiter-gain": {"policy": "arbiter", "timing": "gain"},
    "arbiter-unpruned": {"policy": "arbiter", "kinds": UNPRUNED},
}
"""Name -> growth settings beside the common ones."""
FIXED: Mapping[str, str] = {"none": "narrow", "doubled": "doubled", "tapered": "tapered"}
"""Name -> network that is trained as it is: the seed network, and two that anybody might try."""
ARMS = ("none", *GROWN, "doubled", "tapered")


def narrow(num_classes: int, in_channels: int) -> nn.Module:
    """Four convolutions of 8 to 24 channels on 16 x 16 to 4 x 4 positions."""
    return _of_widths((8, 12, 16, 24), num_classes, in_channels)


def doubled(num_classes: int, in_channels: int) -> nn.Module:
    """All of the seed network's layers twice as wide."""
    return _of_widths((16, 24, 32, 48), num_classes, in_channels)


def tapered(num_classes: int, in_channels: int) -> nn.Module:
    """Wider the fewer positions there are."""
    return _of_widths((12, 24, 64, 128), num_classes, in_channels)


def _of_widths(widths: tuple[int, int, int, int], num_classes: int, in_channels: int) -> nn.Module:
    def unit(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]

    first, second, third, last = widths
    return nn.Sequential(
        *unit(in_channels, first, stride=2),
        *unit(first, second),
        nn.MaxPool2d(2),
        *unit(second, third),
        nn.MaxPool2d(2),
        *unit(third, last),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, num_classes),
    )


def settings(arm: str, seed: int, data_dir: Path) -> dict[str, Any]:
    """A run's configuration."""
    return {
        "data": "cifar10",
        "data_dir": str(data_dir),
        "model": f"ablation:{FIXED.get(arm, 'narrow')}",
        "max_flops": MAX_FLOPS,
        "seed": seed,
        "threads": 1,
        "checkpoint_seconds": 60,
        "growth": GROWTH | GROWN[arm] if arm in GROWN else False,
    }


def run(arm: str, seed: int, data_dir: Path) -> None:
    """One run, unless it is there."""
    name = f"{arm}-seed{seed}"
    path = FOLDER / f"{name}.json"
    if path.exists():
        return
    given = settings(arm, seed, data_dir)
    folder = RUNS / name
    found = begun(configure(given), folder)
    summary = found if isinstance(found, Summary) else found.finish()
    events = read_events(folder / "events.jsonl")
    epochs = [event for event in events if event["event"] == "epoch"]
    edits = [event for event in events if event["event"] == "edit"]
    outcomes = {event["number"]: event for event in events if event["event"] == "outcome"}
    path.parent.mkdir(parents=True, exist_ok=True)
    measured = {
        "provenance": provenance(),
        "arm": arm,
        "settings": {k: v for k, v in given.items() if k != "data_dir"},
        "summary": summary.model_dump(mode="json", exclude={"command", "machine", "versions"}),
        "curve": [[epoch[name] for name in CURVE] for epoch in epochs],
        "edits": [
            {
                "epoch": edit["epoch"],
                "edit": edit["edit"],
                "predicted": edit["predicted"],
                "macs": [edit["macs_before"], edit["macs_after"]],
                "saved": outcomes.get(number, {}).get("saved"),
            }
            for number, edit in enumerate(edits)
        ],
    }
    path.write_text(json.dumps(measured, indent=1) + "\n")
    shutil.rmtree(folder)
    print(name, summary.test_accuracy, summary.params_final, f"{summary.seconds:.0f} s", flush=True)


def summed() -> dict[str, Any]:
    """What each arm came to over its seeds."""
    runs = {
        arm: {run["summary"]["seed"]: run for run in map(read, FOLDER.glob(f"{arm}-seed*.json"))}
        for arm in ARMS
    }
    arms: dict[str, Any] = {}
    for arm, of_seed in runs.items():
        if not of_seed:
            continue
        found = [of_seed[seed] for seed in sorted(of_seed)]
        sums = [run["summary"] for run in found]
        kinds = Counter(edit["edit"]["kind"] for run in found for edit in run["edits"])
        both = sorted(of_seed.keys() & runs["arbiter"].keys()) if arm != "arbiter" else []
        arms[arm] = {
            "test_accuracy": spread([item["test_accuracy"] for item in sums]),
            "val_accuracy": spread([item["val_accuracy"] for item in sums]),
            "val_loss": spread([last_loss(run) for run in found]),
            "above_arbiter": spread(
                [last_loss(of_seed[seed]) - last_loss(runs["arbiter"][seed]) for seed in both]
            )
            if both
            else None,
            "params": fmean(item["params_final"] for item in sums),
            "macs": fmean(item["macs_final"] for item in sums),
            "growth_flops_share": max(item["growth_flops_share"] for item in sums),
            "edits": {kind: number / len(found) for kind, number in kinds.most_common()},
        }
    return {"max_flops": MAX_FLOPS, "growth": GROWTH, "arms": arms}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def last_loss(run: Mapping[str, Any]) -> float:
    """On the validation images, at the end."""
    return float(run["curve"][-1][CURVE.index("val_loss")])


def main() -> None:
    """Run or sum up."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["run", "sum"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", help="an arm")
    args = parser.parse_args()
    sys.path.insert(0, str(Path(__file__).parent))
    if args.what == "run":
        todo = [(arm, s) for s in range(args.seeds) for arm in ARMS if args.only in (None, arm)]
        for arm, seed in todo[args.worker :: args.of]:
            run(arm, seed, args.data_dir)
        return
    path = FOLDER / "summary.json"
    path.write_text(json.dumps({"provenance": provenance(), **summed()}, indent=1) + "\n")
    for arm, item in summed()["arms"].items():
        test = item["test_accuracy"]
        print(f"{arm:18} {test['mean']:.4f} +- {test['std']:.4f} n={test['n']} {item['edits']}")


if __name__ == "__main__":
    main()
