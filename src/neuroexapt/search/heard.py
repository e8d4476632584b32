"""Whether a network can be searched at all: what is decided has to make a difference."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from neuroexapt.errors import SearchError, TraceError
from neuroexapt.graph import LivingModel
from neuroexapt.search.decisions import decisions, mix
from neuroexapt.search.mixed import Mixed
from neuroexapt.signals.untouched import untouched
from neuroexapt.training.modes import device_of, mode


def check_heard(network: nn.Module, example: Tensor) -> None:
    """Refuse a network of which some decision makes no difference; it stays as it is.

    All operations run at once, so that what is dead under one choice isn't taken for unheard.

    Args:
        network: with decisions.
        example: a batch of inputs, on the network's device.

    Raises:
        SearchError: naming the decision.
    """
    found = decisions(network)
    alphas = [decision.alpha for decision in found.values()]
    with untouched(network, device_of(network)), torch.enable_grad():
        mix(network)
        with mode(network, training=False):
            outputs = [leaf for leaf in tree_leaves(network(example)) if isinstance(leaf, Tensor)]
        live = [output.sum() for output in outputs if output.requires_grad]
        if not live:
            raise SearchError(unheard("of any decision"))
        gradients = torch.autograd.grad(torch.stack(live).sum(), alphas, allow_unused=True)
    for name, gradient in zip(found, gradients, strict=True):
        if gradient is None:
            raise SearchError(unheard(f"of the decision {name!r}"))


def unheard(whose: str) -> str:
    """What to say of alpha that makes no difference."""
    return (
        f"alpha {whose} never enters what the network computes, so that it can't be learnt; call "
        "the mixed operation in forward"
    )


def check_traceable(network: nn.Module, example: Tensor, otherwise: str) -> None:
    """Refuse a network that can't be traced, before it has been searched for hours.

    It stays as it is.

    Args:
        network: with decisions.
        example: a batch of inputs, on the network's device.
        otherwise: what to say of why it has to be traced.

    Raises:
        TraceError: saying why it can't be.
    """
    try:
        with untouched(network, device_of(network)):
            LivingModel(network, example, leaves=(Mixed,))
    except TraceError as error:
        raise TraceError(f"{error}. {otherwise}") from error
