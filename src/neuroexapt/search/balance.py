"""Whether architecture parameters and weights move at rates that fit each other."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Draw = Callable[[], object]
Criterion = Callable[[Tensor, Tensor], Tensor]
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Rate:
    """How fast some parameters are moved.

    Attributes:
        gradient: length of their gradient, root mean square over batches.
        length: of the parameters themselves.
        lr: learning rate.
    """

    gradient: float
    length: float
    lr: float

    @property
    def relative(self) -> float:
        """By what part of themselves a step of plain descent moves them: lr |g| / |w|."""
        if self.length == 0:
            return math.inf if self.gradient else 0.0
        return self.lr * self.gradient / self.length


def rate(
    network: nn.Module,
    batches: Sequence[Batch],
    criterion: Criterion,
    parameters: Iterable[nn.Parameter],
    lr: float,
    draw: Draw,
) -> Rate:
    """Measure how fast parameters would be moved.

    Args:
        network: as it stands.
        batches: one at least.
        criterion: outputs and targets to a mean loss.
        parameters: whose gradient to take.
        lr: their learning rate.
        draw: called before each batch, as a search does to say what runs.
    """
    held = [parameter for parameter in parameters if parameter.requires_grad]
    squares = []
    for inputs, targets in batches:
        draw()
        loss = criterion(network(inputs), targets)
        found = torch.autograd.grad(loss, held, allow_unused=True, materialize_grads=True)
        squares.append(_square(found))
    return Rate(math.sqrt(sum(squares) / len(squares)), math.sqrt(_square(held)), lr)


def _square(tensors: Iterable[Tensor]) -> float:
    return sum(float(tensor.detach().double().square().sum()) for tensor in tensors)
