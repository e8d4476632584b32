"""Does a signal know which edit pays? Every candidate is tried for real, at many checkpoints.

python benchmarks/arbiter try --data-dir PATH [--worker 0 --of 2] [--only PART] [--seeds 3]
python benchmarks/arbiter fit
python benchmarks/arbiter judge
python benchmarks/arbiter newborns --data-dir PATH [--worker 0 --of 2]
python benchmarks/arbiter lasting --data-dir PATH [--only PART]

`try` trains networks to some point, senses there, and trains on from there for 300 steps with each
candidate and without any, with several seeds; one file a checkpoint in
benchmarks/results/arbiter, resumable. `judge` compares what each signal alone says with what
followed, beside the noise ceiling, and writes summary.json there. `fit` fits the prior that the
package ships on the checkpoints and the planted problems that are for it, none of which is judged.
`lasting` tries some candidates of each kind at checkpoints for fitting over 3,000 steps: what each
kind saves beyond the 300.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent.parent))

from checkpoints import Checkpoint, checkpoints, trained
from fit import chosen, planted, tried
from judge import judge
from lasting import PLACES as LASTING
from lasting import tried as tried_lasting
from newborns import PLACES
from newborns import tried as tried_rates
from provenance import RESULTS, provenance
from pydantic import TypeAdapter
from truth import NAMES, outcome, sensed

from neuroexapt.edits import AnyEdit

FOLDER = RESULTS / "arbiter"
SEEDS = 3
PRIOR = RESULTS.parent.parent / "src" / "neuroexapt" / "growth" / "prior.json"
EDIT: TypeAdapter[AnyEdit] = TypeAdapter(AnyEdit)


def write(path: Path, measured: dict[str, Any]) -> None:
    """Replace a result file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(measured, indent=1) + "\n")
    temporary.replace(path)


def try_all(checkpoint: Checkpoint, data_dir: Path, num_seeds: int) -> None:
    """Fill in a checkpoint's file, run by run, up to so many seeds."""
    path = FOLDER / f"{checkpoint.name}.json"
    start = trained(checkpoint, data_dir)
    if path.exists():
        measured = json.loads(path.read_text())
    else:
        measured = {
            "provenance": provenance(),
            "checkpoint": vars(checkpoint),
            "cost": vars(start[0].cost()),
            "baseline": [],
            "candidates": sensed(checkpoint, start[0], data_dir),
        }
        for row in measured["candidates"]:
            row["runs"] = []
        write(path, measured)
    if _is_older(measured):
        found = {json.dumps(r["edit"]): r for r in sensed(checkpoint, start[0], data_dir)}
        for row in measured["candidates"]:
            row |= found[json.dumps(row["edit"])]
        write(path, measured)
    for seed in range(num_seeds):
        if len(measured["baseline"]) <= seed:
            measured["baseline"].append(outcome(checkpoint, start, None, seed, data_dir))
            write(path, measured)
        for row in measured["candidates"]:
            if len(row["runs"]) <= seed:
                edit = EDIT.validate_python(row["edit"])
                row["runs"].append(outcome(checkpoint, start, edit, seed, data_dir))
                write(path, measured)
        print(checkpoint.name, seed, len(measured["candidates"]), flush=True)


def _is_older(measured: dict[str, Any]) -> bool:
    """Whether signals were added since: they are sensed again, and what was tried stays."""
    rows = [row for row in measured["candidates"] if "gain" in row]
    return any(set(NAMES) - row["gain"].keys() for row in rows)


def fit() -> None:
    """Fit the prior that the package ships."""
    given = [tried(path) for path in sorted(FOLDER.glob("fit-*.json"))]
    prior, table = chosen([*given, *planted(RESULTS / "planted.json")])
    write(PRIOR, prior.model_dump(mode="json"))
    write(FOLDER / "choice.json", {"provenance": provenance(), "tried": table})
    print(json.dumps(prior.model_dump(mode="json"), indent=1))
    print(json.dumps(table[:3], indent=1))


def main() -> None:
    """Try or judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["try", "fit", "judge", "newborns", "lasting"])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--of", type=int, default=1)
    parser.add_argument("--only", help="part of a checkpoint's name")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    args = parser.parse_args()
    if args.what == "fit":
        fit()
        return
    if args.what == "judge":
        measured = judge(FOLDER)
        write(FOLDER / "summary.json", {"provenance": provenance(), **measured})
        print(json.dumps({k: v for k, v in measured.items() if k != "checkpoints"}, indent=1))
        return
    torch.set_num_threads(1)
    if args.what == "newborns":
        for place in PLACES[args.worker :: args.of]:
            name = f"newborns-{place.family}-{place.data}-{place.optimizer}.json"
            measured = tried_rates(place, args.data_dir, EDIT.validate_python)
            write(FOLDER / name, {"provenance": provenance(), **measured})
        return
    if args.what == "lasting":
        for at in (at for at in LASTING if (args.only or "") in at.checkpoint):
            rows = json.loads((FOLDER / f"{at.checkpoint}.json").read_text())["candidates"]
            measured = tried_lasting(at, rows, args.data_dir, EDIT.validate_python)
            name = at.checkpoint.replace("fit-", "lasting-")
            write(FOLDER / f"{name}.json", {"provenance": provenance(), **measured})
        return
    chosen = [c for c in checkpoints() if args.only is None or args.only in c.name]
    for checkpoint in chosen[args.worker :: args.of]:
        try_all(checkpoint, args.data_dir, args.seeds)


if __name__ == "__main__":
    main()
