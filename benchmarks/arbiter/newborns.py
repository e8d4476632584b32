"""How newborns do best: a few edits of each kind, each with several policies."""

from pathlib import Path
from statistics import fmean
from typing import Any

from checkpoints import Checkpoint, trained
from truth import outcome, sensed

from neuroexapt.errors import TrainingError
from neuroexapt.growth import Newborns
from neuroexapt.growth.prior import kind_of

PLACES = (
    Checkpoint("vgg", "cifar", "early", "fit", seed=3),
    Checkpoint("preact", "clutter", "early", "fit", seed=3),
    Checkpoint("vgg", "cifar", "early", "fit", seed=3, optimizer="adamw"),
    Checkpoint("bare", "cifar", "early", "fit", seed=3, optimizer="adamw"),
)
RATES = (0.1, 0.3, 1.0, 3.0)
EACH = 2
SEEDS = 2


def policies(optimizer: str) -> dict[str, Newborns]:
    """By name, what is compared."""
    found = {f"lr {rate:g}": Newborns(lr=rate) for rate in RATES}
    found["lr 0.1, 300 steps"] = Newborns(lr=0.1, steps=300)
    found["lr 1, no weight decay"] = Newborns(lr=1, weight_decay=0)
    if optimizer == "adamw":
        found["lr 1, not corrected"] = Newborns(lr=1, bias_correction=False)
    return found


def chosen(checkpoint: Checkpoint, start: Any, data_dir: Path, edit_of: Any) -> list[Any]:
    """Of each kind the edits with the largest growth gain, each at a place of its own."""
    rows = [row for row in sensed(checkpoint, start[0], data_dir) if "gain" in row]
    rows.sort(key=lambda row: -row["gain"]["gain"])
    taken: dict[str, list[Any]] = {}
    for row in rows:
        edit = edit_of(row["edit"])
        held = taken.setdefault(kind_of(edit), [])
        if len(held) < EACH:
            held.append(edit)
    return [edit for held in taken.values() for edit in held]


def tried(checkpoint: Checkpoint, data_dir: Path, edit_of: Any) -> dict[str, Any]:
    """One checkpoint: savings by policy and kind, as shares of the loss without an edit."""
    start = trained(checkpoint, data_dir)
    edits = chosen(checkpoint, start, data_dir, edit_of)
    without = [outcome(checkpoint, start, None, s, data_dir)["loss"] for s in range(SEEDS)]
    runs = []
    for name, policy in policies(checkpoint.optimizer).items():
        for edit in edits:
            saved = [
                _saved(b, checkpoint, start, edit, s, data_dir, policy)
                for s, b in enumerate(without)
            ]
            runs.append(
                {
                    "policy": name,
                    "kind": kind_of(edit),
                    "edit": edit.model_dump(mode="json"),
                    "saved": saved,
                }
            )
        print(checkpoint, name, fmean(s for r in runs[-len(edits) :] for s in r["saved"]))
    return {"checkpoint": vars(checkpoint), "without": without, "runs": runs}


def _saved(without: float, *given: Any) -> float:
    """Share of the loss that an edit saves; all of it lost where training came to no end."""
    try:
        return float((without - outcome(*given)["loss"]) / without)
    except TrainingError:
        return -1.0
