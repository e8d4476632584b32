"""A grown model as its seed and a list of edits: JSON, and back."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError
from torch import nn
from torch.optim import Optimizer

from neuroexapt.edits.activate import Activate, Settle
from neuroexapt.edits.attend import Attend
from neuroexapt.edits.base import listed
from neuroexapt.edits.connect import Connect
from neuroexapt.edits.deepen import Deepen
from neuroexapt.edits.prune import Prune
from neuroexapt.edits.split import Split
from neuroexapt.edits.widen import Widen
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.inputs import ExampleInput
from neuroexapt.graph.tracer import Leaf

AnyEdit: TypeAlias = Annotated[
    Split | Widen | Deepen | Connect | Attend | Activate | Settle | Prune,
    Field(discriminator="kind"),
]

_ADAPTER: TypeAdapter[tuple[AnyEdit, ...]] = TypeAdapter(tuple[AnyEdit, ...])


def dump_edits(edits: Iterable[AnyEdit]) -> list[dict[str, Any]]:
    """Edits as JSON-ready values."""
    return [edit.model_dump(mode="json") for edit in edits]


def load_edits(records: Any) -> tuple[AnyEdit, ...]:
    """Edits from what `dump_edits` gave.

    Raises:
        EditError: if a record is no known edit.
    """
    try:
        return _ADAPTER.validate_python(records)
    except ValidationError as error:
        raise EditError(f"these are no edits of this version: {error}") from error


def replay(
    model: nn.Module,
    example_input: ExampleInput,
    edits: Iterable[AnyEdit],
    leaves: Iterable[Leaf] = (),
    optimizer: Optimizer | Iterable[Optimizer] | None = None,
) -> LivingModel:
    """Rebuild a grown architecture from its seed model; the weights are to be loaded.

    Args:
        model: the seed model, as it was before the first edit.
        example_input: as for `LivingModel`.
        edits: the lineage, in order.
        leaves: as for `LivingModel`.
        optimizer: one or several of the seed model's parameters, carried along, so that their
            parameter groups come out as in the original run.

    Raises:
        EditError: if an edit doesn't fit; then the seed is another one.

    Example:
        >>> import torch
        >>> seed = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> grown = LivingModel(seed, torch.zeros(2, 4))
        >>> _ = grown.apply(Split(group="0", units=(0,)))
        >>> records = dump_edits(grown.edits)  # JSON-ready, to be saved beside the weights
        >>> rebuilt = replay(seed, torch.zeros(2, 4), load_edits(records))
        >>> rebuilt.load_state_dict(grown.state_dict())
        <All keys matched successfully>
    """
    living = LivingModel(model, example_input, leaves)
    optimizers = listed(optimizer)
    for edit in edits:
        edit.apply_to(living, optimizers, check=False, replaying=True)
    return living
