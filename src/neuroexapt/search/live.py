"""What a search tells of itself as it stands, with its loaders."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from neuroexapt.search.bottleneck import SKIP, skip_dominance
from neuroexapt.search.decisions import decisions
from neuroexapt.search.finding import Finding
from neuroexapt.search.history import SearchHistory, findings_of_history, spared
from neuroexapt.search.measured import findings_of_measurement
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.measuring import Effort, measure
from neuroexapt.search.movement import normalised_entropy
from neuroexapt.search.searching import Searching
from neuroexapt.search.stagnation import gumbel_saturation, temperature_at_floor


@dataclass(frozen=True)
class Live:
    """What was found on a search as it stands.

    Attributes:
        findings: of the checks that could be made.
        measurement: the numbers behind them.
    """

    findings: tuple[Finding, ...]
    measurement: Measurement


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
    history = SearchHistory(
        config=search.config, epochs=tuple(search.history), is_over=search.finished
    )
    measured = measure(
        search.network,
        search.config,
        search.temperature.value,
        search.criterion,
        train_loader,
        val_loader,
        Effort(samples),
        seed,
        final=history.is_final,
    )
    found = findings_of_history(history, window=window, operations=measured.operations)
    found += [spared(each, history) for each in findings_of_measurement(measured, search.config)]
    if not measured.failure:
        found += _of_alpha(search, measured)
    return Live(tuple(found), measured)


def _of_alpha(search: Searching, measured: Measurement) -> list[Finding]:
    """What alpha has come to, and how it would be drawn from."""
    every = decisions(search.network).values()
    entropies = [normalised_entropy(decision.probabilities) for decision in every]
    entropy = sum(entropies) / len(entropies)
    choices = [decision.chosen for decision in every if SKIP in decision.operations]
    found = [skip_dominance(choices, entropy, search.config.recipe.weight_decay)]
    drawn = measured.saturation
    if drawn is None:
        return found
    temperature = measured.temperature
    return [
        *found,
        gumbel_saturation(drawn.share, entropy, temperature, drawn.jacobian),
        temperature_at_floor(temperature, search.config.annealing, drawn.share, entropy),
    ]
