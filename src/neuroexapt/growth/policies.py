"""Policies: each says, from what was sensed, what might change, the best first."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

import torch

from neuroexapt.edits import Prune, Split, Widen
from neuroexapt.graph import ChannelGroup, LivingModel
from neuroexapt.growth import nominate
from neuroexapt.growth.arbiter import candidates, one_a_place, rank_by_worth
from neuroexapt.growth.connections import propose_connections
from neuroexapt.growth.division import propose_splits
from neuroexapt.growth.proposal import Proposal, Ranking
from neuroexapt.growth.situation import Situation
from neuroexapt.growth.strategies import propose_breakthrough

Policy: TypeAlias = Callable[[Situation], Ranking]


def rank_by_papers(situation: Situation) -> Ranking:
    """Connections first: they are cheap, and read layers as they were sensed."""
    config, living, readings = situation.config, situation.living, situation.readings
    connections = propose_connections(readings, living, config.max_connections)
    splits = propose_splits(
        readings,
        nominate.growable(living),
        config.entropy_threshold,
        config.split_probability,
        config.max_splits_per_layer,
        situation.generator,
    )
    return Ranking(
        [
            *(Proposal(edit, evidence) for edit, evidence in connections),
            *(Proposal(edit, evidence) for edit, evidence in splits),
        ],
        "no unit above the entropy threshold divided, and no layers were found to connect",
        paced=False,
    )


def rank_by_entropy(situation: Situation) -> Ranking:
    """Divide units, in the groups with the highest mean entropy first."""
    found = nominate.nominate_splits(situation.readings, situation.living, situation.config.share)
    entropy = {name: float(of.mean()) for name, of in situation.readings.entropy.items()}
    ordered = sorted(found, key=lambda p: -entropy[p.edit.group])  # type: ignore[union-attr]
    return Ranking(ordered, "no group of units can divide")


def rank_by_correlation(situation: Situation) -> Ranking:
    """Connect layers whose gradients correlate significantly, the strongest first."""
    found = nominate.nominate_connections(situation.readings, situation.living)
    floor = situation.readings.noise_floor
    strong = [p for p in found if abs(p.evidence["correlation"]) > floor]
    return Ranking(
        list(one_a_place(strong)),
        "no layers are left whose gradients correlate and that aren't connected",
    )


def rank_at_random(situation: Situation) -> Ranking:
    """Anything that any nominator proposes, in any order."""
    found = candidates(situation, anywhere=True)
    order = torch.randperm(len(found), generator=situation.generator).tolist()
    return Ranking(
        list(one_a_place([found[index] for index in order])),
        "nothing can be proposed for this model",
    )


def rank_uniformly(situation: Situation) -> Ranking:
    """Widen all groups by one share, so that they keep their proportions.

    MACs grow about with the square of the width, so that the share is one less than the root of the
    factor by which they may. Groups that have grown less than the others so far, as where checks
    had spent their share of the compute, come first and get more, up to the configuration's share.
    """
    config, living = situation.config, situation.living
    factor = min(config.pace, situation.budget.room(living.cost()))
    share = min(math.sqrt(factor) - 1, config.share)
    lags = _lags(living, nominate.widenable(living))
    found = [
        Proposal(Widen(group=group.name, count=count, init=config.newborns.init), {"share": share})
        for group, lag in sorted(lags, key=lambda pair: -pair[1])
        if (count := round(min((1 + share) * lag - 1, config.share) * group.size)) > 0
    ]
    least = (
        f"the pace and the budget let all groups be widened by {max(share, 0.0):.1%}, "
        "which isn't one unit of any"
    )
    return Ranking(found, least, paced=False)


def _lags(living: LivingModel, groups: Sequence[ChannelGroup]) -> list[tuple[ChannelGroup, float]]:
    """By what factor each group has grown less than the mean of them; 1 for those born by edits."""
    added: Counter[str] = Counter()
    for edit in living.edits:
        if isinstance(edit, Widen | Split | Prune):
            sign = -1 if isinstance(edit, Prune) else 1
            added[edit.group] += sign * (edit.count if isinstance(edit, Widen) else len(edit.units))
    grown = {
        group.name: math.log(group.size / max(group.size - added[group.name], 1))
        for group in groups
        if not group.name.startswith("edit")
    }
    mean = sum(grown.values()) / max(len(grown), 1)
    return [
        (group, round(math.exp(mean - grown.get(group.name, mean)), 9))  # 1, and not an ulp more
        for group in groups
    ]


POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "arbiter": rank_by_worth,
        "papers": rank_by_papers,
        "entropy": rank_by_entropy,
        "correlation": rank_by_correlation,
        "random": rank_at_random,
        "uniform": rank_uniformly,
        "breakthrough": propose_breakthrough,
    }
)
"""By the name that `GrowthConfig.policy` has for it."""


def ranked(situation: Situation) -> Ranking:
    """What the configuration's policy would do; first of all, end blends that have settled.

    The arbiter weighs that itself.
    """
    ranking = POLICIES[situation.config.policy](situation)
    if situation.config.policy == "arbiter":
        return ranking
    ended = nominate.nominate_settling(situation.living, situation.num_young)
    return replace(ranking, proposals=[*ended, *ranking.proposals])
