"""One epoch of training, and evaluation, of any model on any loader."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import TrainingError
from neuroexapt.training.loaders import pairs
from neuroexapt.training.modes import buffers_kept_on_failure, device_of, mode

Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Step:
    """One step of the optimiser.

    Attributes:
        index: 0 for the first of this epoch.
        num_samples: in its batch.
        loss: mean over the batch, before the step.
    """

    index: int
    num_samples: int
    loss: float


@dataclass(frozen=True)
class EpochResult:
    """What one epoch of training came to.

    Attributes:
        loss: mean over the samples, each before the step that it took part in.
        accuracy: share of them that were classified correctly, 0 to 1.
        num_samples: seen.
        num_steps: taken.
        seconds: wall-clock time.
    """

    loss: float
    accuracy: float
    num_samples: int
    num_steps: int
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on some data.

    Attributes:
        loss: mean over the samples.
        accuracy: share of them that are classified correctly, 0 to 1.
        num_samples: seen.
    """

    loss: float
    accuracy: float
    num_samples: int


def train_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Criterion,
    *,
    amp: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    on_step: Callable[[Step], bool | None] | None = None,
) -> EpochResult:
    """Train a classifier for one pass over a loader, and leave it in train mode.

    Args:
        model: on any device; batches are moved there. Its outputs are of shape (B, classes, ...).
        loader: yields pairs (inputs, targets).
        optimizer: over the model's parameters.
        criterion: outputs and targets to a mean loss.
        amp: run forward in half precision, bfloat16 or, with a scaler, float16.
        scaler: scales the loss, so that small gradients do not vanish in float16.
        on_step: called after each step, as to set the next one's learning rate; returning True
            ends the epoch there, as when a budget is spent.

    Raises:
        TrainingError: if a loss is not finite. Model and optimiser are then as they were before
            that step, the norms' running statistics included.
        DataError: if the loader yields nothing, or anything but pairs of tensors.
    """
    began = time.perf_counter()
    device = device_of(model)
    model.train()
    num_samples = num_steps = 0
    loss_sum = correct = 0.0
    for index, (inputs, targets) in enumerate(pairs(loader, device)):
        with buffers_kept_on_failure(model):
            half = torch.bfloat16 if scaler is None else torch.float16
            with torch.autocast(device.type, half, enabled=amp):
                outputs = model(inputs)
                loss = criterion(outputs, targets)
            _check_finite(loss, inputs, index)
            correct += num_correct(outputs.detach(), targets)
        _take_step(loss, optimizer, scaler)
        step = Step(index, len(inputs), loss.item())
        num_samples += step.num_samples
        num_steps += 1
        loss_sum += step.loss * step.num_samples
        if on_step is not None and on_step(step):
            break
    seconds = time.perf_counter() - began
    return EpochResult(
        loss_sum / num_samples, correct / num_samples, num_samples, num_steps, seconds
    )


def evaluate(
    model: nn.Module, loader: Iterable[Any], criterion: Criterion, *, amp: bool = False
) -> Evaluation:
    """Measure a classifier in eval mode; every module's mode is restored.

    Args:
        model: on any device; batches are moved there. Its outputs are of shape (B, classes, ...).
        loader: yields pairs (inputs, targets).
        criterion: outputs and targets to a mean loss.
        amp: run in bfloat16.

    Raises:
        DataError: if the loader yields nothing, or anything but pairs of tensors.
    """
    device = device_of(model)
    num_samples = 0
    loss_sum = correct = 0.0
    with mode(model, training=False), torch.inference_mode():
        for inputs, targets in pairs(loader, device):
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                outputs = model(inputs)
                loss = criterion(outputs, targets)
            loss_sum += loss.item() * len(inputs)
            correct += num_correct(outputs, targets)
            num_samples += len(inputs)
    return Evaluation(loss_sum / num_samples, correct / num_samples, num_samples)


def num_correct(outputs: Tensor, targets: Tensor) -> float:
    """Count the samples whose largest output is at the target class.

    Args:
        outputs: shape (B, classes, ...).
        targets: int64 classes of shape (B, ...), or probabilities of the outputs' shape. A sample
            with many targets counts as the share of them that are correct.

    Returns:
        A whole number, unless samples have many targets.

    Raises:
        TrainingError: if the shapes are no classifier's.
    """
    is_classifier = outputs.ndim > 1
    if is_classifier and targets.is_floating_point() and targets.shape == outputs.shape:
        targets = targets.argmax(1)
    is_classifier &= targets.shape == outputs.shape[:1] + outputs.shape[2:]
    if not is_classifier or targets.is_floating_point():
        raise TrainingError(
            f"outputs of shape {tuple(outputs.shape)} with {targets.dtype} targets of shape "
            f"{tuple(targets.shape)} are no classifier's; outputs are (samples, classes, ...) and "
            "targets integers of shape (samples, ...)"
        )
    hits = outputs.argmax(1) == targets
    return int(hits.sum()) / hits[0].numel()


def _check_finite(loss: Tensor, inputs: Tensor, index: int) -> None:
    if loss.ndim:
        raise TrainingError(
            f"the criterion returned shape {tuple(loss.shape)}; it has to return one number, the "
            "batch's mean loss"
        )
    if math.isfinite(loss.item()):
        return
    remedy = "lower the learning rate or lengthen the warm-up"
    if not inputs.isfinite().all():
        remedy = "the batch's inputs hold values that are not finite, so mend the data"
    raise TrainingError(
        f"the loss is {loss.item()} at step {index} of this epoch: {remedy}. "
        "Model and optimiser are as they were before that step"
    )


def _take_step(
    loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> None:
    optimizer.zero_grad()
    if scaler is None:
        loss.backward()
        optimizer.step()
    else:
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
