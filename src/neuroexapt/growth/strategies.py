"""The four strategies against a plateau, and where each of them has a place."""

from neuroexapt.edits import Attend, Deepen, Split
from neuroexapt.graph import LivingModel
from neuroexapt.growth import nominate
from neuroexapt.growth.proposal import Proposal, Ranking
from neuroexapt.growth.situation import Situation
from neuroexapt.signals import Readings

SIZE_THRESHOLD = 1_000_000
"""Parameters from which no more residual blocks are added."""
EACH = 1
"""Blocks, attentions and activations that one attempt adds of each."""
GROWN = "edit"
"""What names of grown parts begin with: blocks aren't nested in blocks."""


def propose_breakthrough(situation: Situation) -> Ranking:
    """The four strategies in order: splits, blocks in small networks, attention, activations."""
    living, config = situation.living, situation.config
    overloaded = overloaded_units(
        situation.readings, living, config.entropy_threshold, config.share
    )
    splits = [_split(name, units, situation.readings) for name, units in overloaded.items()]
    found = [
        *splits[: max(config.max_edits - 3 * EACH, 1)],  # the others are to have their turn
        *(block_places(living)[:EACH] if living.cost().params < SIZE_THRESHOLD else ()),
        *attention_places(living)[:EACH],
        *activation_places(living)[:EACH],
    ]
    return Ranking(found, "no strategy has a place left in this model")


def overloaded_units(
    readings: Readings, living: LivingModel, threshold: float, share: float
) -> dict[str, tuple[int, ...]]:
    """Group name -> its units of the highest entropy, above a threshold, up to a share of it.

    The group with the most overloaded unit comes first.
    """
    found: dict[str, tuple[int, ...]] = {}
    highest: dict[str, float] = {}
    for group in nominate.growable(living):
        entropy = readings.entropy.get(group.name)
        if entropy is None:
            continue
        values, order = entropy.sort(descending=True, stable=True)
        count = min(max(round(group.size * share), 1), int((values > threshold).sum()))
        if count:
            found[group.name] = tuple(order[:count].tolist())
            highest[group.name] = float(values[0])
    return dict(sorted(found.items(), key=lambda item: -highest[item[0]]))


def block_places(living: LivingModel) -> list[Proposal]:
    """Residual blocks behind layers that have none yet, the deepest first."""
    taken = {edit.after for edit in living.edits if isinstance(edit, Deepen)}
    found = list(nominate.nominate_blocks(living))
    return [
        proposal
        for proposal in reversed(found)
        if isinstance(proposal.edit, Deepen)
        and proposal.edit.after not in taken
        and not proposal.edit.after.startswith(GROWN)
    ]


def attention_places(living: LivingModel) -> list[Proposal]:
    """Attention over the channels of layers that have none yet, the deepest first."""
    found = list(nominate.nominate_attention(living))
    return [
        proposal
        for proposal in reversed(found)
        if isinstance(proposal.edit, Attend)
        and proposal.edit.form == "channels"
        and not proposal.edit.after.startswith(GROWN)
    ]


def activation_places(living: LivingModel) -> list[Proposal]:
    """Blends of activations with a smooth one, the deepest first."""
    return list(nominate.nominate_activations(living))[::-1]


def _split(name: str, units: tuple[int, ...], readings: Readings) -> Proposal:
    evidence = {
        "entropy": readings.entropy[name][list(units)].tolist(),
        "num_samples": readings.num_samples,
    }
    return Proposal(Split(group=name, units=units), evidence)
