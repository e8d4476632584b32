"""Growth as a step in anyone's training loop."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.optim import Optimizer

from neuroexapt.edits import Change
from neuroexapt.edits.base import listed
from neuroexapt.edits.carry import check_optimizers
from neuroexapt.graph import LivingModel
from neuroexapt.growth.ages import Ages
from neuroexapt.growth.applying import Setting, attempts
from neuroexapt.growth.budget import Budget
from neuroexapt.growth.config import GrowthConfig
from neuroexapt.growth.course import Course
from neuroexapt.growth.division import as_living
from neuroexapt.growth.evidence import Look
from neuroexapt.growth.fitting import one_check
from neuroexapt.growth.forecast import learnt_scales
from neuroexapt.growth.incoming import SensedLoss
from neuroexapt.growth.newborns import Nursery
from neuroexapt.growth.policies import ranked
from neuroexapt.growth.proposal import Ranking
from neuroexapt.growth.ranks import check_ranks, step_together
from neuroexapt.growth.record import Growth, Refusal, outcomes, with_outcome
from neuroexapt.growth.sampling import Sampling, Scope, allowance, drawn
from neuroexapt.growth.situation import Situation
from neuroexapt.growth.telling import kept, rest, why_idle
from neuroexapt.signals import sense
from neuroexapt.training.seed import generator_for
from neuroexapt.training.settings import validated

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

logger = logging.getLogger(__name__)

MOST_LOOKS = 16
"""Looks that are remembered."""
YOUNG = 4
"""Looks, as far apart as the configuration says, that a blend is given to find its amount."""


class Grower:
    """Grows a living model while it trains; shaped like a learning-rate scheduler.

    Once an epoch, `step` counts. When it is time, it senses, asks a policy what might change, and
    applies that, the best first, as far as the budget allows. It ends by itself when the budget is
    spent or nothing is worth its cost any more, and says which in `stopped`. New weights are
    trained as the configuration's `newborns` says, by hooks on the optimiser.

    Args:
        living: the model.
        optimizer: one or several, carried across every edit; None for none.
        criterion: outputs and targets to a mean loss.
        budget: limits.
        config: when, where and how much.
        seed: of every random choice.
        process_group: ranks that train copies of the model together, as by
            `DistributedDataParallel`; each of them has a `Grower`, and all call `step` at the same
            time. The first one senses and decides, for all: what it is told counts. A wrapper that
            synchronises gradients has to be made anew after a change.

    Raises:
        ValueError: if the model is no `LivingModel`, a setting isn't allowed, or the process group
            isn't this process's, or the model has a `SyncBatchNorm` in one.
        EditError: if the optimiser is none.

    Attributes:
        growths: a record of every edit: evidence, prediction, consequence, cost.
        refusals: a record of every proposal that wasn't possible, with the reason.
        nursery: who is newborn.
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
        >>> config = GrowthConfig(every=1, policy="entropy")
        >>> grower = Grower(living, optimizer, nn.CrossEntropyLoss(), Budget(params=100), config)
        >>> for change in grower.step(batches, metric=0.5):
        ...     print(change.edit)
        split 2 units of 0
    """

    def __init__(
        self,
        living: LivingModel,
        optimizer: Optimizer | Iterable[Optimizer] | None,
        criterion: Callable[[Tensor, Tensor], Tensor],
        budget: Budget | Mapping[str, Any] | None = None,
        config: GrowthConfig | Mapping[str, Any] | None = None,
        seed: int = 0,
        process_group: "ProcessGroup | None" = None,
    ) -> None:
        self.living = as_living(living)
        if process_group is not None:
            check_ranks(self.living, process_group)
        self.process_group = process_group
        several = listed(optimizer)
        self.optimizer = optimizer if isinstance(optimizer, Optimizer) else several
        self.criterion = criterion
        self.budget = validated(Budget, budget, "the budget")
        self.config = validated(GrowthConfig, config, "the config")
        self.seed = seed
        self.growths: list[Growth] = []
        self.refusals: list[Refusal] = []
        self.nursery = Nursery(self.config.newborns, several)
        self.flops = 0
        self.stopped: str | None = None
        self._course = Course()
        self._ages = Ages.of(len(self.living.edits))
        self._sampling = Sampling.first(self.config.policy)
        self._looks: list[Look] = []
        self._idle = 0
        self._why = ""
        self._waits = 0

    def step(
        self,
        train_loader: Iterable[Any],
        metric: float,
        progress: float = 0.0,
        train_flops: float = 0.0,
        loss: float | None = None,
        other_flops: float = 0.0,
    ) -> list[Change]:
        """Count an epoch, and grow if it is time.

        Args:
            train_loader: yields (inputs, targets); the first few batches are looked at.
            metric: how good the model is now on held-out data, larger is better.
            progress: share of the training that is done, 0 to 1.
            train_flops: FLOPs that training has spent, for a budget of them and to keep sensing to
                its share.
            loss: on held-out data, by the criterion. With it the arbiter weighs growth against
                training on, learns from what followed, and adds less where the network overfits.
            other_flops: spent on anything else, for the budget only.

        Returns:
            What changed; empty most of the time.

        Raises:
            DataError: if the loader yields nothing usable: no pairs, or such as the model or the
                criterion doesn't take; or nothing at all, as an iterator that is used up.
            TrainingError: if activations or gradients aren't finite.
            EditError: if an optimiser has nothing to do with the model.
            ValueError: if `metric` or `loss` is no finite number, or `progress` no share; if the
                budget is of training FLOPs, and `train_flops` isn't given; if the loss is
                negative, and the arbiter is to weigh it.

        Example:
            >>> import torch
            >>> from torch import nn
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
            >>> living = LivingModel(net, torch.zeros(2, 4))
            >>> batches = [(torch.randn(64, 4), torch.randint(2, (64,)))]
            >>> config = GrowthConfig(every=2, policy="entropy")
            >>> grower = Grower(living, None, nn.CrossEntropyLoss(), config=config)
            >>> [len(grower.step(batches, metric=0.5, progress=epoch / 4)) for epoch in range(4)]
            [0, 1, 0, 0]
            >>> grower.stopped
            '75% of the training is done; the rest trains newborns'
        """

        def step() -> list[Change]:
            return self._step(train_loader, metric, progress, train_flops, loss, other_flops)

        group = self.process_group
        return step() if group is None else step_together(self, group, step)

    def _step(
        self,
        train_loader: Iterable[Any],
        metric: float,
        progress: float,
        train_flops: float,
        loss: float | None,
        other_flops: float,
    ) -> list[Change]:
        metric = _number("metric", metric)
        loss = None if loss is None else _number("loss", loss)
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}; give the share that is done, from 0 to 1")
        check_optimizers(listed(self.optimizer), self.living)
        if self.budget.train_flops is not None and not train_flops:
            raise ValueError(
                "the budget limits training FLOPs, but none are told; give train_flops, what "
                "training has spent so far"
            )
        self._course.note(metric, loss, train_flops + self.flops if train_flops else 0.0)
        self._ages.see(len(self.living.edits), self._course.epoch)
        if self.stopped is not None:
            return []
        if progress >= self.config.until:
            self._close(metric)
            return self._stop(f"{progress:.0%} of the training is done; {self._rest()}")
        if self.budget.spent(train_flops + self.flops + other_flops):
            self._close(metric)
            return self._stop("the budget of training FLOPs is spent")
        if not self._course.is_due(self.config):
            return []
        share = allowance(self.config, train_flops, progress)
        left = (self.budget.train_flops or math.inf) - train_flops - other_flops
        most_flops, first = min(share, left), not self.growths and share < left
        macs, check = self.living.cost().macs, one_check(self.living)
        scope = self._sampling.beside_checks(most_flops - self.flops, macs, check, first)
        if scope is None and left < share:
            self._close(metric)
            return self._stop("the budget of training FLOPs leaves too little to sense with")
        if scope is None:
            return self._wait()
        self._close(metric)
        return self._grow(train_loader, metric, scope, most_flops, is_last=left < share)

    def give_way(self, changes: Iterable[Change], metric: float) -> None:
        """Go on with weights that this training didn't lead to, as those of a better network.

        Newborns are followed across the changes, and trained as such. What followed earlier growths
        ends here, as does the trend of the losses: neither tells anything of what comes next.

        Args:
            changes: that were made to the model to take the weights in, in order; none if it has
                kept its structure.
            metric: as it was before.
        """
        self._close(metric)
        new = tuple(changes)
        for change in new:
            self.nursery.admit(change)
        self._ages.forget(len(self.living.edits) - len(new))
        self._ages.see(len(self.living.edits), self._course.epoch)
        self._course.restart()

    def _wait(self) -> list[Change]:
        """Let an occasion to grow pass, since sensing would take more than its share."""
        if not self._waits:
            logger.warning(
                "growth waits: to sense on %d samples would take more than may be spent by now of "
                "its %.0f%% of the training; raise sensing_share, or train longer",
                self._sampling.fewest,
                100 * self.config.sensing_share,
            )
        self._waits += 1
        return []

    def _rest(self) -> str:
        never_sensed = bool(self._waits) and not self._course.looked
        return rest(bool(self.growths), self._why, never_sensed, self.config.sensing_share)

    def _num_young(self) -> int:
        """How many of the model's latest edits were made within the last few looks."""
        return self._ages.num_since(self._course.epoch - YOUNG * self.config.every)

    def _close(self, metric: float) -> None:
        self.growths = with_outcome(self.growths, metric, self._course.consequence())

    def _grow(
        self,
        train_loader: Iterable[Any],
        metric: float,
        scope: Scope,
        most_flops: float,
        is_last: bool,
    ) -> list[Change]:
        """Sense, and make what edits may be made.

        Args:
            train_loader: yields what is sensed.
            metric: as it is now.
            scope: how much is sensed.
            most_flops: that sensing and checks may have taken by the end of it.
            is_last: whether that is all that the budget allows, so that not even the first edit may
                pass it.
        """
        if self._course.looked == 0 and (told := kept(self.living)):
            logger.info("%s", told)
        self._course.looked = self._course.epoch
        ranking, loss = self._ranking(train_loader, scope)
        changes: list[Change] = []
        epoch = self._course.epoch
        unfit = [
            Refusal.unfit(edit, reason, epoch)  # type: ignore[arg-type]
            for edit, reason in ranking.refused
        ]
        refusals: list[Refusal] = []
        setting = Setting(
            self.living,
            self.optimizer,
            self.budget,
            self.config,
            self.seed + epoch,
            epoch,
            loss,
        )
        for attempt in attempts(ranking, setting, most_flops - self.flops, is_last):
            self.flops += attempt.flops
            if attempt.refusal is not None:
                refusals.append(attempt.refusal)
            if attempt.change is not None:
                self.nursery.admit(attempt.change)
                self.growths.append(Growth.of(attempt.change, epoch, attempt.proposal, metric))
                changes.append(attempt.change)
        self._ages.see(len(self.living.edits), epoch)
        self.refusals += [*unfit, *refusals]
        self._conclude(changes, refusals, ranking)
        return changes

    def _ranking(self, train_loader: Iterable[Any], scope: Scope) -> tuple[Ranking, SensedLoss]:
        """Sense, and let the policy say what might change; with the loss on what was sensed."""
        config = self.config
        data = drawn(self.living, train_loader, config.num_batches, scope.samples)
        readings = sense(  # without data, it says what is wrong with the loader
            self.living,
            data or train_loader,
            self.criterion,
            num_batches=config.num_batches,
            bins=config.bins,
        )
        self._course.compare(readings.loss)
        situation = Situation(
            self.living,
            readings,
            data,
            self.criterion,
            config,
            self.budget,
            generator_for(self.seed, self._course.epoch),
            learnt_scales(outcomes(self.growths)),
            self._course.elasticity(),
            self._num_young(),
            self._looks,
            scope.part,
            self._course.loss(),
            self._course.lowest_loss(),
            self._course.scale,
        )
        ranking = ranked(situation)
        if ranking.look is not None:
            self._looks = [*self._looks, ranking.look][-MOST_LOOKS:]
        spent = readings.flops + ranking.flops
        self._sampling.learn(spent, readings.num_samples, self.living.cost().macs, scope)
        self.flops += spent
        return ranking, SensedLoss(data, self.criterion)

    def _conclude(self, changes: list[Change], refusals: list[Refusal], ranking: Ranking) -> None:
        """End growth if it is time.

        Args:
            changes: that were made.
            refusals: of what was proposed; candidates that didn't fit the model were considered,
                but never proposed.
            ranking: what was proposed.
        """
        if changes:
            self._idle = 0
            self._course.grew()
            return
        if self.config.timing == "gain" and not refusals and not ranking.exhausted:
            self._why = ranking.otherwise
            logger.info("not yet: %s", self._why)
        elif (
            refusals
            and len(refusals) == len(ranking.proposals)
            and all(refusal.cause != "fit" for refusal in refusals)
        ):
            first = refusals[0]
            self._stop(f"no proposal is possible any more: {first.edit}: {first.reason}")
        else:
            self._idle += 1
            self._why = why_idle(refusals, ranking, self.config.pace)
            if self._idle >= self.config.patience:
                self._stop(f"{self._why} ({self._idle} times in a row)")
            else:
                logger.info("nothing grows now: %s", self._why)

    def _stop(self, reason: str) -> list[Change]:
        self.stopped = reason
        logger.info("growth ended: %s", reason)
        return []

    def state_dict(self) -> dict[str, Any]:
        """Counters and records, JSON-ready.

        Example:
            >>> import json
            >>> from torch import nn, zeros
            >>> living = LivingModel(nn.Linear(4, 2), zeros(2, 4))
            >>> grower = Grower(living, None, nn.CrossEntropyLoss())
            >>> grower.step([], metric=0.5)  # too early to grow: the data aren't looked at
            []
            >>> saved = json.dumps(grower.state_dict())
            >>> resumed = Grower(living, None, nn.CrossEntropyLoss())
            >>> resumed.load_state_dict(json.loads(saved))
            >>> resumed.state_dict() == grower.state_dict()
            True
        """
        return {
            "course": self._course.state_dict(),
            "ages": self._ages.state_dict(),
            "flops_a_mac": self._sampling.flops_a_mac,
            "looks": [asdict(look) for look in self._looks],
            "idle": self._idle,
            "why_idle": self._why,
            "waits": self._waits,
            "flops": self.flops,
            "stopped": self.stopped,
            "nursery": self.nursery.state_dict(self.living),
            "growths": [growth.model_dump(mode="json") for growth in self.growths],
            "refusals": [refusal.model_dump(mode="json") for refusal in self.refusals],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the model has to be as it was by then."""
        self._course = Course.of(state["course"])
        self._ages = Ages(state.get("ages", ()))  # older checkpoints: all are given time anew
        self._sampling.flops_a_mac = state["flops_a_mac"]
        self._looks = [Look(**look) for look in state["looks"]]
        self._idle, self._waits = state["idle"], state["waits"]
        self._why = state.get("why_idle", "")  # older checkpoints have none
        self.flops, self.stopped = state["flops"], state["stopped"]
        self.nursery.load_state_dict(state["nursery"], self.living)
        self.growths = [Growth.model_validate(record) for record in state["growths"]]
        self.refusals = [Refusal.model_validate(record) for record in state["refusals"]]


def _number(name: str, value: Any) -> float:
    """What a user gave as a number, which may be NumPy's or torch's."""
    try:
        found = math.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError):
        found = math.nan
    if not math.isfinite(found):
        rule = {
            "metric": "larger for a better model, such as the accuracy on held-out data",
            "loss": "the mean loss on held-out data, or leave it out",
        }
        raise ValueError(f"{name} is {value!r}; give a finite number, {rule[name]}")
    return found
