"""The arbiter: of everything that might change, what saves most for its cost, and is worth it."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import torch

from neuroexapt.edits import AnyEdit, Connect, Settle, Split, Widen
from neuroexapt.graph import Cost
from neuroexapt.growth import nominate
from neuroexapt.growth.config import Kind
from neuroexapt.growth.course import LEAST
from neuroexapt.growth.evidence import Look, anything_to_gain
from neuroexapt.growth.fitting import num_units
from neuroexapt.growth.prior import (
    growing_features,
)
from neuroexapt.growth.proposal import Proposal, Ranking
from neuroexapt.growth.pruning import on_dead_units, on_pruning
from neuroexapt.growth.situation import Situation
from neuroexapt.growth.worth import Verdict, exchange, predicted
from neuroexapt.signals import Gain, Gains, growth_gain

BLOCKS: tuple[nominate.Block, ...] = ("residual", "inverted")
"""Forms of blocks that are considered. In the trials that the law is fitted on, bottlenecks saved
least of the three on average, and attention that a distant layer drives hardly anything:
that isn't considered either."""
MOST_CONNECTIONS = 8
"""Connections whose gains are measured at a time: they grow with the square of the depth."""
FIXED_COST = 1.0
"""What every edit costs beside its compute, since it takes one of the few places that a growth has:
as much as to make the network e times as dear."""
PARTS = 16
"""Parts of the data, at least, whose gradients are compared, as long as they're large enough."""
PART = 16
"""Samples of a part, at least: batch norms go by them."""


def candidates(situation: Situation, anywhere: bool = False) -> list[Proposal]:
    """Whatever the nominators of the kinds in question propose that makes the network larger.

    Args:
        situation: the network, and what was sensed.
        anywhere: whether the few connections among them are any, and not the most correlated.
    """
    living, readings, share = situation.living, situation.readings, situation.config.share
    init = situation.config.newborns.init
    connections = nominate.nominate_connections(readings, living)
    if anywhere:
        connections = _shuffled(connections, situation.generator)
    nominated: dict[Kind, Callable[[], Iterable[Proposal]]] = {
        "split": lambda: nominate.nominate_splits(readings, living, share),
        "widen": lambda: nominate.nominate_widening(readings, living, share, init),
        "deepen": lambda: nominate.nominate_blocks(living, BLOCKS),
        "connect": lambda: islice(connections, MOST_CONNECTIONS),
        "attend": lambda: nominate.nominate_attention(living),
        "activate": lambda: nominate.nominate_activations(living),
    }
    chosen = [propose for kind, propose in nominated.items() if kind in situation.config.kinds]
    return [proposal for propose in chosen for proposal in propose()]


def _shuffled(found: Iterable[Proposal], generator: torch.Generator) -> Iterator[Proposal]:
    proposals = list(found)
    order = torch.randperm(len(proposals), generator=generator).tolist()
    return (proposals[index] for index in order)


def rank_by_worth(situation: Situation) -> Ranking:
    """Predict what each candidate saves, and order those that are worth it.

    An edit pays if the share of the loss that it is predicted to save exceeds its price. Where a
    loss falls as compute^-e, making the rest of the training dearer by a factor c gives away about
    e log c; e is the configuration's `exchange`, or what the loss is seen to fall by: with the
    timing "gain" if that is more, else if it is less. Nothing pays once enough samples have shown
    that there is nothing to gain (`anything_to_gain`); before that, a network is taken to be as
    small as its user says.

    Dead units go at any time, if outputs are the same without them: one that is constant, but not
    zero, has a say. Others are pruned only if no growth pays: while a network is too small, what
    its least units lose it now is less than what they will. Then they go if the compute that they
    take is worth more than the loss that they save.

    Raises:
        ValueError: if the loss is negative.
    """
    if situation.readings.loss < 0:
        raise ValueError(
            f"the loss is {situation.readings.loss:.3g}, and the arbiter reckons in shares of it: "
            "add a constant to the criterion, so that it isn't negative, or take another policy"
        )
    growing = thinned(candidates(situation), situation)
    gains = growth_gain(
        situation.living,
        [proposal.edit for proposal in growing],
        situation.data,
        situation.criterion,
        parts=_parts(situation),
        seed=int(situation.generator.initial_seed() % 2**31),
    )
    evidence = {id(proposal.edit): proposal.evidence for proposal in growing}
    look = Look.of(gains)
    anything = anything_to_gain([*situation.looks, look]) if gains.found else False
    grows = anything is not False and not situation.overfits
    verdicts = [
        _on_growth(gain, evidence[id(gain.edit)], gains, grows, situation) for gain in gains.found
    ]
    dead, checking = on_dead_units(situation)
    verdicts += _on_settling(situation) + dead
    if "prune" in situation.config.kinds and not any(verdict.pays for verdict in verdicts):
        pruning, measuring = on_pruning(situation)
        verdicts, checking = verdicts + pruning, checking + measuring
    ordered = sorted(verdicts, key=lambda verdict: -verdict.worth)
    paying = [verdict.proposal for verdict in ordered if verdict.pays]
    return Ranking(
        list(one_a_place(paying)),
        _why_nothing(ordered, gains, situation),
        gains.flops + checking,
        look=look,
        exhausted=anything is False,
        refused=gains.refused,
    )


def thinned(proposals: list[Proposal], on: Situation) -> list[Proposal]:
    """A random part of the additions, as much as may be sensed; whatever resizes groups stays.

    All additions are attached together, and make the network many times as dear to run.
    """
    if on.part >= 1:
        return proposals
    additions = [p for p in proposals if not isinstance(p.edit, Widen | Split)]
    order = torch.randperm(len(additions), generator=on.generator).tolist()
    left_out = {id(additions[index]) for index in order[math.ceil(on.part * len(additions)) :]}
    return [proposal for proposal in proposals if id(proposal) not in left_out]


def _parts(on: Situation) -> int:
    """Into how many parts each batch is cut."""
    most = on.readings.num_samples // (PART * len(on.data))
    return max(min(math.ceil(PARTS / len(on.data)), most), math.ceil(2 / len(on.data)))


def one_a_place(proposals: list[Proposal]) -> Iterator[Proposal]:
    """The first proposal for each place: what was sensed there no longer holds after an edit."""
    taken: set[str] = set()
    for proposal in proposals:
        where = place_of(proposal.edit)
        if where not in taken:
            taken.add(where)
            yield proposal


def place_of(edit: AnyEdit) -> str:
    """The group or node that an edit changes; ending a blend changes nothing that others go by."""
    if isinstance(edit, Connect):
        return edit.target
    if isinstance(edit, Settle):
        return f"blend {edit.blend}"
    fields = ("group", "after", "node")
    return str(next(getattr(edit, field) for field in fields if hasattr(edit, field)))


def _on_growth(
    gain: Gain, evidence: dict[str, object], gains: Gains, anything: bool, on: Situation
) -> Verdict:
    cost = on.living.cost()
    saving, scale = predicted(
        growing_features(gain, gains.largest, max(gains.loss, LEAST), cost), on
    )
    compute = math.log1p(gain.macs / max(cost.macs, 1))
    price = compute * exchange(on)
    proposal = Proposal(
        gain.edit,  # type: ignore[arg-type]
        {
            "gain": gain.gain,
            "error": _finite(gain.error),
            "beyond": gain.beyond,
            "beyond_error": _finite(gain.beyond_error),
            "compute": compute,
            "price": price,
            **evidence,
        },
        predicted=saving,
        scale=scale,
    )
    spent = compute + _share_of_the_rest(gain.params, gain.macs, cost, on)
    least = 1 / num_units(gain.edit)  # type: ignore[arg-type]
    smallest = Cost(cost.params + int(gain.params * least), cost.macs + int(gain.macs * least))
    fits = on.budget.exceeded(smallest) is None
    worth = saving / (spent + FIXED_COST) if anything else -math.inf
    return Verdict(
        proposal, worth, anything and fits and saving > max(price, on.config.min_saving), fits
    )


def _finite(error: float) -> float | None:
    """An error that can be written down; with only two parts of data there is none."""
    return error if math.isfinite(error) else None


def _share_of_the_rest(params: int, macs: int, cost: Cost, on: Situation) -> float:
    """How much of what the budget still allows an edit uses up."""
    shares = [
        added / max(limit - present, 1)
        for limit, present, added in (
            (on.budget.params, cost.params, params),
            (on.budget.macs, cost.macs, macs),
        )
        if limit is not None
    ]
    return max(shares, default=0.0)


def _on_settling(on: Situation) -> list[Verdict]:
    """Blends that have made up their minds, and had the time to; what grows comes first."""
    found = nominate.nominate_settling(on.living, on.num_young)
    return [Verdict(proposal, 0.0, pays=True) for proposal in found]


def _why_nothing(ordered: list[Verdict], gains: Gains, on: Situation) -> str:
    """Why none of them pays, by the best one."""
    growing = [v for v in ordered if v.proposal.edit.kind not in ("prune", "settle")]
    known = [verdict for verdict in growing if verdict.worth > -math.inf]
    if not growing and gains.refused:
        edit, reason = gains.refused[0]
        return f"none of {len(gains.refused)} proposals fits this model; {edit}: {reason}"
    if not growing and set(on.config.kinds) <= {"prune"}:
        return "no unit takes compute that is worth more than what it saves of the loss"
    if not growing:
        return "nothing can be proposed for this model"
    if not known and on.overfits:
        return (
            f"the network overfits: its held-out loss has risen from {on.lowest_loss:.3g} to "
            f"{on.held_out_loss:.3g}, while the training loss is {on.readings.loss:.3g}"
        )
    if not known:
        return (
            f"none of {len(growing)} proposals has a gain that stands out from noise: the network "
            "is large enough, as far as the samples show"
        )
    if not any(verdict.fits for verdict in known):
        return f"the budget leaves no room for any of {len(growing)} proposals"
    best = next(verdict for verdict in known if verdict.fits).proposal
    saving, price = best.predicted or 0.0, best.evidence["price"]
    if saving <= on.config.min_saving:
        told = f"under min_saving, {on.config.min_saving:.2%}"
    else:
        told = f"and the compute that it takes is worth {price:.2%}"
    return (
        f"nothing is worth its cost: the best of {len(growing)} proposals, {best.edit}, would save "
        f"{saving:.2%} of the loss, {told}"
    )
