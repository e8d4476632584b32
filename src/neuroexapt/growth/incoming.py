"""What new units' incoming weights are made from, beside chance, and what that takes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from neuroexapt.edits import AnyEdit, Change, Widen
from neuroexapt.edits.gradmax import ROUNDS
from neuroexapt.graph.inputs import as_inputs
from neuroexapt.training.modes import mode

PASSES = 2 * ROUNDS
"""Forward and backward passes of `Widen(init="gradmax")`."""


def needed(
    edit: AnyEdit, data: Sequence[Any], criterion: Callable[[Any, Any], Tensor]
) -> dict[str, Any]:
    """What an edit needs to be applied, besides itself: a loss, for weights that go by gradients.

    Args:
        edit: about to be applied.
        data: batches (inputs, targets), of which the first one counts.
        criterion: outputs and targets to a mean loss.
    """
    if not _goes_by_gradients(edit):
        return {}
    inputs, targets = data[0]

    def loss(model: nn.Module) -> Tensor:
        device = next(model.parameters(), torch.zeros(())).device
        given = as_inputs(inputs).to(device)
        wanted = tree_map(
            lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, targets
        )
        with mode(model, training=False), torch.enable_grad():
            found = criterion(model(*given.args, **given.kwargs), wanted)
            return found.mean() if found.ndim else found

    return {"loss": loss}


def weights_flops(change: Change, data: Sequence[Any]) -> int:
    """FLOPs that a change's new weights took (2 for each multiply-accumulate)."""
    if not _goes_by_gradients(change.edit):
        return 0
    return 3 * 2 * PASSES * change.macs_after * as_inputs(data[0][0]).batch_size


def _goes_by_gradients(edit: object) -> bool:
    return isinstance(edit, Widen) and edit.init == "gradmax"
