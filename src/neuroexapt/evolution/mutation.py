"""Mutation: a proposal drawn from what a policy would do, or units that matter least removed."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neuroexapt.edits import Change, Prune
from neuroexapt.edits.transaction import Limit
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.inputs import probe_size
from neuroexapt.growth import Budget, GrowthConfig
from neuroexapt.growth.fitting import check_flops, shrinking
from neuroexapt.growth.forecast import learnt_scales
from neuroexapt.growth.incoming import SensedLoss
from neuroexapt.growth.policies import POLICIES
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.pruning import rank_pruning
from neuroexapt.growth.sampling import drawn
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import Readings, sense

DECAY = 0.7
"""How much likelier a proposal is drawn than the next one in the ranking."""


@dataclass(frozen=True, eq=False)
class Mutation:
    """What a mutation did.

    Attributes:
        changes: in order; empty if nothing was possible.
        flops: that sensing and checks took (2 for each multiply-accumulate).
        why: in words, if nothing changed.
    """

    changes: tuple[Change, ...]
    flops: int
    why: str = ""


@dataclass(frozen=True, eq=False)
class Sensed:
    """A network and what it says it needs.

    Attributes:
        living: the network; a mutation changes it in place.
        data: the batches that were sensed.
        readings: of them.
        criterion: outputs and targets to a mean loss.
        config: how networks grow.
        budget: limits.
    """

    living: LivingModel
    data: Sequence[Any]
    readings: Readings
    criterion: Callable[[Any, Any], Tensor]
    config: GrowthConfig
    budget: Budget

    @classmethod
    def of(
        cls,
        living: LivingModel,
        loader: Iterable[Any],
        criterion: Callable[[Any, Any], Tensor],
        config: GrowthConfig,
        budget: Budget,
        num_samples: int,
    ) -> "Sensed":
        """Sense on the loader's first samples."""
        data = drawn(living, loader, config.num_batches, num_samples)
        readings = sense(living, data, criterion, num_batches=config.num_batches, bins=config.bins)
        return cls(living, data, readings, criterion, config, budget)


def grow(sensed: Sensed, num_edits: int, generator: torch.Generator, limit: Limit) -> Mutation:
    """Apply proposals that are drawn from the policy's ranking, the better the likelier.

    Args:
        sensed: the network, changed in place.
        num_edits: at most.
        generator: the only source of randomness.
        limit: what the network must not exceed.
    """
    ranking = POLICIES[sensed.config.policy](_situation(sensed, generator))
    flops = sensed.readings.flops + ranking.flops
    order = _drawn(list(ranking.proposals), generator)
    return _applied(sensed, order, num_edits, generator, limit, flops, ranking.otherwise)


def shrink(sensed: Sensed, num_edits: int, generator: torch.Generator, limit: Limit) -> Mutation:
    """Remove the units that matter least, a part of each of some groups.

    Groups that save more compute for the loss that they cost are likelier; with the policy "random"
    all groups are alike, and so are their units.

    Args:
        sensed: the network, changed in place.
        num_edits: groups that lose units, at most.
        generator: the only source of randomness.
        limit: what the network must not exceed.
    """
    ranked = rank_pruning(_situation(sensed, generator))
    if sensed.config.policy == "random":
        order = _at_random(sensed.living, ranked, generator)
    else:
        order = _drawn(ranked, generator)
    flops = sensed.readings.flops
    why = "no group of units can be pruned"
    return _applied(sensed, order, num_edits, generator, limit, flops, why)


def _at_random(
    living: LivingModel, ranked: Sequence[Proposal], generator: torch.Generator
) -> Iterator[Proposal]:
    """The groups in any order, each with as many units as proposed, but any."""
    for index in torch.randperm(len(ranked), generator=generator).tolist():
        edit = ranked[index].edit
        assert isinstance(edit, Prune), "ranked as such"
        size = living.group(edit.group).size
        units = torch.randperm(size, generator=generator)[: len(edit.units)].tolist()
        yield Proposal(edit.model_copy(update={"units": tuple(units)}), {})


def _situation(sensed: Sensed, generator: torch.Generator) -> Situation:
    """What a policy goes by; nothing of an earlier growth is known."""
    return Situation(
        sensed.living,
        sensed.readings,
        sensed.data,
        sensed.criterion,
        sensed.config,
        sensed.budget,
        generator,
        learnt_scales([]),
        None,
    )


def _drawn(proposals: list[Proposal], generator: torch.Generator) -> Iterator[Proposal]:
    """All proposals, without replacement, by weights that fall along the ranking."""
    while proposals:
        weights = torch.tensor([DECAY**rank for rank in range(len(proposals))])
        yield proposals.pop(int(torch.multinomial(weights, 1, generator=generator)))


def _applied(
    sensed: Sensed,
    order: Iterator[Proposal],
    num_edits: int,
    generator: torch.Generator,
    limit: Limit,
    flops: int,
    otherwise: str,
) -> Mutation:
    changes: list[Change] = []
    loss = SensedLoss(sensed.data, sensed.criterion)
    why = otherwise
    for proposal in order:
        if len(changes) == num_edits:
            break
        seed = int(torch.randint(2**31, (), generator=generator))
        try:
            change = _fitted(sensed.living, proposal, seed, limit, loss)
        except EditError as error:
            why = f"{proposal.edit}: {error}"
            continue
        flops += check_flops(change, probe_size(sensed.living.example_inputs))
        changes.append(change)
    return Mutation(tuple(changes), flops + loss.flops, why if not changes else "")


def _fitted(
    living: LivingModel, proposal: Proposal, seed: int, limit: Limit, loss: SensedLoss
) -> Change:
    """Apply a proposal, with as many units as the limit allows."""
    options = loss.needed(proposal.edit)
    *larger, smallest = shrinking(proposal.edit)
    for edit in larger:
        try:
            return living.apply(edit, seed=seed, limit=limit, **options)
        except EditError:  # with fewer units it may fit
            continue
    return living.apply(smallest, seed=seed, limit=limit, **options)
