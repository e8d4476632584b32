"""What a rule may say about channels while values flow through the graph."""

from collections.abc import Mapping
from enum import IntFlag
from typing import Protocol

from neuroexapt.graph.value import Labels, Value


class Role(IntFlag):
    """What a tensor's dimension does with the channels that it is labelled with."""

    PASSENGER = 0
    """Rides along: a norm's scale, a bias, a learned per-channel factor."""
    PRODUCER = 1
    """Makes the channels: a layer's output dimension."""
    CONSUMER = 2
    """Reads the channels by a linear map: a layer's input dimension."""


class Mismatch(Exception):  # noqa: N818 - a verdict of the trial, never shown as an error
    """A trial growth contradicted the graph; its message is the reason that freezes the group."""


class Flow(Protocol):
    """Where rules report to: a recorder that learns the coupling, or a trial that checks it."""

    def parameter(self, path: str) -> Value:
        """The parameter or buffer at `path`, every dimension labelled."""
        ...

    def unify(self, first: Labels, second: Labels, where: str) -> None:
        """Channel by channel, the two are the same: they must change together."""
        ...

    def freeze(self, labels: Labels, reason: str) -> None:
        """These channels must not change their number."""
        ...

    def mark(self, labels: Labels, role: Role, name: str) -> None:
        """A parameter's dimension with these labels has this role, in the module `name`."""
        ...

    def mask(self, key: str, dim: int, labels: Labels) -> None:
        """The node `key` depends on these channels though no tensor of it has their number.

        It draws an independent random mask over them in train mode, or is a norm without scale.
        """
        ...

    def anonymous(self, key: str, size: int) -> Labels:
        """Labels for `size` channels that no parameter makes (part of a model input, say)."""
        ...


def freeze_all(flow: Flow, axes: Mapping[int, Labels], reason: str) -> None:
    """Freeze every labelled dimension of a value."""
    for labels in axes.values():
        flow.freeze(labels, reason)
