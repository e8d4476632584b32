"""Growth within a search: a new block where it would help most, and its operations left open."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from neuroexapt.edits import Deepen
from neuroexapt.edits.site import Place, place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.search.alternatives import WEIGHTED
from neuroexapt.search.decisions import commit
from neuroexapt.search.mixed import Mixed
from neuroexapt.search.searchable import open_layers
from neuroexapt.signals import growth_gain

PARTS = 4
"""Of the data, whose gradients are compared to tell gain from noise."""


class Expansion(BaseModel):
    """One expansion of a network that is being searched.

    Attributes:
        epoch: trained before it.
        after: the node that the new block stands behind.
        seed: of the block's weights.
        choices: decision -> operation that ran while the place was looked for; what is dead under
            some is none under others.
        opened: names of the new decisions.
        gain: of the loss that the last layers can't follow, by which the place was chosen.
        max_error: largest relative change of the outputs.
        params_before: parameters of the network that is searched, all operations included.
        params_after: likewise.
        flops: that choosing the place took.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int
    after: str
    seed: int
    choices: dict[str, str]
    opened: tuple[str, ...]
    gain: float
    max_error: float
    params_before: int
    params_after: int
    flops: int


@dataclass(frozen=True)
class Choice:
    """Where to expand.

    Attributes:
        after: the node; None if there is no place, or none where the gain is more than noise.
        gain: see `Expansion.gain`; 0 without a place.
        flops: spent on looking.
    """

    after: str | None
    gain: float
    flops: int


def choose_place(
    network: nn.Module,
    example: Tensor,
    batches: Iterable[Any],
    criterion: Callable[[Any, Any], Tensor],
) -> Choice:
    """Find where a residual block would lower the loss fastest, all candidates at once.

    Args:
        network: with decisions; afterwards it runs the likeliest operations.
        example: a batch of inputs.
        batches: pairs (inputs, targets), held out from the weights, of which parts are made.
        criterion: outputs and targets to a mean loss.
    """
    commit(network)
    living = LivingModel(network, example, leaves=(Mixed,))
    edits = [Deepen(after=name) for name in places(living)]
    gains = growth_gain(living, edits, batches, criterion, parts=PARTS)
    certain = [gain for gain in gains.found if gain.beyond > gain.beyond_error]
    if not certain:
        return Choice(None, 0.0, gains.flops)
    best = max(certain, key=lambda gain: gain.beyond)
    assert isinstance(best.edit, Deepen)
    return Choice(best.edit.after, best.beyond, gains.flops)


def places(living: LivingModel) -> Iterator[str]:
    """Nodes behind which a residual block can stand: pictures of features, or else anything."""
    found = list(_places(living))
    pictures = [name for name, where in found if len(where.spatial) == 2 and where.is_map]
    return iter(pictures or [name for name, _ in found])


def _places(living: LivingModel) -> Iterator[tuple[str, Place]]:
    last = {node for node in living.graph_module.graph.nodes if node.op == "output"}
    for name in living.nodes:
        node = living.node(name)
        if node.op == "placeholder" or node not in living.computed or last & set(node.users):
            continue
        try:
            where = place(living, node)
        except EditError:
            continue
        if not where.is_map or math.prod(where.spatial) > 1:
            yield name, where


def expand(
    network: nn.Module, example: Tensor, after: str, *, seed: int, open_operations: bool = True
) -> tuple[nn.Module, tuple[str, ...], float]:
    """Put a residual block behind a node; the network computes what it did.

    Args:
        network: with decisions, of each of which one operation runs.
        example: a batch of inputs, on which that is checked.
        after: the node, as `places` names them.
        seed: of the new weights.
        open_operations: make the new layers decisions, each starting as what it is.

    Returns:
        The expanded network, which shares all modules with the old one; the names of its new
        decisions; and the largest relative change of its outputs.

    Raises:
        EditError: if there is no such node, or no block can stand there.
    """
    living = LivingModel(network, example, leaves=(Mixed,))
    known = {name for name, _ in network.named_modules()}
    error = living.apply(Deepen(after=after), seed=seed).max_error
    assert error is not None, "additions are checked"
    grown = living.graph_module
    new = [
        name
        for name, module in grown.named_modules()
        if name not in known and isinstance(module, WEIGHTED)
    ]
    opened = open_layers(grown, example, new) if open_operations else ()
    return grown, opened, error
