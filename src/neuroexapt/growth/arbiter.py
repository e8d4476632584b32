"""The arbiter: of everything that might change, what saves most for its cost, and is worth it."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from neuroexapt.edits import AnyEdit, Connect, Prune
from neuroexapt.graph import Cost
from neuroexapt.growth import nominate
from neuroexapt.growth.prior import (
    Features,
    Prior,
    growing_features,
    kind_of,
    pruning_features,
    shipped_prior,
)
from neuroexapt.growth.proposal import Proposal, Ranking
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import Gain, growth_gain, macs_of_units
from neuroexapt.signals.compute import positions_of

SIGNIFICANT = 2.0
"""A gain counts from so many of its standard errors."""
MOST_CONNECTIONS = 8
"""Connections whose gains are measured at a time: they grow with the square of the depth."""
SMALLEST_COST = 0.01
"""Every edit is taken to cost at least so large a share: time that MACs don't show."""
PARTS = 8
"""Parts of the data, at least, whose gradients are compared."""


@dataclass(frozen=True)
class Verdict:
    """What is expected of one proposal.

    Attributes:
        proposal: with its evidence and the predicted saving.
        worth: the saving for the cost, by which verdicts are ordered; for pruning the compute that
            is saved for the loss that it costs.
        pays: whether it saves more of the loss than training on would with the same compute.
    """

    proposal: Proposal
    worth: float
    pays: bool


def candidates(situation: Situation) -> list[Proposal]:
    """Whatever any nominator proposes that makes the network larger."""
    living, readings, share = situation.living, situation.readings, situation.config.share
    return [
        *nominate.nominate_splits(readings, living, share),
        *nominate.nominate_widening(readings, living, share),
        *nominate.nominate_blocks(living),
        *itertools.islice(nominate.nominate_connections(readings, living), MOST_CONNECTIONS),
        *nominate.nominate_attention(living),
        *nominate.nominate_activations(living),
    ]


def rank_by_worth(situation: Situation) -> Ranking:
    """Predict what each candidate saves, and order those that are worth it.

    An edit pays if the share of the loss that it is predicted to save exceeds what training on
    would save with the compute that the edit costs: with losses that fall as compute^-e, making the
    rest of the training dearer by a factor c gives away a share of about e log c. Pruning pays if
    it gives back more by that measure than it costs. Only growth whose gain is significantly above
    zero counts at all.
    """
    growing = candidates(situation)
    gains = growth_gain(
        situation.living,
        [proposal.edit for proposal in growing],
        situation.data,
        situation.criterion,
        parts=max(math.ceil(PARTS / len(situation.data)), 1),
        seed=int(situation.generator.initial_seed() % 2**31),
    )
    evidence = {id(proposal.edit): proposal.evidence for proposal in growing}
    verdicts = [
        _on_growth(gain, evidence[id(gain.edit)], gains.loss, situation) for gain in gains.found
    ]
    verdicts += _on_settling(situation)
    if situation.config.prune:
        verdicts += _on_pruning(gains.loss, situation)
    ordered = sorted(verdicts, key=lambda verdict: -verdict.worth)
    paying = [verdict.proposal for verdict in ordered if verdict.pays]
    return Ranking(list(one_a_place(paying)), _why_nothing(ordered, situation), gains.flops)


def one_a_place(proposals: list[Proposal]) -> Iterator[Proposal]:
    """The first proposal for each place: what was sensed there no longer holds after an edit."""
    taken: set[str] = set()
    for proposal in proposals:
        where = place_of(proposal.edit)
        if where not in taken:
            taken.add(where)
            yield proposal


def place_of(edit: AnyEdit) -> str:
    """The group, node or blend that an edit changes."""
    if isinstance(edit, Connect):
        return edit.target
    fields = ("group", "after", "node", "blend")
    return str(next(getattr(edit, field) for field in fields if hasattr(edit, field)))


def _on_growth(gain: Gain, evidence: dict[str, object], loss: float, on: Situation) -> Verdict:
    cost = on.living.cost()
    saving, scale = _predicted(growing_features(gain, loss, cost), on)
    compute = math.log1p(gain.macs / max(cost.macs, 1))
    price = compute * (on.elasticity or 0.0)
    significant = gain.gain > SIGNIFICANT * gain.error
    proposal = Proposal(
        gain.edit,  # type: ignore[arg-type]
        {
            "gain": gain.gain,
            "error": gain.error,
            "compute": compute,
            "training_on": price,
            **evidence,
        },
        predicted=saving,
        scale=scale,
    )
    spent = compute + _share_of_the_rest(gain.params, gain.macs, cost, on)
    worth = saving / max(spent, SMALLEST_COST) if significant else -math.inf
    return Verdict(proposal, worth, significant and saving > max(price, on.config.min_saving))


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


def _on_pruning(loss: float, on: Situation) -> list[Verdict]:
    found = []
    living, cost = on.living, on.living.cost()
    positions = positions_of(living.graph_module, living.example_inputs.batch_size)
    for proposal in nominate.nominate_pruning(on.readings, living, on.config.share / 2):
        assert isinstance(proposal.edit, Prune), "nominated as such"
        size = len(on.readings.saliency[proposal.edit.group])
        saliency = sum(max(value, 0.0) for value in proposal.evidence["saliency"])
        removed = len(proposal.edit.units) / size
        saving, scale = _predicted(pruning_features(saliency, removed, loss), on)
        macs = macs_of_units(living, proposal.edit.group, len(proposal.edit.units), positions)
        compute = -math.log1p(-min(macs / max(cost.macs, 1), 0.99))
        price = compute * (on.elasticity or 0.0)
        told = {"compute": -compute, "training_on": -price, **proposal.evidence}
        proposal = Proposal(proposal.edit, told, predicted=saving, scale=scale)
        worth = price / max(-saving, 1e-6)
        found.append(Verdict(proposal, worth, price > -saving))
    return found


def _on_settling(on: Situation) -> list[Verdict]:
    """Blends that have made up their minds: ending them costs next to nothing and saves time."""
    return [
        Verdict(proposal, math.inf, pays=True) for proposal in nominate.nominate_settling(on.living)
    ]


def _predicted(
    features: Features, on: Situation, prior: Prior | None = None
) -> tuple[float, float]:
    scale = on.scales.get(features.kind, on.scales["other"])
    return (prior or shipped_prior()).saving(features) * scale, scale


def _why_nothing(ordered: list[Verdict], on: Situation) -> str:
    """Why none of them pays, by the best one."""
    growing = [v for v in ordered if v.proposal.edit.kind not in ("prune", "settle")]
    known = [verdict for verdict in growing if verdict.worth > -math.inf]
    if not growing:
        return "nothing can be proposed for this model"
    if not known:
        return (
            f"none of {len(growing)} proposals has a gain that stands out from noise: the network "
            "is large enough for its data"
        )
    best = known[0].proposal
    saving, price = best.predicted or 0.0, best.evidence["training_on"]
    if saving <= on.config.min_saving:
        told = f"under min_saving, {on.config.min_saving:.2%}"
    else:
        told = f"and training on saves {price:.2%} for the same compute"
    return (
        f"nothing is worth its cost: the best of {len(growing)} proposals, {best.edit}, would save "
        f"{saving:.2%} of the loss, {told}"
    )


__all__ = ["Verdict", "candidates", "kind_of", "one_a_place", "place_of", "rank_by_worth"]
