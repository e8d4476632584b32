"""How good the likeliest operations are alone, by norms that know what these give."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from torch import Tensor, nn

from neuroexapt.search.decisions import commit
from neuroexapt.training import Evaluation, evaluate
from neuroexapt.training.calibrate import calibrated, recalibrate
from neuroexapt.training.loaders import pairs

CALIBRATION = 8
"""Training batches that a committed network's norms are estimated on before it is judged."""


def judge(
    network: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    criterion: Callable[[Tensor, Tensor], Tensor],
    *,
    amp: bool,
) -> Evaluation:
    """Evaluate the likeliest operations, which run from now on.

    Args:
        network: with decisions.
        train_loader: by which norms are calibrated for this: they have seen other operations, or
            weights as they were some steps ago.
        val_loader: held-out data.
        criterion: outputs and targets to a mean loss.
        amp: run in half precision.
    """
    commit(network)
    with calibrated(network, _seen(network, train_loader)):
        return evaluate(network, val_loader, criterion, amp=amp)


def settle(network: nn.Module, train_loader: Iterable[Any]) -> None:
    """Leave the norms calibrated for the likeliest operations, which run from now on."""
    commit(network)
    recalibrate(network, _seen(network, train_loader))


def _seen(network: nn.Module, train_loader: Iterable[Any]) -> list[Tensor]:
    found = islice(pairs(train_loader, network), CALIBRATION)
    return [inputs for inputs, _ in found]
