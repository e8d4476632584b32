"""What a measurement tells of what is wrong with a search."""

from collections.abc import Sequence

from neuroexapt.search.bottleneck import (
    broken,
    curvature,
    discretisation_gap,
    not_learning,
    operation_overfit,
)
from neuroexapt.search.config import SearchConfig
from neuroexapt.search.finding import Finding
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.separation import gradient_imbalance, shared_samples


def findings_of_measurement(found: Measurement, config: SearchConfig) -> list[Finding]:
    """What the newest measurement tells.

    Args:
        found: as `measure` gives it.
        config: of the search.
    """
    told = [shared_samples(found.overlap)]
    lr = config.recipe.lr
    if found.failure:
        return [*told, broken(found.failure, lr)]
    assert found.supernet is not None and found.derived is not None and found.majority is not None
    return [
        *told,
        not_learning(found.supernet, found.majority, lr, found.num_samples),
        discretisation_gap(found.supernet, found.derived, config),
        gradient_imbalance(found.alpha, found.weights, config, found.temperature),
        operation_overfit(found.agreements, found.batch_size),
    ]


def rise_of_curvature(found: Sequence[Measurement], config: SearchConfig) -> Finding:
    """What all measurements together tell of the curvature, earliest first."""
    values = [each.eigenvalue for each in found if each.eigenvalue is not None]
    return curvature(values, config.recipe.weight_decay)
