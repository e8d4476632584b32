"""How a training has gone so far: when it is time to grow, and what followed the last growth."""

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.forecast import elasticity
from neuroexapt.growth.plateau import is_plateau

RECENT = 3
"""Epochs whose median stands for the present: one epoch's loss may be an outlier."""
TREND = 6
"""Epochs from which a trend is read, at most."""


@dataclass(frozen=True)
class Mark:
    """Where training was when the network last grew.

    Attributes:
        compute: spent.
        log_loss: of the held-out data.
        elasticity: how fast the loss fell with compute.
    """

    compute: float
    log_loss: float
    elasticity: float


@dataclass(frozen=True)
class Consequence:
    """What followed a growth.

    Attributes:
        saved: share of the held-out loss (as a difference of logarithms) beyond the trend.
        trend: share that training on alone would have saved, by the trend of before.
    """

    saved: float
    trend: float


@dataclass
class Course:
    """The epochs so far.

    Attributes:
        epoch: how many.
        metrics: one an epoch since the last growth, larger is better.
        compute: FLOPs spent at each epoch, since the last growth; epochs where FLOPs aren't told.
        log_losses: of the held-out data, likewise; empty where they aren't told.
        mark: the last growth; None before any, or where losses aren't told.
    """

    epoch: int = 0
    metrics: list[float] = field(default_factory=list)
    compute: list[float] = field(default_factory=list)
    log_losses: list[float] = field(default_factory=list)
    mark: Mark | None = None

    def note(self, metric: float, loss: float | None, flops: float) -> None:
        """Take down an epoch."""
        self.epoch += 1
        self.metrics.append(metric)
        if loss is not None and loss > 0:
            self.compute.append(flops or float(self.epoch))
            self.log_losses.append(math.log(loss))

    def is_due(self, config: GrowthConfig) -> bool:
        """Whether it is time to look for something to grow."""
        waited = len(self.metrics)
        if config.timing == "periodic":
            return self.epoch % config.every == 0
        if waited < config.every:
            return False
        return config.timing == "gain" or is_plateau(self.metrics, config.plateau_window)

    def elasticity(self) -> float | None:
        """How fast the held-out loss falls by training on; None while that isn't known."""
        found = elasticity(
            self.compute[-TREND:], [math.exp(value) for value in self.log_losses[-TREND:]]
        )
        return found if found is not None or self.mark is None else self.mark.elasticity

    def consequence(self) -> Consequence | None:
        """What followed the last growth; None if that isn't known."""
        if self.mark is None or not self.log_losses:
            return None
        trend = self.mark.elasticity * math.log(self.compute[-1] / self.mark.compute)
        return Consequence(self.mark.log_loss - self._level() - trend, trend)

    def grew(self) -> None:
        """Begin anew from a growth."""
        if self.log_losses:
            self.mark = Mark(self.compute[-1], self._level(), self.elasticity() or 0.0)
        self.metrics, self.compute, self.log_losses = [], [], []

    def _level(self) -> float:
        return median(self.log_losses[-RECENT:])

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Course":
        """What `state_dict` gave."""
        mark = state["mark"]
        return cls(**{**state, "mark": None if mark is None else Mark(**mark)})
