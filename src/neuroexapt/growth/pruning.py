"""What may go: units that are dead, and such as aren't worth their compute."""

import copy
import math
from collections.abc import Iterator
from dataclasses import replace

from neuroexapt.edits import Prune
from neuroexapt.errors import EditError
from neuroexapt.graph.inputs import probe_size
from neuroexapt.growth import nominate
from neuroexapt.growth.course import LEAST
from neuroexapt.growth.fitting import check_flops
from neuroexapt.growth.prior import pruning_features
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.situation import Situation
from neuroexapt.growth.worth import Verdict, exchange, predicted
from neuroexapt.signals import macs_of_units
from neuroexapt.signals.compute import positions_of
from neuroexapt.signals.loss import mean_loss

FEWEST_TO_PRUNE = 256
"""With fewer samples, a unit may only seem to be of no use."""
UNCHANGED = 1e-4
"""By how much outputs may differ without units that are said to be of no use."""


def rank_pruning(on: Situation) -> list[Proposal]:
    """The least units of each group: first those that save most compute for what they matter."""

    def worth(proposal: Proposal) -> float:
        matters = max(
            float(sum(proposal.evidence["saliency"])) / max(on.readings.loss, LEAST), LEAST
        )
        return -float(proposal.evidence["compute"]) / matters

    return sorted((proposal for proposal, *_ in _prunings(on)), key=worth, reverse=True)


def _prunings(on: Situation) -> Iterator[tuple[Proposal, float, float]]:
    """For each group, with the share of compute that is saved, and that of the loss it costs."""
    living, cost, loss = on.living, on.living.cost(), max(on.readings.loss, LEAST)
    positions = positions_of(living.graph_module, living.example_inputs.batch_size)
    for proposal in nominate.nominate_pruning(on.readings, living, on.config.share / 2):
        assert isinstance(proposal.edit, Prune), "nominated as such"
        saliency = sum(proposal.evidence["saliency"])
        features = pruning_features(saliency, proposal.evidence["removed"], loss)
        saving, scale = predicted(features, on)
        macs = macs_of_units(living, proposal.edit.group, len(proposal.edit.units), positions)
        compute = -math.log1p(-min(macs / max(cost.macs, 1), 0.99))
        told = {"compute": -compute, "price": -compute * exchange(on), **proposal.evidence}
        yield Proposal(proposal.edit, told, predicted=saving, scale=scale), compute, -saving


def on_pruning(on: Situation) -> tuple[list[Verdict], int]:
    """Units whose compute is worth more than what they save, and the FLOPs of making sure of that.

    What is estimated of units holds for small changes of the loss: where outputs are sure of
    themselves, gradients are close to nothing whatever a unit does. So those that seem to pay are
    taken out of a copy, as many as may be made, and what that costs at once mustn't be more than
    their compute is worth.
    """
    if on.readings.num_samples < FEWEST_TO_PRUNE:
        return [], 0
    # On a plateau, training gains nothing by compute; whoever runs the network still pays for it.
    rate = max(exchange(on), on.config.exchange)
    ordered = sorted(
        ((p, compute * rate, loss) for p, compute, loss in _prunings(on)),
        key=lambda each: each[1] / max(each[2], LEAST),
        reverse=True,
    )
    found: list[Verdict] = []
    flops, most = 0, on.config.max_edits
    for proposal, value, loss in ordered:
        pays, told = value > loss and most > 0, proposal
        if pays:
            most -= 1
            try:
                at_once, spent = _cost_at_once(proposal, on)
            except EditError:  # for whoever makes it to record
                at_once, spent = None, 0
            told = replace(proposal, evidence={**proposal.evidence, "at_once": at_once})
            pays = at_once is None or at_once <= value
            flops += spent
        found.append(Verdict(told, value / max(loss, LEAST), pays))
    return found, flops


def _cost_at_once(proposal: Proposal, on: Situation) -> tuple[float, int]:
    """By what share of the held-out loss that on the sensed data rises at once; and FLOPs."""
    copied = copy.deepcopy(on.living)
    copied.apply(proposal.edit, check=False)
    rise = mean_loss(copied, on.data, on.criterion) - on.readings.loss
    share = rise / max(on.readings.loss, on.unlearnt, LEAST) if math.isfinite(rise) else 1.0
    return share, 2 * copied.cost().macs * on.readings.num_samples


def on_dead_units(on: Situation) -> tuple[list[Verdict], int]:
    """Units that never change and aren't missed, and the FLOPs of making sure of that."""
    if "prune" not in on.config.kinds or on.readings.num_samples < FEWEST_TO_PRUNE:
        return [], 0
    found: list[Verdict] = []
    flops = 0
    for proposal in nominate.nominate_dead(on.readings, on.living):
        try:
            change = copy.deepcopy(on.living).apply(proposal.edit)
        except EditError:  # for whoever makes it to record
            found.append(Verdict(proposal, math.inf, pays=True))
            continue
        flops += check_flops(change, probe_size(on.living.example_inputs))
        if (change.max_error or 0.0) <= UNCHANGED:
            found.append(Verdict(proposal, math.inf, pays=True))
    return found, flops
