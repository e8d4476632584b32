"""The loop: train, validate, grow, epoch by epoch."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from neuroexapt.edits import Change
from neuroexapt.graph import LivingModel
from neuroexapt.growth.grower import Grower
from neuroexapt.training import (
    EpochRecord,
    History,
    Recipe,
    Step,
    evaluate,
    first_batch,
    set_lr,
    train_epoch,
    training_flops,
)
from neuroexapt.training.loaders import tell_epoch
from neuroexapt.training.modes import device_of


@dataclass
class Loop:
    """Everything that training with growth goes on with; its state is all that a resume needs.

    Attributes:
        living: the model.
        optimizer: of its parameters.
        criterion: outputs and targets to a mean loss.
        recipe: for the learning rate and half precision.
        epochs: how many to train.
        max_flops: training FLOPs to stop at, growth included; None for no limit.
        grower: grows the model; None to train it as it is.
        history: one record an epoch, those before a resume included.
        training_flops: FLOPs of the training steps so far.
        other_flops: FLOPs of what else was trained meanwhile, as by evolutions.
        scaler: for float16.
        classified: whether accuracy is counted, and growth judged by it; otherwise by the loss.
    """

    living: LivingModel
    optimizer: Optimizer
    criterion: Callable[[Tensor, Tensor], Tensor]
    recipe: Recipe
    epochs: int
    max_flops: float | None = None
    grower: Grower | None = None
    history: History = field(default_factory=History)
    training_flops: int = 0
    other_flops: int = 0
    scaler: torch.amp.GradScaler | None = None
    classified: bool = True
    _lr: float = 0.0
    _counted: tuple[Any, int] | None = None

    @property
    def flops(self) -> int:
        """FLOPs so far: training steps, sensing, edit checks, and what else was trained."""
        grown = self.grower.flops if self.grower is not None else 0
        return self.training_flops + self.other_flops + grown

    @property
    def epoch(self) -> int:
        """Epochs trained."""
        return len(self.history)

    def progress(self, share_of_epoch: float = 0.0) -> float:
        """Share of the run that is done: of its epochs or of its FLOPs, whichever is further."""
        share = (self.epoch + share_of_epoch) / self.epochs
        if self.max_flops is not None:
            share = max(share, self.flops / self.max_flops)
        return min(share, 1.0)

    @property
    def finished(self) -> bool:
        """Whether the epochs or the FLOPs are spent."""
        return self.progress() >= 1.0

    def run(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any]
    ) -> Iterator[tuple[EpochRecord, list[Change]]]:
        """Train to the end, yielding after each epoch its record and what grew after it.

        A loader with `set_epoch` is told the epoch.

        Raises:
            TrainingError: if a loss isn't finite.
            DataError: if a loader yields nothing usable.
        """
        while not self.finished:
            yield self.run_epoch(train_loader, val_loader)

    def run_epoch(
        self, train_loader: Iterable[Any], val_loader: Iterable[Any]
    ) -> tuple[EpochRecord, list[Change]]:
        """Train one epoch, validate, and grow if it is time."""
        start = time.perf_counter()
        tell_epoch(train_loader, self.epoch)
        result = train_epoch(
            self.living,
            train_loader,
            self.optimizer,
            self.criterion,
            amp=self.recipe.amp,
            scaler=self.scaler,
            clip_norm=self.recipe.clip_norm,
            classified=self.classified,
            on_step=self._before_steps(train_loader),
        )
        found = evaluate(
            self.living,
            val_loader,
            self.criterion,
            amp=self.recipe.amp,
            classified=self.classified,
        )
        cost = self.living.cost()
        record = EpochRecord(
            epoch=self.epoch,
            train_loss=result.loss,
            train_accuracy=result.accuracy if self.classified else None,
            val_loss=found.loss,
            val_accuracy=found.accuracy if self.classified else None,
            lr=self._lr,
            flops=self.flops,
            params=cost.params,
            macs=cost.macs,
            seconds=time.perf_counter() - start,
        )
        self.history.append(record)
        return record, self._grow(train_loader, record)

    def _grow(self, train_loader: Iterable[Any], record: EpochRecord) -> list[Change]:
        progress = self.progress()
        if self.grower is None or progress >= 1:
            return []
        return self.grower.step(
            train_loader,
            record.score,
            progress,
            self.training_flops,
            record.val_loss,
            self.other_flops,
        )

    def _before_steps(self, train_loader: Iterable[Any]) -> Callable[[Step], bool]:
        """Set the first step's learning rate; give what sets the next ones' and counts FLOPs."""
        per_sample = self._flops_per_sample(train_loader)
        num_steps = len(train_loader) if isinstance(train_loader, Sized) else None
        next_lr = set_lr(self.optimizer, self.recipe, self.progress())

        def after_step(step: Step) -> bool:
            nonlocal next_lr
            self._lr = next_lr
            self.training_flops += per_sample * step.num_samples
            share = (step.index + 1) / num_steps if num_steps else 0.0
            next_lr = set_lr(self.optimizer, self.recipe, self.progress(min(share, 1.0)))
            return self.max_flops is not None and self.flops >= self.max_flops

        return after_step

    def _flops_per_sample(self, train_loader: Iterable[Any]) -> int:
        """What training on a sample costs; counted anew only if that may have changed.

        Counting takes as long as a step of a small network, which is much for an epoch of few.
        """
        inputs, targets = first_batch(train_loader)
        trained = [parameter.requires_grad for parameter in self.living.parameters()]
        depends_on = (self.living.graph_module, trained, inputs.shape, targets.shape)
        if self._counted is None or self._counted[0] != depends_on:
            device = device_of(self.living)
            batch = inputs.to(device), targets.to(device)
            self._counted = depends_on, training_flops(self.living, batch, self.criterion)
        return self._counted[1]
