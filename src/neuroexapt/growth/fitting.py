"""Fitting an edit to what there is room for, and what checking it takes."""

import math
from collections.abc import Iterator

from neuroexapt.edits import AnyEdit, Change, Split, Widen
from neuroexapt.graph import Cost, LivingModel
from neuroexapt.graph.inputs import probe_size
from neuroexapt.graph.latency import RUNS
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.proposal import Proposal


class Room:
    """What a model may become: an edit's limit, which remembers what it said.

    Attributes:
        only_pace: whether what it refused last was within the budget.
    """

    def __init__(self, budget: Budget, most_macs: float, present: Cost) -> None:
        self.budget = budget
        self.most_macs = most_macs
        self.present = present
        self.only_pace = False

    def __call__(self, cost: Cost) -> str | None:
        """What a model of that cost would exceed; None if nothing, or if it became no larger."""
        self.only_pace = False
        if cost.params <= self.present.params and cost.macs <= self.present.macs:
            return None
        excess = self.budget.exceeded(cost)
        self.only_pace = excess is None and cost.macs > self.most_macs
        if self.only_pace:
            return f"{cost.macs:,} MACs, {self.most_macs:,.0f} at this time"
        return excess


def num_units(edit: AnyEdit) -> int:
    """How many units an edit adds to a group; 1 for one that can't be made smaller."""
    if isinstance(edit, Split):
        return len(edit.units)
    return edit.count if isinstance(edit, Widen) else 1


def scaled_down(proposal: Proposal, change: Change) -> Proposal:
    """A proposal of which only a part fitted: what is expected of it is that part."""
    share = num_units(change.edit) / num_units(proposal.edit)  # type: ignore[arg-type]
    evidence = dict(proposal.evidence)
    for name in ("gain", "error", "beyond", "beyond_error", "price"):
        if evidence.get(name) is not None:
            evidence[name] *= share
    if "compute" in evidence:
        evidence["compute"] = math.log(change.macs_after / max(change.macs_before, 1))
    predicted = None if proposal.predicted is None else proposal.predicted * share
    return Proposal(proposal.edit, evidence, predicted, proposal.scale)


def check_flops(change: Change, samples: int) -> int:
    """FLOPs of checking an edit: both models, in both modes, on the probe; twice if in float64.

    Args:
        change: what the edit came to.
        samples: of the probe, `probe_size`.
    """
    if change.max_error is None:
        return 0
    runs = 2 if change.checked_in == "float64" else 1
    return 2 * 2 * runs * samples * (change.macs_before + change.macs_after)


def one_check(living: LivingModel) -> int:
    """FLOPs of checking an edit that hardly changes the model's size, in float64."""
    return 2 * 2 * 2 * probe_size(living.example_inputs) * 2 * living.cost().macs


def timing_flops(macs: int) -> int:
    """FLOPs of measuring the latency of a model of about this size."""
    return 2 * (RUNS + 1) * macs


def shrinking(edit: AnyEdit) -> Iterator[AnyEdit]:
    """The edit itself; then, if it adds units, with half as many, and half of that, down to one."""
    yield edit
    if isinstance(edit, Split):
        for count in _halves(len(edit.units)):
            yield edit.model_copy(update={"units": edit.units[:count]})
    elif isinstance(edit, Widen):
        for count in _halves(edit.count):
            yield edit.model_copy(update={"count": count})


def _halves(count: int) -> Iterator[int]:
    while count > 1:
        count //= 2
        yield count
