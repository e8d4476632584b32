"""What comes of a ranking: proposals are applied, the best first, as far as limits allow."""

import logging
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch.optim import Optimizer

from neuroexapt.edits import AnyEdit, Change
from neuroexapt.errors import EditError, LimitError, PreservationError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.inputs import probe_size
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.fitting import (
    Room,
    check_flops,
    num_units,
    one_check,
    scaled_down,
    shrinking,
    timing_flops,
)
from neuroexapt.growth.incoming import SensedLoss
from neuroexapt.growth.proposal import Proposal, Ranking
from neuroexapt.growth.record import Refusal

logger = logging.getLogger(__name__)

TRIES = 3
"""Proposals that are looked at for each edit that may be made."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A model that is about to grow, and what holds for it then.

    Attributes:
        living: the model; edits are made in place.
        optimizer: one or several, carried along.
        budget: limits.
        config: how much at a time.
        seed: of new weights.
        epoch: that has been trained.
        loss: on what was sensed, for edits whose weights are made by its gradients.
    """

    living: LivingModel
    optimizer: Optimizer | Sequence[Optimizer]
    budget: Budget
    config: GrowthConfig
    seed: int
    epoch: int
    loss: SensedLoss


@dataclass(frozen=True)
class Attempt:
    """What came of a proposal.

    Attributes:
        proposal: as far as it was made, or as it was proposed.
        change: what was made of it; None for nothing.
        refusal: why it isn't possible; None if it was made, or if only the pace stands against it.
        flops: of checks, and of making new weights.
    """

    proposal: Proposal
    change: Change | None
    refusal: Refusal | None
    flops: int


def attempts(
    ranking: Ranking, setting: Setting, most_flops: float, is_last: bool
) -> Iterator[Attempt]:
    """Apply what a policy proposes, one after the other.

    Whole edits come first: of one that there is no room for, a part may be worth less than others.

    Args:
        ranking: the proposals, the best first.
        setting: the model.
        most_flops: that attempts may take; the first change may pass it.
        is_last: whether not even that may.

    Yields:
        What came of each, before the next is tried; a proposal of which a part is tried later comes
        without a change, and without a refusal.
    """
    living, config = setting.living, setting.config
    most_macs = living.cost().macs * config.pace if ranking.paced else math.inf
    limit = config.max_edits if ranking.paced else len(ranking.proposals)
    queue = deque((p, [p.edit]) for p in ranking.proposals[: TRIES * limit])
    made, spent = 0, 0
    while queue and made < limit:
        proposal, sizes = queue.popleft()
        takes = one_check(living) + setting.loss.expected(proposal.edit, living.cost().macs)
        if (made or is_last) and spent + takes > most_flops:
            break
        attempt = _attempt(proposal, sizes, setting, most_macs)
        parts = _parts(proposal, config) if sizes == [proposal.edit] else []
        if parts and attempt.change is None and _is_for_size(attempt.refusal):
            queue.append((proposal, parts))
            attempt = Attempt(proposal, None, None, attempt.flops)
        if attempt.refusal is not None:
            _log(attempt.refusal)
        made, spent = made + (attempt.change is not None), spent + attempt.flops
        yield attempt


def _parts(proposal: Proposal, config: GrowthConfig) -> list[AnyEdit]:
    """Smaller forms of it, as far as they're predicted to save enough."""
    whole = num_units(proposal.edit)
    least = config.min_saving / proposal.predicted if proposal.predicted else 0
    return [part for part in shrinking(proposal.edit) if num_units(part) > least * whole][1:]


def _is_for_size(refusal: Refusal | None) -> bool:
    """Whether what wasn't made would make the model too large, for the pace or for the budget."""
    return refusal is None or refusal.cause == "budget"


def _log(refusal: Refusal) -> None:
    level = logging.WARNING if refusal.cause == "preservation" else logging.INFO
    logger.log(level, "refused: %s: %s", refusal.edit, refusal.reason)


def _attempt(
    proposal: Proposal, sizes: Sequence[AnyEdit], on: Setting, most_macs: float
) -> Attempt:
    """Apply one proposal in the first of the sizes that fits."""
    flops, refusal = 0, None
    for smaller in sizes:
        room, before = Room(on.budget, most_macs, on.living.cost()), on.loss.flops
        if on.budget.latency_ms is not None:
            flops += timing_flops(on.living.cost().macs)
        try:
            change = on.living.apply(
                smaller,
                on.optimizer,
                on.seed,
                limit=room,
                max_latency_ms=on.budget.latency_ms,
                **on.loss.needed(smaller),
            )
        except EditError as error:
            flops += on.loss.flops - before
            told = Refusal.of(error, proposal.edit, on.epoch)
            if isinstance(error, PreservationError):
                flops += one_check(on.living)
            if not isinstance(error, LimitError):
                return Attempt(proposal, None, told, flops)
            refusal = None if room.only_pace else told
            continue
        flops += check_flops(change, probe_size(on.living.example_inputs))
        flops += on.loss.flops - before
        made = proposal if smaller is proposal.edit else scaled_down(proposal, change)
        return Attempt(made, change, None, flops)
    return Attempt(proposal, None, refusal, flops)
