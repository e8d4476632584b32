"""Measuring a search while it goes: fresh gradients, draws and accuracies, and no trace of it."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import DataError, TrainingError
from neuroexapt.search.agreement import Agreements, agreement, summed
from neuroexapt.search.balance import Draw, Rate, rate
from neuroexapt.search.config import MeasureConfig, SearchConfig
from neuroexapt.search.curvature import alpha_curvature
from neuroexapt.search.decisions import (
    alphas,
    commit,
    decisions,
    mix,
    other_parameters,
    sample,
    taking_part,
)
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.overlap import overlap
from neuroexapt.search.saturation import saturation
from neuroexapt.search.undisturbed import batches, first_samples, undisturbed
from neuroexapt.training.loop import num_correct
from neuroexapt.training.modes import device_of

_log = logging.getLogger(__name__)

Batch = tuple[Tensor, Tensor]
Criterion = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Effort:
    """How much work measuring may make.

    Attributes:
        samples: of each loader, to take gradients of.
        scored: held-out samples that are classified; None for all.
        curved: samples of which the curvature is taken: their graph is differentiated twice.
        products: of the Hessian with a vector, at most, by which the eigenvalue is found.
    """

    samples: int
    scored: int | None = None
    curved: int = 64
    products: int = 24

    @classmethod
    def in_passing(cls, config: MeasureConfig) -> "Effort":
        """So little that a search can be measured on its way.

        Eight products gave the largest eigenvalue of Hessians of 120 parameters to 2 to 10 % of
        itself, which is less than what another batch changes.
        """
        samples = config.samples
        return cls(samples, scored=4 * samples, curved=max(samples // 4, 2), products=8)


@dataclass(frozen=True)
class Score:
    """How well a loader's samples are classified.

    Attributes:
        accuracy: 0 to 1.
        counts: class -> its samples.
    """

    accuracy: float
    counts: Counter[int]

    @property
    def num_samples(self) -> int:
        """Of all classes."""
        return self.counts.total()


@dataclass(frozen=True)
class Draws:
    """What says which operations run, as in a search.

    Attributes:
        of_alpha: before a step of alpha.
        of_weights: before one of the weights.
    """

    of_alpha: Draw
    of_weights: Draw

    @classmethod
    def like(
        cls,
        network: nn.Module,
        config: SearchConfig,
        temperature: float,
        generator: torch.Generator,
        *,
        final: bool = False,
    ) -> "Draws":
        """As a search draws now, with random numbers of their own.

        Args:
            network: that is searched.
            config: how.
            temperature: of the draws.
            generator: of the draws.
            final: the likeliest operations alone are trained, and alpha rests.
        """
        if config.relaxation == "softmax":
            of_alpha = of_weights = partial(mix, network)
        else:
            of_weights = partial(sample, network, temperature, generator)
            known = {"learning": True, "num_running": config.alpha.num_running}
            of_alpha = partial(of_weights, **known)
        return cls(of_alpha, partial(commit, network) if final else of_weights)


def measure(
    network: nn.Module,
    config: SearchConfig,
    temperature: float,
    criterion: Criterion,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    effort: Effort,
    seed: int,
    *,
    final: bool = False,
) -> Measurement:
    """Look at a search, which stays as it is bit for bit.

    Args:
        network: that is searched, between two epochs.
        config: how.
        temperature: of the draws now.
        criterion: outputs and targets to a mean loss.
        train_loader: the data of the weights.
        val_loader: held-out data.
        effort: how much work it may make.
        seed: of the draws, and of whatever else is random meanwhile.
        final: the likeliest operations alone are trained, and alpha rests.

    Raises:
        DataError: if a loader yields nothing usable.
    """
    loaders = (train_loader, val_loader)
    with undisturbed(network, loaders), torch.enable_grad():
        device = device_of(network)
        _seed(device, seed)
        train = _two_at_least(first_samples(train_loader, effort.samples, network))
        held_out = _two_at_least(first_samples(val_loader, effort.samples, network))
        generator = torch.Generator().manual_seed(seed)
        draws = Draws.like(network, config, temperature, generator, final=final)
        network.train()
        fewest = min(len(decision.operations) for decision in decisions(network).values())
        known: dict[str, Any] = {
            "operations": fewest,
            "temperature": temperature,
            "batch_size": len(train[0][0]),
            "overlap": overlap(*loaders),
        }
        try:
            # Norms go by each batch both times, as in training: what they recorded while other
            # operations ran would be held against the weights.
            judged = partial(_score, network, val_loader, criterion, effort.scored)
            whole = judged(draws.of_weights)
            derived = whole if final else judged(partial(commit, network))
        except TrainingError as error:
            return Measurement(**known, failure=str(error))
        if config.relaxation == "gumbel":
            running = taking_part(config.alpha.num_running)
            known["saturation"] = saturation(alphas(network), temperature, generator, running)
        known |= _of_gradients(network, config, criterion, train, held_out, draws)
        inputs, targets = (part[: effort.curved] for part in held_out[0])
        found = alpha_curvature(network, inputs, targets, criterion, products=effort.products)
    return Measurement(
        **known,
        supernet=whole.accuracy,
        derived=derived.accuracy,
        majority=max(whole.counts.values()) / whole.num_samples,
        num_samples=whole.num_samples,
        eigenvalue=found if math.isfinite(found) else None,
    )


def gap_of(
    network: nn.Module,
    config: SearchConfig,
    temperature: float,
    criterion: Criterion,
    val_loader: Iterable[Any],
) -> float | None:
    """What deriving loses of the accuracy on held-out data; the search stays as it is bit for bit.

    Args:
        network: that is searched.
        config: how.
        temperature: of the draws now.
        criterion: outputs and targets to a mean loss.
        val_loader: held-out data.

    Returns:
        Accuracy of the network as it is trained, less that of the likeliest operations alone, both
        with norms by batches; None if a loss isn't finite, or nothing but single samples come.
    """
    with undisturbed(network, (val_loader,)):
        _seed(device_of(network), config.seed)
        generator = torch.Generator().manual_seed(config.seed)
        draws = Draws.like(network, config, temperature, generator)
        network.train()
        judged = partial(_score, network, val_loader, criterion, None)
        try:
            whole, derived = judged(draws.of_weights), judged(partial(commit, network))
        except (TrainingError, DataError):
            return None
    return whole.accuracy - derived.accuracy


def measure_in_passing(
    network: nn.Module,
    config: SearchConfig,
    temperature: float,
    criterion: Criterion,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
) -> Measurement | None:
    """Look at a search on its way, as its settings say; see `measure`.

    Returns:
        None where that can't be done, since single samples come or memory is short: a search
        doesn't end for what only looks at it.
    """
    assert config.measure is not None
    effort = Effort.in_passing(config.measure)
    loaders = (train_loader, val_loader)
    try:
        return measure(network, config, temperature, criterion, *loaders, effort, config.seed)
    except (DataError, torch.OutOfMemoryError) as error:
        _log.warning("the search goes on, but can't be measured: %s", error)
        return None


def _seed(device: torch.device, seed: int) -> None:
    """Seed the generators that are put back afterwards, and no other device's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


def _two_at_least(found: list[Batch]) -> list[Batch]:
    """Batches, of which a single one is cut in two: how much two agree tells what noise is."""
    (inputs, targets), *more = found
    if more or len(inputs) < 4:  # norms take two samples
        return found
    return list(zip(inputs.chunk(2), targets.chunk(2), strict=True))


def _score(
    network: nn.Module,
    loader: Iterable[Any],
    criterion: Criterion,
    most: int | None,
    draw: Draw,
) -> Score:
    """Classify samples in train mode, with another draw for each batch; no weight changes.

    Raises:
        TrainingError: if a loss isn't finite.
    """
    correct = 0.0
    counts: Counter[int] = Counter()
    with torch.no_grad():
        for inputs, targets in _until(batches(loader, network), most):
            draw()
            outputs = network(inputs)
            loss = float(criterion(outputs, targets))
            if not math.isfinite(loss):
                raise TrainingError(f"the held-out loss is {loss}")
            classes = targets.argmax(1) if targets.is_floating_point() else targets
            counts.update(classes.flatten().tolist())
            correct += num_correct(outputs, targets) * classes[0].numel()
    return Score(correct / counts.total(), counts)


def _until(found: Iterable[Batch], most: int | None) -> Iterable[Batch]:
    """The first batches, until they hold so many samples."""
    seen = 0
    for inputs, targets in found:
        yield inputs, targets
        seen += len(inputs)
        if most is not None and seen >= most:
            return


def _of_gradients(
    network: nn.Module,
    config: SearchConfig,
    criterion: Criterion,
    train: Sequence[Batch],
    held_out: Sequence[Batch],
    draws: Draws,
) -> dict[str, Rate | Agreements | None]:
    """Whether alpha and weights move, and operations learn what is true elsewhere."""
    of_alpha = rate(
        network,
        train if config.alpha.data == "training" else held_out,
        criterion,
        alphas(network),
        config.alpha.lr,
        draws.of_alpha,
    )
    of_weights = rate(
        network, train, criterion, other_parameters(network), config.recipe.lr, draws.of_weights
    )
    found: dict[str, Rate | Agreements | None] = {}
    if math.isfinite(of_alpha.gradient + of_weights.gradient):
        found = {"alpha": of_alpha, "weights": of_weights}
    if len(train) > 1:
        found["agreements"] = summed(agreement(network, train, held_out, criterion))
    return found
