"""How a training has gone so far: when it is time to grow, and what followed the last growth."""

import math
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.forecast import elasticity, jitter
from neuroexapt.growth.plateau import is_plateau

RECENT = 3
"""Epochs whose median stands for the present: one epoch's loss may be an outlier."""
TREND = 12
"""Epochs from which a trend is read, at most."""
STEADY = 6
"""Epochs from which it is read even if growth is more recent: of fewer, it would be noise."""
LEAST = 1e-6
"""A loss of less is taken for this: logarithms are taken."""
FEWEST = 3
"""Epochs from which one can be read at all."""


@dataclass(frozen=True)
class Mark:
    """Where training was when the network last grew.

    Attributes:
        log_epoch: how many were trained.
        log_loss: of the held-out data.
        slope: -d log(loss) / d log(epochs); None if that wasn't known.
        jitter: how far single epochs' losses were off that trend, as a standard deviation of their
            logarithms.
    """

    log_epoch: float
    log_loss: float
    slope: float | None
    jitter: float = 0.0


@dataclass(frozen=True)
class Consequence:
    """What followed a growth.

    It is compared with as many epochs of training on, not with as much compute: what a growth saves
    and what it costs are weighed apart.

    Attributes:
        saved: share of the held-out loss (as a difference of logarithms) beyond the trend.
        trend: share that training on alone would have saved, by the trend of before.
        jitter: how far single epochs were off that trend, so how unsure `saved` is at least.
    """

    saved: float
    trend: float
    jitter: float = 0.0


@dataclass
class Course:
    """The epochs so far.

    Attributes:
        epoch: how many.
        looked: the epoch when something to grow was last looked for; 0 for never.
        metrics: one an epoch since the last growth, larger is better.
        log_compute: what was spent at each of the last epochs: FLOPs, or epochs where these aren't
            told.
        log_epochs: the epochs' numbers, likewise.
        log_losses: of the held-out data, likewise; empty where they aren't told.
        mark: the last growth; None before any, or where losses aren't told.
        num_losses: that were told since the last growth.
        lowest: logarithm of the lowest held-out loss so far, as `loss` tells it; None before any.
        scale: the largest ratio of the sensed to the held-out loss so far; 0 before any.
    """

    epoch: int = 0
    looked: int = 0
    metrics: list[float] = field(default_factory=list)
    log_compute: list[float] = field(default_factory=list)
    log_epochs: list[float] = field(default_factory=list)
    log_losses: list[float] = field(default_factory=list)
    mark: Mark | None = None
    num_losses: int = 0
    lowest: float | None = None
    scale: float = 0.0

    def note(self, metric: float, loss: float | None, flops: float) -> None:
        """Take down an epoch; `flops` are 0 where they aren't told."""
        self.epoch += 1
        self.metrics.append(metric)
        if loss is not None and loss >= 0:
            self.num_losses += 1
            self.log_compute = [*self.log_compute, math.log(flops or self.epoch)][-TREND:]
            self.log_epochs = [*self.log_epochs, math.log(self.epoch)][-TREND:]
            self.log_losses = [*self.log_losses, math.log(max(loss, LEAST))][-TREND:]
            present = self._steady()
            if present is not None:
                self.lowest = present if self.lowest is None else min(self.lowest, present)

    def is_due(self, config: GrowthConfig) -> bool:
        """Whether it is time to look for something to grow."""
        if config.timing == "periodic":
            return self.epoch % config.every == 0
        if len(self.metrics) < config.every or self.epoch - self.looked < config.every:
            return False
        return config.timing == "gain" or is_plateau(self.metrics, config.plateau_window)

    def elasticity(self) -> float | None:
        """How fast the held-out loss falls with the compute; None while that isn't known.

        Growth keeps the function, so that the epochs before it count where those since are too few.
        """
        if len(self.log_losses) < FEWEST:
            return None
        return elasticity(self._recent(self.log_compute), self._recent(self.log_losses))

    def loss(self) -> float | None:
        """The present held-out loss, a median; None where too few are told.

        Growth keeps the function, so that the epochs before it count.
        """
        present = self._steady()
        return None if present is None else math.exp(present)

    def _steady(self) -> float | None:
        """The logarithm of the last epochs' median loss."""
        return None if len(self.log_losses) < RECENT else median(self.log_losses[-RECENT:])

    def lowest_loss(self) -> float | None:
        """The lowest held-out loss so far; None where it isn't told."""
        return None if self.lowest is None else math.exp(self.lowest)

    def _recent(self, values: list[float]) -> list[float]:
        """What a trend is read from."""
        return values[-max(self.num_losses, STEADY) :]

    def consequence(self) -> Consequence | None:
        """What followed the last growth; None if that isn't known."""
        if self.mark is None or self.mark.slope is None or not self.num_losses:
            return None
        log_epoch, log_loss = self._present()
        trend = self.mark.slope * (log_epoch - self.mark.log_epoch)
        return Consequence(self.mark.log_loss - log_loss - trend, trend, self.mark.jitter)

    def compare(self, sensed: float) -> None:
        """Take down the loss on the sensed data, which the held-out loss is to be compared with.

        They may be on different scales, as where a criterion sums over batches.
        """
        if loss := self.loss():
            self.scale = max(self.scale, sensed / loss)

    def grew(self) -> None:
        """Begin anew from a growth."""
        if self.log_losses:
            epochs, losses = self._recent(self.log_epochs), self._recent(self.log_losses)
            slope = elasticity(epochs, losses) if len(losses) >= FEWEST else None
            self.mark = Mark(*self._present(), slope, jitter(epochs, losses))
        self.metrics, self.num_losses = [], 0

    def restart(self) -> None:
        """Forget the trend: what comes next doesn't continue it."""
        self.metrics, self.num_losses, self.mark, self.lowest = [], 0, None, None
        self.scale = 0.0
        self.log_compute, self.log_epochs, self.log_losses = [], [], []

    def _present(self) -> tuple[float, float]:
        """Median logarithms of the last epochs' number and loss, none from before a growth."""
        count = max(min(self.num_losses, RECENT), 1)
        return median(self.log_epochs[-count:]), median(self.log_losses[-count:])

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)

    @classmethod
    def of(cls, state: dict[str, Any]) -> "Course":
        """What `state_dict` gave."""
        mark = state["mark"]
        return cls(**{**state, "mark": None if mark is None else Mark(**mark)})
