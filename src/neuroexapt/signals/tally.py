"""Floating-point operations of many passes, counted in one of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from neuroexapt.graph.flops import counting


@dataclass
class Tally:
    """Counts what runs on the first part of the data, and takes the other parts for alike.

    Counting slows operations down; the parts differ in their numbers of samples only.

    Attributes:
        sizes: samples of each part.
        first: FLOPs of the first part, 2 for each multiply-accumulate.
    """

    sizes: Sequence[int]
    first: int | None = None

    @contextmanager
    def part(self) -> Iterator[None]:
        """Around whatever is done with a part; around the first one, it counts."""
        if self.first is not None:
            yield
            return
        with counting() as counter:
            yield
        self.first = counter.get_total_flops()

    @property
    def total(self) -> int:
        """FLOPs of all parts."""
        return round((self.first or 0) * sum(self.sizes) / self.sizes[0])
