"""Fitting an edit to what there is room for, and what checking it takes."""

from collections.abc import Iterator

from neuroexapt.edits import AnyEdit, Change, Split, Widen
from neuroexapt.graph import Cost
from neuroexapt.growth.budget import Budget

PROBE_SIZE = 8
"""Samples on which an edit's preservation is checked."""


class Room:
    """What a model may become: an edit's limit, which remembers what it said.

    Attributes:
        only_pace: whether what it refused last was within the budget.
    """

    def __init__(self, budget: Budget, most_macs: float) -> None:
        self.budget = budget
        self.most_macs = most_macs
        self.only_pace = False

    def __call__(self, cost: Cost) -> str | None:
        """What a model of that cost would exceed; None if nothing."""
        excess = self.budget.exceeded(cost)
        self.only_pace = excess is None and cost.macs > self.most_macs
        if self.only_pace:
            return f"{cost.macs:,} MACs, {self.most_macs:,.0f} at this time"
        return excess


def check_flops(change: Change, samples: int = PROBE_SIZE) -> int:
    """FLOPs of checking an edit: both models, in both modes, on the probe; twice if in float64."""
    if change.max_error is None:
        return 0
    runs = 2 if change.checked_in == "float64" else 1
    return 2 * 2 * runs * samples * (change.macs_before + change.macs_after)


def one_check(macs: int, samples: int = PROBE_SIZE) -> int:
    """FLOPs of checking an edit that hardly changes the model's size, in float64."""
    return 2 * 2 * 2 * samples * 2 * macs


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
