"""A network that draws its operations anew for every training batch."""

from collections.abc import Callable

from torch import Tensor, nn


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
