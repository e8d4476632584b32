"""Growth as a step in anyone's training loop."""

import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from neuroexapt.edits import Change, Connect, Split
from neuroexapt.edits.base import listed
from neuroexapt.edits.carry import check_optimizers
from neuroexapt.errors import EditError, LimitError
from neuroexapt.graph import LivingModel
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.connections import propose_connections
from neuroexapt.growth.division import as_living, propose_splits
from neuroexapt.growth.record import Growth, Refusal, predicted_gain, with_outcome
from neuroexapt.signals import Readings, sense
from neuroexapt.training.seed import generator_for

logger = logging.getLogger(__name__)

PROBE_SIZE = 8
"""Samples on which an edit's preservation is checked."""


class Grower:
    """Grows a living model while it trains; shaped like a learning-rate scheduler.

    Once an epoch, `step` counts. Every few epochs it senses (activation entropy and gradient
    correlation, in one pass over a few batches), proposes splits and connections, and applies those
    that fit the budget. It ends by itself when the budget is spent or nothing is proposed any more,
    and says which in `stopped`.

    Args:
        living: the model.
        optimizer: one or several, carried across every edit; None for none.
        criterion: outputs and targets to a mean loss.
        budget: limits.
        config: when and how much.
        seed: of every random choice.

    Raises:
        ValueError: if the model is no `LivingModel`.
        EditError: if the optimiser is none.

    Attributes:
        growths: a record of every edit: evidence, prediction, consequence, cost.
        refusals: a record of every proposal that wasn't possible, with the reason.
        flops: FLOPs spent on sensing and on checking edits so far (2 a multiply-accumulate).
        stopped: why growth ended, in words; None while it goes on.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> batches = [(torch.randn(64, 4), torch.randint(2, (64,)))]
        >>> optimizer = torch.optim.SGD(living.parameters(), lr=0.1)
        >>> config = GrowthConfig(every=1, entropy_threshold=0, split_probability=1)
        >>> grower = Grower(living, optimizer, nn.CrossEntropyLoss(), Budget(params=100), config)
        >>> for change in grower.step(batches, metric=0.5):
        ...     print(change.edit)
        split 3 units of 0
    """

    def __init__(
        self,
        living: LivingModel,
        optimizer: Optimizer | Iterable[Optimizer] | None,
        criterion: Callable[[Tensor, Tensor], Tensor],
        budget: Budget | None = None,
        config: GrowthConfig | None = None,
        seed: int = 0,
    ) -> None:
        self.living = as_living(living)
        several = listed(optimizer)
        self.optimizer = optimizer if isinstance(optimizer, Optimizer) else several
        self.criterion = criterion
        self.budget = budget or Budget()
        self.config = config or GrowthConfig()
        self.seed = seed
        self.growths: list[Growth] = []
        self.refusals: list[Refusal] = []
        self.flops = 0
        self.stopped: str | None = None
        self._epoch = 0
        self._idle = 0

    def step(
        self,
        train_loader: Iterable[Any],
        metric: float,
        progress: float = 0.0,
        train_flops: float = 0.0,
    ) -> list[Change]:
        """Count an epoch, and grow if it is time.

        Args:
            train_loader: yields (inputs, targets); the first few batches are looked at.
            metric: how good the model is now on held-out data, larger is better.
            progress: share of the training that is done, 0 to 1.
            train_flops: FLOPs that training has spent, for a budget of them.

        Returns:
            What changed; empty most of the time.

        Raises:
            DataError: if the loader yields nothing usable: no pairs, or such as the model or the
                criterion doesn't take; or nothing at all, as an iterator that is used up.
            TrainingError: if activations or gradients aren't finite.
            EditError: if an optimiser has nothing to do with the model.
            ValueError: if `metric` is no finite number.
        """
        if not isinstance(metric, int | float) or not math.isfinite(metric):
            raise ValueError(
                f"metric is {metric!r}; give a finite number, larger for a better model, such as "
                "the accuracy on held-out data"
            )
        check_optimizers(listed(self.optimizer), self.living)
        self._epoch += 1
        if self.stopped is not None or self._epoch % self.config.every:
            return []
        self.growths = with_outcome(self.growths, metric)
        if progress >= self.config.until:
            return self._stop(f"{progress:.0%} of the training is done; the rest trains newborns")
        if self.budget.spent(train_flops + self.flops):
            return self._stop("the budget of training FLOPs is spent")
        return self._grow(train_loader, metric)

    def _grow(self, train_loader: Iterable[Any], metric: float) -> list[Change]:
        config = self.config
        readings = sense(
            self.living,
            train_loader,
            self.criterion,
            num_batches=config.num_batches,
            bins=config.bins,
        )
        self.flops += readings.flops
        changes: list[Change] = []
        refusals: list[Refusal] = []
        for edit, evidence in self._proposals(readings):
            outcome = self._try(edit, evidence, metric)
            if isinstance(outcome, Refusal):
                level = logging.WARNING if outcome.cause == "preservation" else logging.INFO
                logger.log(level, "refused: %s: %s", edit, outcome.reason)
                refusals.append(outcome)
            else:
                changes.append(outcome)
        self.refusals += refusals
        self._conclude(changes, refusals)
        return changes

    def _proposals(self, readings: Readings) -> Iterator[tuple[Split | Connect, dict[str, Any]]]:
        """Connections first: they are cheap, and read layers as they were sensed."""
        config = self.config
        yield from propose_connections(readings, self.living, config.max_connections)
        yield from propose_splits(
            readings,
            self.living.groups,
            config.entropy_threshold,
            config.split_probability,
            config.max_splits_per_layer,
            generator_for(self.seed, self._epoch),
        )

    def _try(
        self, edit: Split | Connect, evidence: dict[str, Any], metric: float
    ) -> Change | Refusal:
        """Apply one proposal, a split with as many units as fit; or tell why it isn't possible."""
        seed = self.seed + self._epoch
        for smaller in _shrinking(edit):
            try:
                change = self.living.apply(
                    smaller, self.optimizer, seed, limit=self.budget.exceeded
                )
            except EditError as error:
                refusal = Refusal.of(error, edit, self._epoch)
                if isinstance(error, LimitError):
                    continue
                return refusal
            self.flops += check_flops(change)
            predicted = predicted_gain(self.growths, edit.kind)
            self.growths.append(Growth.of(change, self._epoch, evidence, predicted, metric))
            return change
        return refusal

    def _conclude(self, changes: list[Change], refusals: list[Refusal]) -> None:
        if changes:
            self._idle = 0
        elif refusals:
            first = refusals[0]
            self._stop(f"no proposal is possible any more: {first.edit}: {first.reason}")
        else:
            self._idle += 1
            if self._idle >= self.config.patience:
                self._stop(f"nothing was proposed in {self._idle} growths in a row")

    def _stop(self, reason: str) -> list[Change]:
        self.stopped = reason
        logger.info("growth ended: %s", reason)
        return []

    def state_dict(self) -> dict[str, Any]:
        """Counters and records, JSON-ready."""
        return {
            "epoch": self._epoch,
            "idle": self._idle,
            "flops": self.flops,
            "stopped": self.stopped,
            "growths": [growth.model_dump(mode="json") for growth in self.growths],
            "refusals": [refusal.model_dump(mode="json") for refusal in self.refusals],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._epoch, self._idle = state["epoch"], state["idle"]
        self.flops, self.stopped = state["flops"], state["stopped"]
        self.growths = [Growth.model_validate(record) for record in state["growths"]]
        self.refusals = [Refusal.model_validate(record) for record in state["refusals"]]


def check_flops(change: Change, samples: int = PROBE_SIZE) -> int:
    """FLOPs of checking an edit: both models, in both modes, on the probe; twice if in float64."""
    if change.max_error is None:
        return 0
    runs = 2 if change.checked_in == "float64" else 1
    return 2 * 2 * runs * samples * (change.macs_before + change.macs_after)


def _shrinking(edit: Split | Connect) -> Iterator[Split | Connect]:
    """The edit itself; then a split of ever fewer of its units, the first ones."""
    yield edit
    if isinstance(edit, Split):
        for count in range(len(edit.units) - 1, 0, -1):
            yield edit.model_copy(update={"units": edit.units[:count]})
