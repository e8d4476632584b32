"""Activation entropy: how evenly a unit uses its range."""

import math
from typing import final

import torch
from torch import Tensor

FINER = 32
"""Fine bins kept for each bin that is reported, so that ranges can grow with little error."""

ROUNDING = 8
"""A range below this many roundings of the largest magnitude in it is a constant."""


@final
class HistogramEntropy:
    """Normalised entropy of many units' activations, which may come batch by batch.

    A unit's values fall into bins of equal width between its smallest and its largest; the entropy
    of their shares is divided by log(bins). It is 1 for values spread evenly over the range, 0 for
    a constant, log(2) / log(bins) for two values equally often. Few samples bias it down, by about
    (bins - 1) / (2 n log(bins)) for n of them.

    Counts are kept in 32 fine bins a bin. A value outside a unit's range doubles the range and
    merges fine bins in pairs, which loses no count. Values of one batch are binned exactly. Across
    batches, bins may end up to 1/16 of their width from where they should, because at least a
    quarter of the fine bins lies within the values' range.

    Args:
        num_units: rows of what `update` gets.
        bins: at least 2.
        device: where counts are kept.

    Example:
        >>> histogram = HistogramEntropy(num_units=2, bins=4)
        >>> histogram.update(torch.tensor([[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 5.0, 5.0]]))
        >>> histogram.entropy(), histogram.dead()
        (tensor([1., 0.]), tensor([False,  True]))
        >>> histogram.update(torch.tensor([[0.0, 0.0], [5.0, 6.0]]))
        >>> histogram.dead()
        tensor([False, False])
    """

    def __init__(
        self, num_units: int, bins: int = 32, device: torch.device | str | None = None
    ) -> None:
        if bins < 2:
            raise ValueError(f"bins is {bins}; an entropy needs at least 2")
        self.num_units = num_units
        self.bins = bins
        self.num_samples = 0
        self._fine = bins * FINER
        self._counts = torch.zeros(num_units, self._fine, dtype=torch.int32, device=device)
        self._low, self._high = _nothing(num_units, device), -_nothing(num_units, device)
        self._start, self._end = self._low, self._high
        self._precision = 0.0

    def update(self, activations: Tensor) -> None:
        """Count more values.

        Args:
            activations: shape (units, n), finite.

        Raises:
            ValueError: if the shape differs, n is 0, or a value isn't finite.
        """
        if activations.ndim != 2 or len(activations) != self.num_units or not activations.numel():
            raise ValueError(
                f"activations have shape {tuple(activations.shape)}; give "
                f"({self.num_units}, n) with n at least 1"
            )
        self._precision = max(self._precision, precision_of(activations))
        values = activations.detach().to(self._counts.device)
        values = values if values.dtype == torch.float64 else values.float()
        low, high = values.aminmax(dim=1)
        if not bool((low.isfinite() & high.isfinite()).all()):
            raise ValueError("activations hold values that are not finite")
        self._extend(torch.minimum(self._low, low), torch.maximum(self._high, high))
        self._count(self._bin(values, self._fine))
        self.num_samples += values.shape[1]

    def entropy(self) -> Tensor:
        """Entropy of each unit, divided by log(bins).

        Returns:
            Shape (units,), 0 to 1.

        Raises:
            ValueError: before the first `update`.
        """
        shares = self.counts().to(self._start.dtype) / self.num_samples
        found = -torch.special.xlogy(shares, shares).sum(1) / math.log(self.bins)
        return torch.where(self.dead(), 0, found.clamp(0, 1))

    def counts(self) -> Tensor:
        """How many values lie in each bin between a unit's smallest and largest.

        Returns:
            Shape (units, bins), int64; a constant's are all in one bin.

        Raises:
            ValueError: before the first `update`.
        """
        self._check_updated()
        centres = (torch.arange(self._fine, device=self._start.device) + 0.5) / self._fine
        width = (self._end - self._start).unsqueeze(1)
        span = torch.where(self.dead(), 1, self._high - self._low).unsqueeze(1)
        shift = (self._start - self._low).unsqueeze(1)
        places = (((shift + width * centres) / span) * self.bins).long().clamp(0, self.bins - 1)
        counts = self._counts.new_zeros(self.num_units, self.bins, dtype=torch.int64)
        return counts.scatter_add_(1, places, self._counts.long())

    def dead(self) -> Tensor:
        """Which units gave one and the same value every time, up to rounding.

        Returns:
            Shape (units,), bool.

        Raises:
            ValueError: before the first `update`.
        """
        self._check_updated()
        return are_constant(self._low, self._high, self._precision)

    def _check_updated(self) -> None:
        if not self.num_samples:
            raise ValueError("nothing was counted yet; call update first")

    def _extend(self, low: Tensor, high: Tensor) -> None:
        """Make the ranges hold values from `low` to `high`."""
        if not self.num_samples:
            self._start, self._end = low, high
        self._low, self._high = low, high
        self._spread_constants()
        while True:
            below = self._start > low
            above = (self._end < high) & ~below
            grows = below | above
            if not bool(grows.any()):
                return
            width = self._end - self._start
            merged = self._counts.view(self.num_units, -1, 2).sum(2, dtype=torch.int32)
            nothing = torch.zeros_like(merged)
            halves = (
                torch.where(above.unsqueeze(1), merged, nothing),
                torch.where(below.unsqueeze(1), merged, nothing),
            )
            self._counts = torch.where(grows.unsqueeze(1), torch.cat(halves, 1), self._counts)
            self._start = torch.where(below, self._start - width, self._start)
            self._end = torch.where(above, self._end + width, self._end)

    def _spread_constants(self) -> None:
        """A range of one point can't double: it becomes the new range, its count moves along."""
        was, low, high = self._start, self._low, self._high
        opens = (self._start == self._end) & (low < high)
        if not self.num_samples or not bool(opens.any()):
            return
        held = self._counts[:, 0].clone()
        self._start, self._end = torch.where(opens, low, was), torch.where(opens, high, self._end)
        self._counts[:, 0] = torch.where(opens, 0, held)
        moved = torch.where(opens, held, 0).unsqueeze(1)
        self._counts.scatter_add_(1, self._bin(was.unsqueeze(1), self._fine), moved)

    def _bin(self, values: Tensor, bins: int) -> Tensor:
        """The bin of each value in its unit's range."""
        width = self._end - self._start
        width = torch.where(width > 0, width, 1).unsqueeze(1)
        return ((values - self._start.unsqueeze(1)) / width * bins).long().clamp(0, bins - 1)

    def _count(self, places: Tensor) -> None:
        first = torch.arange(self.num_units, device=places.device).unsqueeze(1) * self._fine
        counts = torch.bincount((places + first).flatten(), minlength=self._counts.numel())
        self._counts += counts.view_as(self._counts).int()


def activation_entropy(activations: Tensor, bins: int = 32) -> Tensor:
    """Normalised entropy of each unit's activations; see `HistogramEntropy`.

    Args:
        activations: shape (units, samples), finite.
        bins: at least 2.

    Returns:
        Shape (units,), 0 to 1; 0 for a constant.

    Raises:
        ValueError: if an argument is out of range.

    Example:
        >>> activation_entropy(torch.tensor([[0.0, 1.0, 0.0, 1.0]]), bins=4)
        tensor([0.5000])
    """
    histogram = HistogramEntropy(len(activations), bins, activations.device)
    histogram.update(activations)
    return histogram.entropy()


def are_constant(low: Tensor, high: Tensor, precision: float) -> Tensor:
    """Where the smallest and the largest of some values are the same, up to rounding.

    Args:
        low: the smallest, any shape.
        high: the largest, the same shape.
        precision: of one rounding, relative; see `precision_of`.
    """
    return high - low <= ROUNDING * precision * torch.maximum(low.abs(), high.abs())


def _nothing(num_units: int, device: torch.device | str | None) -> Tensor:
    return torch.full((num_units,), math.inf, device=device)


def precision_of(values: Tensor) -> float:
    """The relative size of one rounding of such values."""
    return torch.finfo(values.dtype).eps if values.is_floating_point() else 0.0
