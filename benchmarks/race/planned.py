"""Growth at random places, but at given times and of given kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from neuroexapt.growth import GrowthConfig
from neuroexapt.growth.config import Kind
from neuroexapt.runs import Run, Silent

NEVER = 10**9
"""Epochs between growths when none is planned."""
PRUNING = ("prune", "settle")
"""What a random choice never makes."""


@dataclass(frozen=True)
class Look:
    """A time at which a network grew.

    Attributes:
        share: of the compute that was spent by then.
        count: of edits.
        kinds: of them.
    """

    share: float
    count: int
    kinds: tuple[Kind, ...]


def looks(edits: Sequence[dict[str, Any]], budget: float) -> list[Look]:
    """When a run grew and by what kinds of edits, pruning aside.

    Args:
        edits: as a result file has them.
        budget: PFLOP of the run.
    """
    at: dict[float, list[str]] = {}
    for item in edits:
        if item["edit"]["kind"] not in PRUNING:
            at.setdefault(item["pflop"] / budget, []).append(item["edit"]["kind"])
    known = get_args(Kind)
    return [
        Look(share, len(kinds), tuple(kind for kind in known if kind in kinds))
        for share, kinds in sorted(at.items())
    ]


class AtPlan(Silent):
    """Lets a run with a random policy grow when it is planned, by what is still lacking then.

    Growth comes after an epoch, so that what is planned for less than half an epoch later counts.
    What could not be done, since sensing waits for its share or nothing fitted, is made up for
    after the next epoch.

    Args:
        run: about to go on.
        plan: when to grow.
    """

    def __init__(self, run: Run, plan: Sequence[Look]) -> None:
        grower = run.session.loop.grower
        assert grower is not None, "a run with a policy grows"
        self._run, self._grower, self._plan = run, grower, plan
        self._usual = grower.config.model_copy(update={"every": 1, "patience": NEVER})
        self._epoch, self._began = -1, 0.0

    def stepped(self, progress: float) -> None:
        """Before each batch: what would be due if the epoch ended here.

        The batches that are sensed when an epoch has ended count as those of the next one, before
        it has trained at all: by then what is due is settled.
        """
        epoch = self._run.session.loop.epoch
        if epoch != self._epoch:
            self._epoch, self._began = epoch, progress
        if progress == self._began > 0:
            return
        until = progress + (progress - self._began) / 2
        passed = [look for look in self._plan if look.share <= until]
        made = len(self._grower.growths)
        lacking = sum(look.count for look in passed) - made
        self._grower.config = self._config(lacking, _outstanding(passed, made))

    def _config(self, lacking: int, kinds: tuple[Kind, ...]) -> GrowthConfig:
        if lacking <= 0:
            return self._usual.model_copy(update={"every": NEVER})
        return self._usual.model_copy(update={"max_edits": lacking, "kinds": kinds})


def _outstanding(passed: Sequence[Look], made: int) -> tuple[Kind, ...]:
    """Kinds of the looks that the edits made so far don't cover."""
    kinds: list[Kind] = []
    for look in passed:
        made -= look.count
        if made < 0:
            kinds += [kind for kind in look.kinds if kind not in kinds]
    return tuple(kinds)
