"""What a search tells of itself while it goes: fresh gradients, draws and accuracies."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neuroexapt.errors import TrainingError
from neuroexapt.search.agreement import agreement
from neuroexapt.search.balance import Draw, rate
from neuroexapt.search.bottleneck import (
    SKIP,
    broken,
    discretisation_gap,
    not_learning,
    operation_overfit,
    skip_dominance,
)
from neuroexapt.search.curvature import alpha_curvature
from neuroexapt.search.decisions import alphas, commit, decisions, mix, other_parameters, sample
from neuroexapt.search.finding import Finding, not_measured
from neuroexapt.search.history import SearchHistory, findings_of_history
from neuroexapt.search.movement import normalised_entropy
from neuroexapt.search.overlap import overlap
from neuroexapt.search.saturation import saturation
from neuroexapt.search.searching import Searching
from neuroexapt.search.separation import gradient_imbalance, shared_samples
from neuroexapt.search.stagnation import gumbel_saturation, temperature_at_floor
from neuroexapt.search.undisturbed import batches, first_samples, undisturbed
from neuroexapt.training.loop import num_correct
from neuroexapt.training.modes import device_of

Batch = tuple[Tensor, Tensor]
CURVED = 64
"""Samples of which the curvature is taken: their graph is held and differentiated ten times."""


@dataclass(frozen=True)
class Live:
    """What was found on a search as it stands.

    Attributes:
        findings: of the checks that could be made.
        eigenvalue: the largest of the held-out loss's Hessian in alpha; None without a finite loss.
    """

    findings: tuple[Finding, ...]
    eigenvalue: float | None


def findings_of_search(
    search: Searching,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    *,
    samples: int,
    window: int,
    seed: int,
) -> Live:
    """Look at a search, which stays as it is bit for bit.

    Args:
        search: between two epochs.
        train_loader: the data of the weights.
        val_loader: held-out data.
        samples: from the start of each loader, to take gradients of.
        window: epochs to look back on.
        seed: of the draws.

    Raises:
        DataError: if a loader yields nothing usable.
    """
    network = search.network
    history = SearchHistory(config=search.config, epochs=tuple(search.history))
    fewest = min(len(decision.operations) for decision in decisions(network).values())
    found = findings_of_history(history, window=window, operations=fewest)
    with undisturbed(network, (train_loader, val_loader)), torch.enable_grad():
        device = device_of(network)
        train = first_samples(train_loader, samples, device)
        held_out = first_samples(val_loader, samples, device)
        found.append(shared_samples(overlap(train_loader, val_loader)))
        network.train()
        generator = torch.Generator().manual_seed(seed)
        draws = Draws.like(search, generator)
        try:
            found += _of_accuracy(search, val_loader, draws.of_weights)
        except TrainingError as error:
            found.append(broken(str(error), search.config.recipe.lr))
            return Live(tuple(found), None)
        found += _of_alpha(search, generator)
        found += _of_gradients(search, train, held_out, draws)
        inputs, targets = held_out[0]
        few = (inputs[:CURVED], targets[:CURVED])
        eigenvalue = alpha_curvature(network, *few, search.criterion)
    return Live(tuple(found), eigenvalue)


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
    def like(cls, search: Searching, generator: torch.Generator) -> "Draws":
        """As a search draws now, with random numbers of their own."""
        if search.config.relaxation == "softmax":
            both = partial(mix, search.network)
            return cls(both, both)
        draw = partial(sample, search.network, search.temperature.value, generator)
        running = search.config.alpha.num_running
        return cls(partial(draw, learning=True, num_running=running), draw)


def _of_alpha(search: Searching, generator: torch.Generator) -> list[Finding]:
    """What alpha has come to, and how it would be drawn from."""
    every = decisions(search.network).values()
    entropies = [normalised_entropy(decision.probabilities) for decision in every]
    entropy = sum(entropies) / len(entropies)
    choices = [decision.chosen for decision in every if SKIP in decision.operations]
    found = [skip_dominance(choices, entropy, search.config.recipe.weight_decay)]
    if search.config.relaxation == "softmax":
        return found
    temperature = search.temperature.value
    drawn = saturation(alphas(search.network), temperature, generator)
    return [
        *found,
        gumbel_saturation(drawn.share, entropy, temperature, drawn.jacobian),
        temperature_at_floor(temperature, search.config.annealing, drawn.share, entropy),
    ]


def _of_accuracy(search: Searching, loader: Iterable[Any], draw: Draw) -> list[Finding]:
    """How good the network is on held-out data, as it is trained and as it would be derived.

    Norms go by each batch both times, as in training: what they recorded while other operations ran
    would be held against the weights.

    Raises:
        TrainingError: if a loss isn't finite.
    """
    network, config = search.network, search.config
    whole = _score(search, loader, draw)
    derived = _score(search, loader, partial(commit, network))
    majority = max(whole.counts.values()) / whole.num_samples
    return [
        not_learning(whole.accuracy, majority, config.recipe.lr, whole.num_samples),
        discretisation_gap(whole.accuracy, derived.accuracy, config),
    ]


def _score(search: Searching, loader: Iterable[Any], draw: Draw) -> Score:
    """Classify all samples in train mode, with another draw for each batch; no weight changes.

    Raises:
        TrainingError: if a loss isn't finite.
    """
    network, correct = search.network, 0.0
    counts: Counter[int] = Counter()
    with torch.no_grad():
        for inputs, targets in batches(loader, device_of(network)):
            draw()
            outputs = network(inputs)
            loss = float(search.criterion(outputs, targets))
            if not math.isfinite(loss):
                raise TrainingError(f"the held-out loss is {loss}")
            classes = targets.argmax(1) if targets.is_floating_point() else targets
            counts.update(classes.flatten().tolist())
            correct += num_correct(outputs, targets) * classes[0].numel()
    return Score(correct / counts.total(), counts)


def _of_gradients(
    search: Searching, train: Sequence[Batch], held_out: Sequence[Batch], draws: Draws
) -> list[Finding]:
    """Whether alpha and weights move, and operations learn what is true elsewhere."""
    network, criterion, config = search.network, search.criterion, search.config
    of_alpha = rate(
        network,
        train if config.alpha.data == "training" else held_out,
        criterion,
        alphas(network),
        search.alpha.param_groups[0]["lr"],
        draws.of_alpha,
    )
    of_weights = rate(
        network, train, criterion, other_parameters(network), config.recipe.lr, draws.of_weights
    )
    found = [gradient_imbalance(of_alpha, of_weights)]
    if len(train) < 2:
        few = "there is only one training batch, so that noise isn't known; give smaller batches"
        return [*found, not_measured("operation overfit", few)]
    cosines = agreement(network, train, held_out, criterion)
    return [*found, operation_overfit(cosines, len(train[0][0]))]
