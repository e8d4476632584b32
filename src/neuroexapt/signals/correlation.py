"""Correlation of layers: do they matter for the same samples?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

ALPHA = 0.05


@dataclass(frozen=True)
class LayerCorrelation:
    """How two layers' signatures go together.

    Attributes:
        source: name of the earlier layer.
        target: name of the later layer.
        correlation: Pearson's, -1 to 1.
        num_samples: that it was measured on.
        p_value: chance of one as large between unrelated layers.
        significant: whether it stands out although many pairs were looked at.

    Example:
        >>> pair = LayerCorrelation("conv1", "conv3", 0.7, 128, p_value=1e-20, significant=True)
        >>> abs(pair.correlation) > noise_floor(pair.num_samples, num_pairs=3)
        True
    """

    source: str
    target: str
    correlation: float
    num_samples: int
    p_value: float
    significant: bool


def signature_correlation(signatures: Tensor) -> tuple[Tensor, Tensor]:
    """Pearson correlation of every two layers, and its p-value.

    A layer's signature is one number a sample: the sum of gradient times activation over channels
    and positions, where the gradient is that of the sample's own loss. It says how the sample's
    loss would answer if the layer's output were scaled up a little, with a sign: what the layer
    does for this sample, or against it. The gradient's norm would be no such thing. Backpropagation
    multiplies all layers' gradients by how wrong the output is, so that norms are large everywhere
    for hard samples and small everywhere for easy ones, and all layers of a trained network
    correlate almost perfectly whatever they do.

    Where nothing but bias-free linear maps and rectifiers lies between two layers, scaling either
    scales the output alike (Euler's theorem), their signatures are equal, and the correlation is 1
    by construction.

    Args:
        signatures: shape (layers, samples), finite.

    Returns:
        Correlations and two-sided p-values by Fisher's transformation (normal, with variance
        1 / (samples - 3)), both float64 of shape (layers, layers). A constant signature correlates
        with nothing: 0, with p-value 1. Under 4 samples all p-values are 1.

    Example:
        >>> signatures = torch.tensor([[1.0, 2, 3, 4, 5], [2.0, 4, 6, 8, 10], [1.0, -1, 0, -1, 1]])
        >>> correlation, p_value = signature_correlation(signatures)
        >>> correlation[0].tolist()
        [1.0, 1.0, 0.0]
        >>> [round(p, 3) for p in p_value[0].tolist()]
        [0.0, 0.0, 1.0]
    """
    values = signatures.double()
    centred = values - values.mean(1, keepdim=True)
    norm = centred.norm(dim=1, keepdim=True)
    # What the mean's own rounding leaves of a constant is no variation.
    constant = norm <= 1e-12 * values.norm(dim=1, keepdim=True)
    scaled = torch.where(constant, 0, centred / torch.where(constant, 1, norm))
    correlation = (scaled @ scaled.T).clamp(-1, 1)
    freedom = max(values.shape[1] - 3, 0)
    distance = torch.atanh(correlation).abs() * math.sqrt(freedom)
    p_value = torch.erfc(distance / math.sqrt(2))
    return correlation, torch.where(distance.isnan(), 1, p_value)


def noise_floor(num_samples: int, num_pairs: int, alpha: float = ALPHA) -> float:
    """The correlation that unrelated layers exceed anywhere with a chance of `alpha`.

    Args:
        num_samples: behind each correlation.
        num_pairs: that are looked at; the chance is shared among them (Bonferroni).
        alpha: between 0 and 1.

    Returns:
        A magnitude, 0 to 1; 1 where there are too few samples for any evidence.

    Example:
        >>> round(noise_floor(num_samples=128, num_pairs=10), 2)
        0.25
    """
    if num_samples < 4 or num_pairs < 1:
        return 1.0
    quantile = NormalDist().inv_cdf(1 - alpha / num_pairs / 2)
    return math.tanh(quantile / math.sqrt(num_samples - 3))


def correlated(
    names: Sequence[str], signatures: Tensor, pairs: Sequence[tuple[int, int]], alpha: float = ALPHA
) -> tuple[LayerCorrelation, ...]:
    """Records of chosen pairs, strongest first.

    Args:
        names: of the layers.
        signatures: shape (layers, samples).
        pairs: indices of source and target.
        alpha: chance that any pair of unrelated layers is called significant (Bonferroni).
    """
    if not pairs:
        return ()
    matrices = signature_correlation(signatures)
    sources, targets = torch.tensor(pairs).T.to(signatures.device)
    figures, p_values = (matrix[sources, targets].tolist() for matrix in matrices)
    num_samples = signatures.shape[1]
    found = [
        LayerCorrelation(
            source=names[source],
            target=names[target],
            correlation=figure,
            num_samples=num_samples,
            p_value=p_value,
            significant=p_value < alpha / len(pairs),
        )
        for (source, target), figure, p_value in zip(pairs, figures, p_values, strict=True)
    ]
    # Rounded, so that correlations that are 1 by construction keep the graph's order.
    return tuple(sorted(found, key=lambda pair: -round(abs(pair.correlation), 6)))
