"""Does the arbiter find what a network is known to lack? Small planted problems, and the truth.

python benchmarks/planted.py truth [--truth-seeds 3]
python benchmarks/planted.py choices [--seeds 10]

The problems are those of tests/lacking.py. The truth, on which the arbiter's law is fitted, too:
after the same training, each edit that can be proposed is made alone and trained for 300 steps
more, against none; a kind's saving is that of its best place, by the mean over seeds. The choices,
once the law is fitted: each policy may choose one edit on networks of other seeds; how often was it
of the right kind (and, where width is lacking, at the right place)?
"""

import argparse
import copy
import json
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any, get_args

import torch
from provenance import RESULTS, keep, provenance, spread

from neuroexapt import GrowthConfig
from neuroexapt.edits import AnyEdit
from neuroexapt.growth import Newborns, Nursery
from neuroexapt.growth.arbiter import candidates
from neuroexapt.growth.config import Kind
from neuroexapt.growth.evidence import Look, anything_to_gain
from neuroexapt.growth.prior import kind_of
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import sense
from neuroexapt.signals.gain import Gains, growth_gain

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from lacking import PROBLEMS, Run

HORIZON = 300
POLICIES = ("arbiter", "entropy", "correlation", "random", "breakthrough")
FIRST_SEED = 100
"""Of the networks for which policies choose: not those of the truth."""


def gains(run: Run) -> Gains:
    """Of all edits that can be proposed."""
    data = run.sample()
    readings = sense(run.living, data, run.problem.criterion)
    config, criterion = GrowthConfig(kinds=get_args(Kind)), run.problem.criterion
    situation = Situation(
        run.living, readings, data, criterion, config, None, torch.Generator(), {}, None
    )
    edits = [proposal.edit for proposal in candidates(situation)]
    return growth_gain(run.living, edits, data, criterion, parts=2)


def trained_on(run: Run, edit: AnyEdit | None) -> float:
    """Held-out loss of a copy after an edit and some training."""
    other = copy.copy(run)
    other.living = copy.deepcopy(run.living)
    other.optimizer = torch.optim.Adam(other.living.parameters(), lr=run.problem.rate)
    other.optimizer.load_state_dict(copy.deepcopy(run.optimizer.state_dict()))
    other.data = run.data.clone_state()
    nursery = Nursery(Newborns(), other.optimizer)
    if edit is not None:
        nursery.admit(other.living.apply(edit, other.optimizer, seed=run.seed, check=False))
    return other.train(HORIZON)


def truth(name: str, seed: int) -> dict[str, Any]:
    """One network: what each edit saves, and what was measured of it before."""
    run = Run(PROBLEMS[name], seed)
    before = run.train(run.problem.steps)
    found = gains(run)
    without = trained_on(run, None)
    cost = run.living.cost()
    rows = []
    for gain in found.found:
        rows.append(
            {
                "edit": gain.edit.model_dump(mode="json"),
                "kind": kind_of(gain.edit),
                "remedy": run.problem.remedy(gain.edit),
                "saved": (without - trained_on(run, gain.edit)) / without,
                "macs": gain.macs / cost.macs,
                "params": gain.params / cost.params,
                "gain": gain.gain,
                "error": gain.error,
                "beyond": gain.beyond,
                "beyond_error": gain.beyond_error,
            }
        )
    return {
        "seed": seed,
        "loss": before,
        "without": without,
        "stands_out": anything_to_gain([Look.of(found)]),
        "candidates": rows,
    }


def by_kind(runs: list[dict[str, Any]]) -> dict[str, dict[str, float | int]]:
    """Share of the loss that the best edit of each kind saves; a remedy is a kind of its own."""
    saved: dict[str, dict[str, list[float]]] = {}
    for run in runs:
        for row in run["candidates"]:
            kind = f"{row['kind']}, as planted" if row["remedy"] else row["kind"]
            places = saved.setdefault(kind, {})
            places.setdefault(str(row["edit"]), []).append(row["saved"])
    best = {kind: max(places.values(), key=fmean) for kind, places in saved.items()}
    ordered = sorted(best.items(), key=lambda item: -fmean(item[1]))
    return {kind: spread(values) for kind, values in ordered}


def first_choices(name: str, policy: str, seeds: range) -> dict[str, Any]:
    """What a policy does first, and in which share of networks that is the remedy."""
    problem = PROBLEMS[name]
    chosen: Counter[str] = Counter()
    right, reasons = 0, []
    for seed in seeds:
        grower = Run(problem, seed).grow(policy)
        edit = grower.growths[0].edit if grower.growths else None
        chosen["nothing" if edit is None else str(edit)] += 1
        right += problem.remedy(edit) if edit is not None else problem.lacks_nothing
        if edit is None and grower.stopped not in reasons:
            reasons.append(grower.stopped)
    return {
        "right": right / len(seeds),
        "n": len(seeds),
        "chosen": dict(chosen.most_common()),
        "reasons": reasons[:3],
    }


def largest_gains(name: str, seeds: range) -> dict[str, Any]:
    """How often the remedy has the largest significant gain: whole, or beyond the last layer.

    Where nothing is lacking: how often nothing stands out.
    """
    problem = PROBLEMS[name]
    errors = {"gain": "error", "beyond": "beyond_error"}
    found: dict[str, list[bool]] = {signal: [] for signal in errors}
    for seed in seeds:
        run = Run(problem, seed)
        run.train(problem.steps)
        measured = gains(run)
        for signal, right in found.items():
            if problem.lacks_nothing:
                right.append(anything_to_gain([Look.of(measured)]) is False)
            else:
                known = [
                    (value, gain.edit)
                    for gain in measured.found
                    if (value := getattr(gain, signal)) > 2 * getattr(gain, errors[signal])
                ]
                best = max(known, key=lambda item: item[0], default=None)
                right.append(best is not None and problem.remedy(best[1]))
    return {signal: fmean(right) for signal, right in found.items()}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["truth", "choices"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--truth-seeds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    path = RESULTS / "planted.json"
    measured: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    measured.pop("provenance", None)
    for name, problem in PROBLEMS.items():
        known = measured.setdefault(name, {"lacks": problem.lacks})
        if args.what == "truth":
            runs = [truth(name, seed) for seed in range(args.truth_seeds)]
            known |= {"truth": by_kind(runs), "runs": runs, "commit": provenance()["commit"]}
            print(name, {k: round(v["mean"], 3) for k, v in known["truth"].items()}, flush=True)
            continue
        known["first"] = {policy: first_choices(name, policy, seeds) for policy in POLICIES}
        known["largest_gain"] = largest_gains(name, seeds)
        for policy, found in known["first"].items():
            print(name, policy, found["right"], found["chosen"])
        print(name, "largest gain", known["largest_gain"], flush=True)
    print(keep("planted", measured))


if __name__ == "__main__":
    main()
