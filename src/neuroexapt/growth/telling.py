"""What a Grower says of itself, in words."""

from collections.abc import Sequence

from neuroexapt.graph import LivingModel
from neuroexapt.growth.proposal import Ranking
from neuroexapt.growth.record import Refusal


def kept(living: LivingModel) -> str | None:
    """What growth keeps from the outputs; None if they may see everything."""
    if apart := living.kept_apart:
        rule = (
            "; nothing is added that would show it to them (if it may be, set kept_apart = () on "
            "the living model)"
        )
    elif apart := living.unseen:
        rule = (
            " so far, and what is added may show it to them (if it mustn't, set kept_apart = "
            "unseen on the living model)"
        )
    else:
        return None
    return f"the outputs don't see {', nor '.join(dict.fromkeys(map(str, apart)))}{rule}"


def rest(has_grown: bool, why: str, never_sensed: bool, sensing_share: float) -> str:
    """What becomes of the training that is left, and why if nothing has grown.

    Args:
        has_grown: whether anything has.
        why: nothing grew at the last look, in words; empty if something did.
        never_sensed: whether to sense was always too dear.
        sensing_share: what it may take of the training.
    """
    if not has_grown and why:
        return f"nothing has grown, since {why}"
    if never_sensed:
        return (
            f"the rest trains newborns; to sense never came within {sensing_share:.0%} of the "
            "training: raise sensing_share, or train longer"
        )
    return "the rest trains newborns"


def why_idle(refusals: Sequence[Refusal], ranking: Ranking, pace: float) -> str:
    """Why a look changed nothing.

    Args:
        refusals: of what was proposed.
        ranking: what was proposed.
        pace: by how much the network may become more expensive at a time.
    """
    if refusals:
        first = refusals[0]
        return f"{len(refusals)} proposals don't fit, first {first.edit}: {first.reason}"
    if not ranking.proposals:
        return ranking.otherwise
    return (
        f"each of {len(ranking.proposals)} proposals would make the model more than {pace:g} times "
        f"as expensive at once, first of all {ranking.proposals[0].edit}; raise pace for such"
    )
