"""Dropout whose masks are shared between a unit and those that were split from it."""

from typing import TypeAlias

import torch
from torch import Tensor, nn

AnyDropout: TypeAlias = nn.Dropout | nn.Dropout1d | nn.Dropout2d | nn.Dropout3d


class SharedDropout(nn.Module):
    """Draws the mask that the original dropout would have drawn, and hands it to newborn units.

    Independent masks on a unit and its twin would break the cancellation that makes a split exact
    in train mode; with one mask for both, train mode is exact too, down to the random numbers.
    """

    source: Tensor

    def __init__(
        self, base: "AnyDropout | SharedDropout", dim: int, size: int, source: Tensor
    ) -> None:
        """Share masks along one dimension.

        Args:
            base: the original dropout, which draws, or one that shares along another dimension.
            dim: dimension of the input that carries the units.
            size: size of that dimension when `base` saw it first.
            source: shape (units now,), int64: which of the `size` mask positions each unit takes.
        """
        super().__init__()
        self.base = base
        self.dim = dim
        self.size = size
        self.register_buffer("source", source, persistent=False)

    @property
    def p(self) -> float:
        """Probability of a zero."""
        return self.base.p

    def forward(self, x: Tensor) -> Tensor:
        """Shape as the input."""
        if not self.base.training or self.base.p == 0:  # whoever looks for dropouts finds the base
            return x
        shape = list(x.shape)
        shape[self.dim] = self.size
        mask: Tensor = self.base(torch.ones(shape, dtype=x.dtype, device=x.device))
        return x * mask.index_select(self.dim, self.source)

    def extra_repr(self) -> str:
        """The dimension and how many masks it draws."""
        return f"dim={self.dim}, size={self.size}"
