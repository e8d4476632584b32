"""What lasts: some candidates of each kind, each tried alone over ten times the horizon."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkpoints import checkpoints, trained
from truth import outcome

from neuroexapt.growth.prior import kind_of

LONGEST = 3000
"""Steps of training on, while the learning rate falls to zero."""
LONGER = (1.5, 2.0)
"""The same training without any edit, by how much longer: what more compute is worth."""
BASELINES = 3


@dataclass(frozen=True)
class Place:
    """Where it is measured.

    Attributes:
        checkpoint: the name of one that the prior is fitted on.
        each: candidates of each kind, evenly over the network.
    """

    checkpoint: str
    each: int


PLACES = (Place("fit-bare-cifar-early", 4), Place("fit-preact-cifar-early", 2))
KINDS = ("deepen", "widen", "attend-positions", "activate", "attend-channels", "connect")


def chosen(rows: list[dict[str, Any]], each: int, edit_of: Any) -> list[dict[str, Any]]:
    """Candidates to try, all kinds in turn."""
    kinds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for row in rows:
        kind = kind_of(edit_of(row["edit"]))
        if kind in kinds:
            kinds[kind].append(row)
    return [
        held[(2 * turn + 1) * len(held) // (2 * each)]
        for turn in range(each)
        for held in kinds.values()
    ]


def tried(place: Place, rows: list[dict[str, Any]], data_dir: Path, edit_of: Any) -> dict[str, Any]:
    """One checkpoint, some of whose candidates in `rows` are tried for longer."""
    (checkpoint,) = (c for c in checkpoints() if c.name == place.checkpoint)
    start = trained(checkpoint, data_dir)

    def run(edit: Any, seed: int, longer: float = 1.0) -> dict[str, float]:
        steps = round(LONGEST * longer)
        return {"steps": steps} | outcome(checkpoint, start, edit, seed, data_dir, steps=steps)

    without = [run(None, seed) for seed in range(BASELINES)]
    longer = [run(None, seed, by) for seed, by in enumerate(LONGER)]
    candidates = []
    for number, row in enumerate(chosen(rows, place.each, edit_of)):
        edit = edit_of(row["edit"])
        found = run(edit, number // len(KINDS) % BASELINES)
        candidates.append({"kind": kind_of(edit), "edit": row["edit"], "run": found})
        print(checkpoint.name, edit, found["loss"], flush=True)
    return {
        "checkpoint": vars(checkpoint),
        "baseline": without,
        "longer": longer,
        "candidates": candidates,
    }
