"""One decision for all ranks that train copies of a model together (DistributedDataParallel)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn

from neuroexapt.edits import Change, load_edits
from neuroexapt.errors import TrainingError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

    from neuroexapt.growth.grower import Grower


@dataclass(frozen=True)
class Decision:
    """What the first rank came to.

    Attributes:
        edits: that it made, as records.
        changes: seed, error of preservation, and type that it was checked in, of each.
        state: of its grower, by then.
    """

    edits: list[dict[str, Any]]
    changes: list[tuple[int, float | None, str | None]]
    state: dict[str, Any]

    @classmethod
    def of(cls, grower: "Grower", changes: Sequence[Change]) -> "Decision":
        """What a step did."""
        return cls(
            [change.edit.model_dump(mode="json") for change in changes],
            [(change.seed, change.max_error, change.checked_in) for change in changes],
            grower.state_dict(),
        )


def check_ranks(model: nn.Module, group: "ProcessGroup") -> None:
    """Refuse what ranks can't grow together.

    Raises:
        ValueError: if this process isn't one of the group, or the model has a `SyncBatchNorm`.
    """
    if dist.get_rank(group) < 0:
        raise ValueError(
            f"rank {dist.get_rank()} isn't in the process group that was given; make a Grower with "
            "it only on ranks that are"
        )
    names = [name for name, part in model.named_modules() if isinstance(part, nn.SyncBatchNorm)]
    if names:
        raise ValueError(
            f"{names[0]!r} is a SyncBatchNorm, which waits for all ranks, and only the first one "
            "senses; give a model with BatchNorm layers"
        )


def step_together(
    grower: "Grower", group: "ProcessGroup", step: Callable[[], list[Change]]
) -> list[Change]:
    """Let the first rank decide, and all others do the same.

    Copies stay alike: the others take over the first one's new weights, and what its grower knows.

    Args:
        grower: this rank's.
        group: ranks that train together; all of them have to come here.
        step: the step that the first one takes.

    Returns:
        What changed on this rank.

    Raises:
        TrainingError: on all other ranks, if the first one fails, which raises its own error.
    """
    first = dist.get_global_rank(group, 0)
    if dist.get_rank() == first:
        told: list[Decision | None] = [None]
        try:
            changes = step()
            told = [Decision.of(grower, changes)]
        finally:
            dist.broadcast_object_list(told, src=first, group=group)
    else:
        heard: list[Decision | None] = [None]
        dist.broadcast_object_list(heard, src=first, group=group)
        if heard[0] is None:
            raise TrainingError(f"rank {first} failed to grow the model; its own error says why")
        changes = _follow(grower, heard[0])
    if changes:
        _share(grower.living, first, group)
    return changes


def _follow(grower: "Grower", decision: Decision) -> list[Change]:
    """Make the same edits; of weights only the shapes matter, since they are sent."""
    changes = []
    edits = load_edits(decision.edits)
    for edit, (seed, error, checked_in) in zip(edits, decision.changes, strict=True):
        change = grower.living.apply(edit, grower.optimizer, seed, check=False, replaying=True)
        grower.nursery.admit(change)
        changes.append(replace(change, max_error=error, checked_in=checked_in))
    grower.load_state_dict(decision.state)
    return changes


@torch.no_grad()
def _share(model: nn.Module, first: int, group: "ProcessGroup") -> None:
    """Send the first rank's parameters and buffers to all others."""
    for tensor in [*model.parameters(), *model.buffers()]:
        sent = tensor.detach().contiguous()
        if sent.dtype == torch.bool:
            sent = sent.to(torch.uint8)
        dist.broadcast(sent, src=first, group=group)
        tensor.copy_(sent)
