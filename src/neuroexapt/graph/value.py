"""What the graph knows of one tensor: its shape, and which dimensions carry channels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Labels: TypeAlias = npt.NDArray[np.int64]
"""One channel label a position along a dimension."""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor as coupling sees it.

    Attributes:
        shape: sizes of all dimensions, as with the example input.
        axes: dimension -> the labels of the channels that it carries. A dimension that is missing
            here carries positions, samples, or channels that can't be followed.
        origin: where it comes from, in words, for reasons.
        weight: it is a parameter or buffer, at most moved about (transposed, sliced, reshaped).
        owner: for such a weight, the module that it belongs to, or its own name at the root.
    """

    shape: tuple[int, ...]
    axes: Mapping[int, Labels] = field(default_factory=dict)
    origin: str = ""
    weight: bool = False
    owner: str = ""

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def same_as(self, other: object) -> bool:
        """Whether shape and labels are equal (origins may differ)."""
        return (
            isinstance(other, Value)
            and self.shape == other.shape
            and self.axes.keys() == other.axes.keys()
            and all(np.array_equal(labels, other.axes[dim]) for dim, labels in self.axes.items())
        )
