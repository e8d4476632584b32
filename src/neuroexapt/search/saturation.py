"""How soft draws are: whether alpha still gets a gradient through Gumbel-softmax."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neuroexapt.search.alpha import SATURATED
from neuroexapt.search.decisions import relaxed_sample
from neuroexapt.search.movement import normalised_entropy


@dataclass(frozen=True)
class Saturation:
    """What draws at some temperature are like.

    Attributes:
        share: of the samples whose largest value is above `SATURATED`.
        jacobian: median Frobenius norm of a sample's derivative in alpha.
        entropy: of the samples over its maximum, mean.
    """

    share: float
    jacobian: float
    entropy: float


def saturation(
    alphas: Sequence[Tensor],
    temperature: float,
    generator: torch.Generator,
    num_running: int | None = None,
    draws: int = 256,
) -> Saturation:
    """Draw from every decision, as a search does, and measure the samples.

    Args:
        alphas: each of shape (operations,).
        temperature: of the draws.
        generator: the only source of randomness.
        num_running: operations that take part in a sample; None for all.
        draws: from each decision.

    Example:
        >>> even = [torch.zeros(8)]
        >>> soft = saturation(even, 5.0, torch.Generator().manual_seed(0))
        >>> hard = saturation(even, 0.1, torch.Generator().manual_seed(0))
        >>> soft.share, hard.share > 0.5
        (0.0, True)
    """
    samples = [
        relaxed_sample(alpha.detach().expand(draws, -1), temperature, generator, num_running)
        for alpha in alphas
    ]
    norms = torch.cat([sample_jacobian(soft, temperature).norm(dim=(-2, -1)) for soft in samples])
    peaks = torch.cat([soft.amax(-1) for soft in samples])
    entropies = [normalised_entropy(soft) for drawn in samples for soft in drawn]
    return Saturation(
        share=float((peaks > SATURATED).float().mean()),
        jacobian=float(norms.median()),
        entropy=sum(entropies) / len(entropies),
    )


def sample_jacobian(soft: Tensor, temperature: float) -> Tensor:
    """The derivative of a relaxed sample in alpha: (diag(s) - s s^T) / T.

    That alpha enters by its log-softmax makes no difference: what this subtracts from all entries
    alike, softmax doesn't see.

    Args:
        soft: the sample s, shape (..., operations).
        temperature: T.

    Returns:
        Shape (..., operations, operations); a row for each entry of the sample.
    """
    return (torch.diag_embed(soft) - soft.unsqueeze(-1) * soft.unsqueeze(-2)) / temperature
