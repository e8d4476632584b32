"""The loss by whose gradients new units' incoming weights are made, and what that takes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map

from neuroexapt.edits import AnyEdit, Widen
from neuroexapt.edits.gradmax import ROUNDS
from neuroexapt.graph.flops import counting
from neuroexapt.graph.inputs import as_inputs
from neuroexapt.graph.modes import NO_OWN, put_in_mode
from neuroexapt.signals.untouched import untouched
from neuroexapt.training.modes import device_of

BACKWARD = 2
"""How much dearer a backward pass is than the forward pass."""


class SensedLoss:
    """A model's loss on the first batch that was sensed, in train mode, as training will see it.

    Args:
        data: batches (inputs, targets).
        criterion: outputs and targets to a mean loss.

    Attributes:
        flops: of the passes so far, backward ones included (2 for each multiply-accumulate),
            whether anything came of them or not.
    """

    def __init__(self, data: Sequence[Any], criterion: Callable[[Any, Any], Tensor]) -> None:
        self.data = data
        self.criterion = criterion
        self.flops = 0

    def __call__(self, model: nn.Module) -> Tensor:
        """The loss of a model; its state and random numbers stay as they are.

        Buffers are exchanged for copies rather than put back: a gradient may go through them.
        """
        inputs, targets = self.data[0]
        device = device_of(model)
        given = as_inputs(inputs).to(device)
        wanted = tree_map(
            lambda leaf: leaf.to(device) if isinstance(leaf, Tensor) else leaf, targets
        )
        with untouched(model, device), torch.enable_grad(), counting() as counter:
            put_in_mode(model, True, getattr(model, "meta", {}).get("modes", NO_OWN))
            torch.manual_seed(0)
            copies = {name: buffer.clone() for name, buffer in model.named_buffers()}
            outputs = functional_call(model, copies, given.args, given.kwargs)
            loss = self.criterion(outputs, wanted)
        self.flops += (1 + BACKWARD) * counter.get_total_flops()
        return loss.mean() if loss.ndim else loss

    def needed(self, edit: AnyEdit) -> dict[str, Any]:
        """What `LivingModel.apply` needs for an edit, besides itself."""
        return {"loss": self} if isinstance(edit, Widen) and edit.init == "gradmax" else {}

    def expected(self, edit: AnyEdit, macs: int) -> int:
        """FLOPs that applying an edit to a model of so many multiply-accumulates will take."""
        if not self.needed(edit):
            return 0
        return 2 * (1 + BACKWARD) * 2 * ROUNDS * macs * as_inputs(self.data[0][0]).batch_size
