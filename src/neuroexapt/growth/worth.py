"""What an edit is predicted to save, and what its compute is worth."""

from dataclasses import dataclass

from neuroexapt.growth.prior import Features, shipped_prior
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.situation import Situation


@dataclass(frozen=True)
class Verdict:
    """What is expected of one proposal.

    Attributes:
        proposal: with its evidence and the predicted saving.
        worth: the saving for the cost, by which verdicts are ordered; for pruning the compute that
            is saved for the loss that it costs.
        fits: whether at least one unit of it is within the budget.
        pays: whether it saves more of the loss than training on would with the same compute.
    """

    proposal: Proposal
    worth: float
    pays: bool
    fits: bool = True


def exchange(on: Situation) -> float:
    """Share of the loss that an e-fold of compute is worth."""
    seen, least = on.elasticity, on.config.exchange
    if seen is None:
        return least
    return max(seen, least) if on.config.timing == "gain" else min(max(seen, 0.0), least)


def predicted(features: Features, on: Situation) -> tuple[float, float]:
    """Share of the held-out loss that an edit saves, and the scale of its kind in this run."""
    scale = on.scales.get(features.kind, on.scales["other"])
    return shipped_prior().saving(features) * scale * on.learnable, scale
