"""More layers, as blocks that start as the identity."""

import operator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, fx, nn

from neuroexapt.edits.base import Context, Edit
from neuroexapt.edits.carry import newborn_like
from neuroexapt.edits.insert import Insertion, parameters_near, replace_uses, settled
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.site import Place, place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel

CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
IDEMPOTENT = (nn.ReLU, nn.functional.relu, torch.relu, "relu", "relu_", torch.relu_)


class Deepen(Edit):
    """Insert layers after a node.

    Attributes:
        after: the node: a module's name, or that of a block whose output is meant.
        form: "residual": x + last(relu(norm(first(x)))) with the last layer's weights zero; with
            batch norm only where the model has it, and channels come second.
            "identity": a layer with identity weights, and the activation again; after ReLU only.
        hidden: channels inside a residual block; as many as outside by default.
        kernel_size: odd size of the convolutions; linear layers where channels come last.
    """

    kind: Literal["deepen"] = "deepen"
    after: str
    form: Literal["residual", "identity"] = "residual"
    hidden: int | None = Field(default=None, gt=0)
    kernel_size: int = Field(default=3, gt=0, json_schema_extra={"odd": True})

    def num_added(self, living: LivingModel) -> int:
        """How many weights the new layers have, biases and norms aside."""
        where = place(living, settled(living.node(self.after)))
        taps = self.kernel_size ** len(where.spatial) if where.is_map else 1
        if self.form == "identity":
            return where.channels**2 * taps
        return 2 * where.channels * (self.hidden or where.channels) * taps

    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """Insert the block and let everything that read the node read the block."""
        if self.kernel_size % 2 == 0:
            raise EditError(f"kernel_size {self.kernel_size} is even; give an odd one")
        node = settled(living.node(self.after))
        where = place(living, node)
        insertion = Insertion.into(living)
        build = _residual if self.form == "residual" else _identity
        build(insertion, where, self, context.generator)
        return insertion.finish(parameters_near(living, node))

    def __str__(self) -> str:
        """One line for people."""
        return f"deepen after {self.after} ({self.form})"


def _residual(insertion: Insertion, where: Place, edit: Deepen, generator: torch.Generator) -> None:
    x = insertion.node(where.node.name)
    hidden = edit.hidden or where.channels
    bias = not _uses_batch_norm(insertion.living, where)
    first = _layer(where, where.channels, hidden, edit.kernel_size, bias)
    last = _layer(where, hidden, where.channels, edit.kernel_size, True)
    like = next(insertion.living.parameters(), torch.zeros(()))
    with torch.no_grad():
        scale = (2 / first.weight[0].numel()) ** 0.5
        first.weight.copy_(newborn_like(first.weight.shape, like, generator).cpu() * scale)
        for tensor in (first.bias, last.weight, last.bias):
            if tensor is not None:
                tensor.zero_()
    inner = insertion.call(x, "first", first, x)
    if not bias:
        inner = insertion.call(inner, "norm", NORMS[len(where.spatial)](hidden), inner)
    inner = insertion.call(inner, "act", nn.ReLU(), inner)
    outer = insertion.call(inner, "last", last, inner)
    total = insertion.apply(outer, "sum", operator.add, x, outer)
    replace_uses(x, total, keep=(total, insertion.node(f"{insertion.prefix}_first")))


def _identity(
    insertion: Insertion,
    where: Place,
    edit: Deepen,
    generator: torch.Generator,  # noqa: ARG001
) -> None:
    node = where.node
    if not _is_idempotent(insertion.living, node):
        raise EditError(
            f"an identity layer is exact only after an idempotent activation (ReLU), and "
            f"{edit.after!r} is none; place it after a ReLU, or use form='residual'"
        )
    x = insertion.node(node.name)
    layer = _layer(where, where.channels, where.channels, edit.kernel_size, True)
    with torch.no_grad():
        layer.weight.copy_(_identity_weight(layer.weight))
        assert layer.bias is not None, "made with a bias"
        layer.bias.zero_()
    inner = insertion.call(x, "layer", layer, x)
    total = insertion.call(inner, "act", nn.ReLU(), inner)
    replace_uses(x, total, keep=(inner,))


def _identity_weight(weight: Tensor) -> Tensor:
    made = torch.zeros_like(weight)
    centre = tuple(size // 2 for size in weight.shape[2:])
    for channel in range(weight.shape[0]):
        made[(channel, channel, *centre)] = 1
    return made


def _layer(
    where: Place, inputs: int, outputs: int, kernel_size: int, bias: bool
) -> nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d:
    if not where.is_map:
        return nn.Linear(inputs, outputs, bias=bias)
    convolution = CONVOLUTIONS[len(where.spatial)]
    return convolution(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=bias)


def _uses_batch_norm(living: LivingModel, where: Place) -> bool:
    if not where.is_map and len(where.shape) != 2:
        return False
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in living.modules())


def _is_idempotent(living: LivingModel, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(living.graph_module.get_submodule(str(node.target)), nn.ReLU)
    return node.target in IDEMPOTENT
