"""Networks from outside as an evolution's own: seed networks, members, populations."""

import copy
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from neuroexapt.errors import EditError, EvolutionError
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.networks import Network
from neuroexapt.evolution.structure import structure_key
from neuroexapt.graph import LivingModel
from neuroexapt.training import first_batch
from neuroexapt.training.modes import device_of

EXAMPLES = 8
"""Samples that networks are traced with and edits are checked on."""


def living_of(model: nn.Module, loader: Iterable[Any]) -> LivingModel:
    """A model as a living one of its own; a living one as a copy.

    Raises:
        ValueError: if it is no model.
        TraceError: if it can't be seen as a graph.
    """
    if not isinstance(model, nn.Module):
        raise ValueError(f"a {type(model).__name__} is no model; give an nn.Module")
    inputs, _ = first_batch(loader)
    if isinstance(model, LivingModel):
        return copy.deepcopy(model)
    with torch.no_grad():
        return LivingModel(copy.deepcopy(model), inputs[:EXAMPLES].to(device_of(model)))


def adopted(
    name: str, network: nn.Module | Network, seed: LivingModel, loader: Iterable[Any]
) -> Network:
    """A network that was grown from the seed network elsewhere as a member, not scored yet.

    Args:
        name: that it is to have.
        network: a model, or a member of another evolution from the same seed.
        seed: the network that all members are grown from.
        loader: yields what models are traced with.

    Raises:
        ValueError: if it is no model.
        TraceError: if it can't be seen as a graph.
        EvolutionError: if it isn't the seed network with edits.
    """
    if isinstance(network, Individual):
        weights = {name: weight.clone() for name, weight in network.genome.weights.items()}
        genome, known = Genome(network.genome.edits, weights), network.told
        key = network.key
    else:
        living = living_of(network, loader)
        genome, known, key = Genome.of(living), {}, structure_key(living)
    _check_descent(name, genome, key, seed)
    told = {
        "epochs": known.get("epochs", 0.0),
        "stints": known.get("stints", 0),
        "batches": known.get("batches", 0),
        "edits": [str(edit) for edit in genome.edits[len(seed.edits) :]],
        "accuracy": 0.0,
    }
    return Individual(name, genome, key, told=told)


def _check_descent(name: str, genome: Genome, key: str, seed: LivingModel) -> None:
    remedy = "give one that was grown from it by edits, such as LivingModel.apply makes"
    if genome.edits[: len(seed.edits)] != seed.edits:
        raise EvolutionError(
            f"network {name} hasn't had the edits that the seed network has had; {remedy}"
        )
    try:
        built = Genome(genome.edits, {}).develop(seed)
    except EditError as error:
        raise EvolutionError(
            f"network {name} isn't grown from the seed network ({error}); {remedy}"
        ) from error
    if structure_key(built) != key or built.state_dict().keys() != genome.weights.keys():
        raise EvolutionError(
            f"network {name} isn't grown from the seed network: with its edits that is another "
            f"one; {remedy}"
        )


def best_of_each(members: Sequence[Network], lost: dict[str, str]) -> list[Network]:
    """Of members with one structure the one that errs least, in their order.

    Args:
        members: scored.
        lost: is told of the others.
    """
    best: dict[str, Network] = {}
    for member in sorted(members, key=lambda member: member.scores["error"]):
        other = best.setdefault(member.key, member)
        if other is not member:
            lost[member.name] = f"{other.name} has the same structure and errs no more often"
    return [member for member in members if best[member.key] is member]


def check_population(population: Sequence[Any], names: Collection[str]) -> None:
    """That a population is one of networks, with scores of those names.

    Raises:
        EvolutionError: if it is empty, or holds anything else.
    """
    if not isinstance(population, Sequence):
        raise EvolutionError(
            f"the population is a {type(population).__name__}; give a list of members, or begin "
            "with found()"
        )
    for member in population:
        if not isinstance(member, Individual) or not isinstance(member.genome, Genome):
            raise EvolutionError(
                f"a population holds a {type(member).__name__}; give what found(), population() "
                "or evolve_generation() returned"
            )
        if "stints" not in member.told or any(name not in member.scores for name in names):
            raise EvolutionError(
                f"{member.name} has no scores of this evolution; give population([...]) of it"
            )
    if not population:
        raise EvolutionError("the population is empty; begin with found() or population([...])")


def check_names(population: Sequence[Network]) -> None:
    """That each member has a name of its own.

    Raises:
        EvolutionError: if two have the same.
    """
    known = [member.name for member in population]
    twice = next((name for name in known if known.count(name) > 1), None)
    if twice is not None:
        raise EvolutionError(
            f"the population holds {twice} twice; give each member once, and take those of several "
            "evolutions over by population([...])"
        )


def born_in(name: str) -> int:
    """The generation that is in a member's name; -1 if there is none."""
    number = name.partition(".")[0]
    return int(number) if number.isdigit() else -1
