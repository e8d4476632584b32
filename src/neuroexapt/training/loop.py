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
from neuroexapt.training.views import Views, averaged_outputs

Criterion = Callable[[Tensor, Tensor], Tensor]

ROUNDING = 0.02
"""By which a sum of probabilities may be off 1, as in half precision."""
UNCHANGED = "Model and optimiser are as they were before"


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
        num_correct: how many of them were classified correctly; None where nothing is classified.
        num_samples: seen.
        num_steps: taken.
        seconds: wall-clock time.
    """

    loss: float
    num_correct: float | None
    num_samples: int
    num_steps: int
    seconds: float

    @property
    def accuracy(self) -> float:
        """Share of the samples that were classified correctly, 0 to 1.

        Raises:
            TrainingError: if nothing is classified.
        """
        return _accuracy(self.num_correct, self.num_samples)


@dataclass(frozen=True)
class Evaluation:
    """How good a model is on some data.

    Attributes:
        loss: mean over the samples.
        num_correct: how many of them are classified correctly; None where nothing is classified.
        num_samples: seen.
    """

    loss: float
    num_correct: float | None
    num_samples: int

    @property
    def accuracy(self) -> float:
        """Share of the samples that are classified correctly, 0 to 1.

        Raises:
            TrainingError: if nothing is classified.
        """
        return _accuracy(self.num_correct, self.num_samples)


def train_epoch(
    model: nn.Module,
    loader: Iterable[Any],
    optimizer: torch.optim.Optimizer,
    criterion: Criterion,
    *,
    amp: bool = False,
    scaler: torch.amp.GradScaler | None = None,
    clip_norm: float | None = None,
    classified: bool = True,
    on_step: Callable[[Step], bool | None] | None = None,
) -> EpochResult:
    """Train a model for one pass over a loader, and leave it in train mode.

    Args:
        model: on any device; batches are moved there. A classifier's outputs are of shape
            (B, classes, ...).
        loader: yields pairs (inputs, targets).
        optimizer: over the model's parameters.
        criterion: outputs and targets to a mean loss.
        amp: run forward in half precision, bfloat16 or, with a scaler, float16.
        scaler: scales the loss, so that small gradients do not vanish in float16.
        clip_norm: longest norm of all gradients together, to which longer ones are shortened; None
            for any.
        classified: whether to count what is classified correctly; the criterion alone says what
            outputs are otherwise.
        on_step: called after each step, as to set the next one's learning rate; returning True
            ends the epoch there, as when a budget is spent.

    Raises:
        TrainingError: if a loss is not finite, or a gradient is not (with a scaler, which lowers
            its scale then, such a step is only left out). Model and optimiser are then as they
            were before that step, the norms' running statistics included, and gradients cleared.
        DataError: if the loader yields nothing, or anything but pairs of tensors.
    """
    began = time.perf_counter()
    device = device_of(model)
    model.train()
    num_samples = num_steps = 0
    loss_sum = correct = 0.0
    for index, (inputs, targets) in enumerate(pairs(loader, model)):
        with buffers_kept_on_failure(model):
            half = torch.bfloat16 if scaler is None else torch.float16
            with torch.autocast(device.type, half, enabled=amp):
                outputs = model(inputs)
                loss = criterion(outputs, targets)
            value = _finite(loss, inputs, f"at step {index} of this epoch")
            correct += num_correct(outputs.detach(), targets) if classified else 0.0
            _differentiate(loss, optimizer, scaler)
            if scaler is None:  # which checks by itself
                _check_gradients(model, optimizer, inputs, value, index)
        if clip_norm is not None:
            _clip(optimizer, scaler, clip_norm)
        _take_step(optimizer, scaler)
        step = Step(index, len(inputs), value)
        num_samples += step.num_samples
        num_steps += 1
        loss_sum += step.loss * step.num_samples
        if on_step is not None and on_step(step):
            break
    seconds = time.perf_counter() - began
    counted = correct if classified else None
    return EpochResult(loss_sum / num_samples, counted, num_samples, num_steps, seconds)


def evaluate(
    model: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion,
    *,
    amp: bool = False,
    views: Views = "plain",
    classified: bool = True,
) -> Evaluation:
    """Measure a model in eval mode; every module's mode is restored.

    Args:
        model: on any device; batches are moved there. A classifier's outputs are of shape
            (B, classes, ...).
        loader: yields pairs (inputs, targets).
        criterion: outputs and targets to a mean loss.
        amp: run in bfloat16.
        views: of each image, whose outputs are averaged.
        classified: as for `train_epoch`.

    Raises:
        TrainingError: if a batch's loss is not finite: no figure would tell how good the model is.
        DataError: if the loader yields nothing, or anything but pairs of tensors.
    """
    device = device_of(model)
    num_samples = 0
    loss_sum = correct = 0.0
    with mode(model, training=False), torch.inference_mode():
        for index, (inputs, targets) in enumerate(pairs(loader, model)):
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                outputs = averaged_outputs(model, inputs, views)
                loss = criterion(outputs, targets)
            loss_sum += _finite(loss, inputs, f"on batch {index}, in eval mode") * len(inputs)
            correct += num_correct(outputs, targets) if classified else 0.0
            num_samples += len(inputs)
    return Evaluation(loss_sum / num_samples, correct if classified else None, num_samples)


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
    if not are_classified(outputs, targets):
        raise TrainingError(
            f"outputs of shape {tuple(outputs.shape)} with {targets.dtype} targets of shape "
            f"{tuple(targets.shape)} are no classifier's; outputs are (samples, classes, ...), two "
            "classes at least, and targets integers of shape (samples, ...) or probabilities of "
            "the outputs' shape"
        )
    hits = outputs.argmax(1) == (targets.argmax(1) if targets.shape == outputs.shape else targets)
    return int(hits.sum()) / hits[0].numel()


def are_classified(outputs: Any, targets: Tensor) -> bool:
    """Whether a model's outputs are a classifier's, and targets their classes; see `num_correct`.

    Example:
        >>> are_classified(torch.zeros(4, 3), torch.tensor([0, 2, 1, 0]))
        True
        >>> are_classified(torch.zeros(4, 1), torch.zeros(4, 1))
        False
    """
    if not isinstance(outputs, Tensor) or outputs.ndim < 2 or outputs.shape[1] < 2:
        return False
    if targets.shape == outputs.shape:
        return _are_probabilities(targets)
    by_class = targets.shape == outputs.shape[:1] + outputs.shape[2:]
    return by_class and not targets.is_floating_point()


def _are_probabilities(targets: Tensor) -> bool:
    """Whether targets are those of each class, with a sum of about 1 for each sample."""
    if not targets.is_floating_point():
        return False
    sums = targets.float().sum(1)
    return bool((targets >= 0).all()) and bool(((sums - 1).abs() < ROUNDING).all())


def _accuracy(correct: float | None, num_samples: int) -> float:
    if correct is None:
        raise TrainingError("nothing is classified, so there is no accuracy; go by the loss")
    return correct / num_samples


def _finite(loss: Tensor, inputs: Tensor, where: str) -> float:
    """The loss as a number.

    Raises:
        TrainingError: if it is none, or not finite.
    """
    if loss.ndim:
        raise TrainingError(
            f"the criterion returned shape {tuple(loss.shape)}; it has to return one number, the "
            "batch's mean loss"
        )
    value = loss.item()
    if not math.isfinite(value):
        remedy = _mend_data(inputs) or "lower the learning rate or lengthen the warm-up"
        raise TrainingError(f"the loss is {value} {where}: {remedy}. {UNCHANGED}")
    return value


def _check_gradients(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, loss: float, index: int
) -> None:
    """Refuse gradients that would spoil the weights, and clear them then.

    Raises:
        TrainingError: naming the parameters, if any is not finite.
    """
    held = _held(optimizer)
    if all_finite(held.values()):
        return
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    broken = [
        repr(names.get(id(parameter), "a parameter outside of the model"))
        for parameter, gradient in held.items()
        if not all_finite([gradient])
    ]
    optimizer.zero_grad()
    shown = ", ".join(broken[:3]) + (f" and {len(broken) - 3} more" if len(broken) > 3 else "")
    remedy = _mend_data(inputs) or (
        "lower the learning rate if the loss has been growing; otherwise some operation has no "
        "finite derivative there, such as a square root, norm or logarithm at 0: keep it away "
        "from there, as by sqrt(x + 1e-8) (torch.autograd.set_detect_anomaly(True) tells which)"
    )
    raise TrainingError(
        f"the loss is {loss:.3g} at step {index} of this epoch, but the gradient of {shown} is not "
        f"finite: {remedy}. {UNCHANGED}"
    )


def all_finite(gradients: Iterable[Tensor]) -> bool:
    """Whether every number in some gradients is finite; one call a device and type."""
    alike: dict[tuple[torch.device, torch.dtype], list[Tensor]] = {}
    for gradient in gradients:
        values = _numbers(gradient)
        alike.setdefault((values.device, values.dtype), []).append(values)
    flags = []
    for (device, _), group in alike.items():
        flag = torch.zeros((), dtype=torch.float32, device=device)
        factor = torch.ones_like(flag)
        # The gradient scaler's own check, a single call. It also multiplies, here by 1; a norm
        # takes three times as long, and overflows.
        torch._amp_foreach_non_finite_check_and_unscale_(group, flag, factor)
        flags.append(flag)
    return not any(flag.item() for flag in flags)


def _held(optimizer: torch.optim.Optimizer) -> dict[Tensor, Tensor]:
    """The parameters that have a gradient, with it."""
    every = (p for group in optimizer.param_groups for p in group["params"])
    return {parameter: parameter.grad for parameter in every if parameter.grad is not None}


def _numbers(gradient: Tensor) -> Tensor:
    """The real numbers that a gradient consists of, to be read or changed."""
    values = gradient._values() if gradient.is_sparse else gradient
    return torch.view_as_real(values) if values.is_complex() else values


def _clip(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None, longest: float
) -> None:
    """Shorten all gradients by one factor, so that their norm is no longer than the longest."""
    if scaler is not None:
        scaler.unscale_(optimizer)
    for parameter, gradient in _held(optimizer).items():
        if gradient.is_sparse:
            parameter.grad = gradient.coalesce()  # rows may come several times
    gradients = [_numbers(gradient) for gradient in _held(optimizer).values()]
    norm = math.hypot(*map(_norm, gradients))
    if norm > longest:
        for gradient in gradients:
            gradient.mul_(longest / norm)


def _norm(values: Tensor) -> float:
    """In numbers that no norm of theirs overflows."""
    wide = torch.float32 if values.device.type == "mps" else torch.float64
    return float(torch.linalg.vector_norm(values, dtype=wide))


def _mend_data(inputs: Tensor) -> str | None:
    if inputs.isfinite().all():
        return None
    return "the batch's inputs hold values that are not finite, so mend the data"


def _differentiate(
    loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None
) -> None:
    optimizer.zero_grad()
    (loss if scaler is None else scaler.scale(loss)).backward()


def _take_step(optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None) -> None:
    if scaler is None:
        optimizer.step()
    else:
        scaler.step(optimizer)
        scaler.update()
