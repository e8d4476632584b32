"""When each of a model's edits was made."""

from collections.abc import Iterable
from itertools import takewhile

EVER = -(2**31)
"""The epoch of edits that were there before anybody looked."""


class Ages:
    """The epochs in which a model's edits were made, or first seen, in their order.

    Args:
        epochs: one for each edit.

    Example:
        >>> ages = Ages.of(2)
        >>> ages.see(3, epoch=7)
        >>> ages.see(5, epoch=9)
        >>> ages.num_since(7), ages.num_since(8)
        (3, 2)
    """

    def __init__(self, epochs: Iterable[int] = ()) -> None:
        self._epochs = list(epochs)

    @classmethod
    def of(cls, count: int) -> "Ages":
        """Of a model that has had so many edits already."""
        return cls([EVER] * count)

    def see(self, count: int, epoch: int) -> None:
        """Take down that the model has had so many edits by an epoch."""
        self.forget(count)
        self._epochs += [epoch] * (count - len(self._epochs))

    def forget(self, count: int) -> None:
        """Keep only the first so many edits: others have come in the place of the rest."""
        del self._epochs[max(count, 0) :]

    def num_since(self, epoch: int) -> int:
        """How many of the latest edits were made in that epoch or later."""
        return sum(1 for _ in takewhile(lambda made: made >= epoch, reversed(self._epochs)))

    def state_dict(self) -> list[int]:
        """JSON-ready; what the class is made from."""
        return list(self._epochs)
