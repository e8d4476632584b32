"""Does growing pay on digits? Grown networks against their seed, for equal training FLOPs.

python benchmarks/digits.py [--seeds 5] [--keep-static]

For each seed, `neuroexapt grow digits --seed S` is run, then the same seed network is trained as
it is for as many training FLOPs (`--no-growth --max-flops F`). The test part is read once, at the
end of each run. One result file, with the curves that the README's picture is drawn from. What
isn't grown doesn't change with how growing goes: `--keep-static` leaves it as it was measured.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from provenance import RESULTS, keep, provenance, spread

from neuroexapt.runs import Summary, configure, grow, read_events

KEPT = (
    "seed",
    "test_accuracy",
    "val_accuracy",
    "params_seed",
    "params_final",
    "macs_seed",
    "macs_final",
    "train_flops",
    "growth_flops_share",
    "kinds",
    "epochs",
    "seconds",
)


def run(seed: int, max_flops: float | None) -> dict[str, Any]:
    """One run: grown, or for a number of FLOPs without growth."""
    settings: dict[str, Any] = {"data": "digits", "seed": seed}
    if max_flops is not None:
        settings |= {"growth": False, "max_flops": max_flops}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        summary = grow(configure(settings), out)
        events = read_events(out / "events.jsonl")
    return row(summary) | {"curve": curve(events), "edits": edits(events)}


def row(summary: Summary) -> dict[str, Any]:
    """The figures that are kept of a run."""
    return {name: getattr(summary, name) for name in KEPT}


def curve(events: list[dict[str, Any]], points: int = 120) -> list[list[float]]:
    """Training FLOPs, validation accuracy, parameters: at most so many points, and the last."""
    epochs = [event for event in events if event["event"] == "epoch"]
    stride = -(-len(epochs) // points)
    kept = epochs[::-1][::stride][::-1]
    return [[e["flops"], e["val_accuracy"], e["params"]] for e in kept]


def edits(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What changed, when, and how exactly."""
    return [
        {"epoch": e["epoch"], "max_error": e["max_error"], **e["edit"]}
        for e in events
        if e["event"] == "edit"
    ]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--keep-static", action="store_true")
    args = parser.parse_args()
    before = json.loads((RESULTS / "digits.json").read_text()) if args.keep_static else {}
    kept = before.get("static", {"runs": [], "of": provenance()})
    grown, static = [], kept["runs"]
    for seed in range(args.seeds):
        grown.append(run(seed, None))
        if not args.keep_static:
            static.append(run(seed, grown[-1]["train_flops"]))
        print(seed, grown[-1]["test_accuracy"], static[seed]["test_accuracy"], flush=True)
    of = {"grown": provenance(), "static": kept["of"]}
    measured = {
        name: {
            "of": of[name],
            "test_accuracy": spread([r["test_accuracy"] for r in rows]),
            "params_final": spread([r["params_final"] for r in rows]),
            "train_flops": spread([r["train_flops"] for r in rows]),
            "seconds": spread([r["seconds"] for r in rows]),
            "growth_flops_share": spread([r["growth_flops_share"] for r in rows]),
            "runs": rows,
        }
        for name, rows in (("grown", grown), ("static", static))
    }
    print(keep("digits", measured))


if __name__ == "__main__":
    main()
