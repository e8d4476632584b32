"""A network that draws its operations anew for every training batch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from neuroexapt.search.config import SearchConfig
from neuroexapt.search.decisions import commit, explore, mix, sample


class Drawn(nn.Module):
    """A network that says before every training batch which operations run.

    Args:
        network: with decisions.
        draw: called with the batch's inputs before the network is, in train mode.
    """

    def __init__(self, network: nn.Module, draw: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.network, self._draw = network, draw

    def forward(self, x: Tensor) -> Tensor:
        """As the network, with a draw before."""
        if self.training:
            self._draw(x)
        outputs: Tensor = self.network(x)
        return outputs


def draw(
    network: nn.Module,
    config: SearchConfig,
    epoch: int,
    temperature: float,
    generator: torch.Generator,
) -> None:
    """Say which operations run in a step of the weights.

    Args:
        network: with decisions.
        config: of the search.
        epoch: counted from 0.
        temperature: of the draws.
        generator: the only source of randomness.
    """
    if config.phase(epoch) == "final":
        commit(network)
    elif config.explores(epoch):
        explore(network, generator)
    elif config.relaxation == "softmax":
        mix(network)
    else:
        sample(network, temperature, generator)
