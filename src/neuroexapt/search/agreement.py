"""Whether an operation learns what is true of held-out data too."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

import torch
from torch import Tensor, nn

from neuroexapt.search.decisions import mix
from neuroexapt.search.mixed import Mixed

Criterion = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]
AGREES = 0.4
"""Cosine of gradients under which an operation learns what isn't true of held-out data."""


@dataclass(frozen=True)
class Agreement:
    """Cosines of gradients in the weights of an operation, each a mean over pairs of batches.

    Attributes:
        held_out: of a training batch and a held-out one.
        training: of two training batches: what noise alone leaves of agreement.
    """

    held_out: float
    training: float


@dataclass(frozen=True)
class Agreements:
    """How much the operations of a network agree, all together.

    Attributes:
        held_out: median over operations of `Agreement.held_out`.
        training: likewise of `Agreement.training`.
        few: operations whose held-out cosine is under `AGREES`.
        count: of the operations.
        worst: place and operation of the least held-out cosine.
    """

    held_out: float
    training: float
    few: int
    count: int
    worst: str


def summed(found: Mapping[str, Agreement]) -> Agreements | None:
    """All operations' cosines in a few numbers; None if there are none that are finite."""
    known = {
        name: cosines
        for name, cosines in found.items()
        if isfinite(cosines.held_out + cosines.training)
    }
    if not known:
        return None
    return Agreements(
        held_out=median(cosines.held_out for cosines in known.values()),
        training=median(cosines.training for cosines in known.values()),
        few=sum(cosines.held_out < AGREES for cosines in known.values()),
        count=len(known),
        worst=min(known, key=lambda name: known[name].held_out),
    )


def agreement(
    network: nn.Module, train: Sequence[Batch], held_out: Sequence[Batch], criterion: Criterion
) -> dict[str, Agreement]:
    """Compare gradients of every operation that has weights.

    All operations run, weighted by softmax(alpha), so that each has a gradient. The network is left
    mixed.

    Args:
        network: with decisions.
        train: batches of the weights' data, two at least.
        held_out: batches of other data, as many as are to be compared.
        criterion: outputs and targets to a mean loss.

    Returns:
        Place and operation -> its cosines; without those that no gradient reaches.

    Source: OLES, Jiang et al., NeurIPS 2023; training batches among each other are beside it here.
    """
    own = [operation_gradients(network, batch, criterion) for batch in train]
    other = [operation_gradients(network, batch, criterion) for batch in held_out]
    across = mean_cosines(own, other)
    within = mean_cosines(own, own[1:])
    return {name: Agreement(across[name], within[name]) for name in across.keys() & within.keys()}


def operation_gradients(
    network: nn.Module, batch: Batch, criterion: Criterion
) -> dict[str, Tensor]:
    """The loss's gradient in the weights of each operation, as one vector; without zero ones."""
    mix(network)
    inputs, targets = batch
    owned = operation_parameters(network)
    flat = [parameter for parameters in owned.values() for parameter in parameters]
    if not flat:
        return {}
    loss = criterion(network(inputs), targets)
    found = iter(torch.autograd.grad(loss, flat, allow_unused=True, materialize_grads=True))
    gradients = {
        name: torch.cat([next(found).flatten() for _ in parameters])
        for name, parameters in owned.items()
    }
    return {name: gradient for name, gradient in gradients.items() if gradient.any()}


def operation_parameters(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Place and operation -> the weights that are trained there; without those that have none."""
    return {
        f"{place} {name}".strip(): parameters
        for place, module in network.named_modules()
        if isinstance(module, Mixed)
        for name, operation in module.operations.items()
        if (parameters := [p for p in operation.parameters() if p.requires_grad])
    }


def mean_cosines(
    first: Sequence[Mapping[str, Tensor]], second: Sequence[Mapping[str, Tensor]]
) -> dict[str, float]:
    """The mean cosine of vectors of one name, over pairs in turn.

    Example:
        >>> right, up = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
        >>> mean_cosines([{"a": right}, {"a": right}], [{"a": up}, {"a": 2 * right}])
        {'a': 0.5}
    """
    found: dict[str, list[float]] = {}
    for one, other in zip(first, second, strict=False):
        for name in one.keys() & other.keys():
            cosine = torch.cosine_similarity(one[name], other[name], dim=0)
            found.setdefault(name, []).append(float(cosine))
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}
