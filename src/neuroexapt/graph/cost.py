"""What a model costs."""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Attributes:
        params: number of parameters, tied ones once.
        macs: multiply-accumulates of one forward pass for one sample.
    """

    params: int
    macs: int


def num_parameters(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())
