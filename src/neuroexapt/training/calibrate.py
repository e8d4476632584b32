"""Norm statistics of the operations that run, not of all that were ever drawn."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neuroexapt.training.modes import mode


@contextmanager
def calibrated(network: nn.Module, batches: Iterable[Tensor]) -> Iterator[None]:
    """Inside, batch norms know the statistics of some batches; afterwards what they knew before.

    Running statistics that training left are a mean over all operations that were drawn in front
    of a norm, and are those of none of them: in eval mode a committed network can look as if it
    guessed.

    Args:
        network: runs what it would run outside.
        batches: inputs, on the network's device; without any, nothing changes.

    Source: Guo et al. 2020, arXiv:1904.00420, section 3.
    """
    norms = _tracking(network)
    kept = [
        ({n: buffer.clone() for n, buffer in norm.named_buffers(recurse=False)}, norm.momentum)
        for norm in norms
    ]
    given = list(batches)
    try:
        if given:
            recalibrate(network, given)
        yield
    finally:
        for norm, (buffers, momentum) in zip(norms, kept, strict=True):
            norm.momentum = momentum
            for name, buffer in norm.named_buffers(recurse=False):
                buffer.copy_(buffers[name])


def recalibrate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Estimate batch norms' statistics anew: a plain mean over some batches.

    Args:
        network: its running statistics are replaced; modes and momenta stay.
        batches: inputs, on the network's device, at least one.
    """
    norms = _tracking(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    try:
        with mode(network, training=True), torch.no_grad():
            for inputs in batches:
                network(inputs)
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _tracking(network: nn.Module) -> list[_BatchNorm]:
    return [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
