"""More layers, as blocks that start as the identity."""

import operator
from typing import Literal, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, fx, nn

from neuroexapt.edits.addition import Addition
from neuroexapt.edits.base import Context
from neuroexapt.edits.insert import Insertion, replace_uses, settled
from neuroexapt.edits.site import Place, place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel

AnyLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
NORMS = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
EXPANSION = 4
"""How many times as many channels the wide side of a bottleneck has."""
IDEMPOTENT = (nn.ReLU, nn.functional.relu, torch.relu, "relu", "relu_", torch.relu_)


class Deepen(Addition):
    """Insert layers after a node.

    Attributes:
        after: the node: a module's name, or that of a block whose output is meant.
        form: residual blocks add to x what their layers make of it; the last layer's weights are
            zero, and batch norms come where the model has such.
            "residual": two layers of `kernel_size`, with `hidden` channels between them.
            "bottleneck": a pointwise layer to `hidden` channels, one of `kernel_size`, and a
            pointwise one back.
            "inverted": the same, with more channels inside, and the middle layer by channel.
            "identity": one layer with identity weights, and the activation again; after ReLU only.
        hidden: channels inside a residual block; by default as many as outside for "residual", a
            quarter for "bottleneck", four times as many for "inverted".
        kernel_size: odd size of the convolutions; where channels come last or there are no
            positions, layers are linear, and "inverted" has no middle one.

    Source: He et al. 2015, arXiv:1512.03385, and Sandler et al. 2018, arXiv:1801.04381, for the
    blocks; Net2DeeperNet, Chen et al. 2016, arXiv:1511.05641, for the identity.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> change = living.apply(Deepen(after="1", hidden=6))
        >>> change.max_error, change.params_after - change.params_before
        (0.0, 45)
        >>> living.nodes
        ['input_1', '0', '1', 'edit0.first', 'edit0.act', 'edit0.last', 'edit0_sum', '2']
    """

    kind: Literal["deepen"] = "deepen"
    after: str
    form: Literal["residual", "bottleneck", "inverted", "identity"] = "residual"
    hidden: int | None = Field(default=None, gt=0)
    kernel_size: int = Field(default=3, gt=0, json_schema_extra={"odd": True})

    def num_added(self, living: LivingModel) -> int:
        """How many weights the new layers have, biases and norms aside."""
        where = place(living, settled(living.node(self.after)))
        taps = self.kernel_size ** len(where.spatial) if where.is_map else 1
        outside, hidden = where.channels, _hidden(where, self)
        return {
            "identity": outside**2 * taps,
            "residual": 2 * outside * hidden * taps,
            "bottleneck": 2 * outside * hidden + hidden**2 * taps,
            "inverted": 2 * outside * hidden + (hidden * taps if where.is_map else 0),
        }[self.form]

    def insert(self, insertion: Insertion, context: Context) -> fx.Node:
        """Insert the block and let everything that read the node read the block."""
        if self.kernel_size % 2 == 0:
            raise EditError(f"kernel_size {self.kernel_size} is even; give an odd one")
        node = settled(insertion.living.node(self.after))
        where = place(insertion.living, node)
        if self.form == "identity":
            _identity(insertion, where, self)
        else:
            if not context.replaying:
                insertion.liveness.check([node], node)
            _residual(insertion, where, self, context.generator)
        return node

    def __str__(self) -> str:
        """One line for people."""
        return f"deepen after {self.after} ({self.form})"


def _residual(insertion: Insertion, where: Place, edit: Deepen, generator: torch.Generator) -> None:
    x = insertion.node(where.node.name)
    batch_norm = _uses_batch_norm(insertion, where)
    block = _layers(where, edit, bias=not batch_norm)
    with torch.no_grad():
        for layer in block.values():
            scale = (2 / layer.weight[0].numel()) ** 0.5
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * scale)
            if layer.bias is not None:
                layer.bias.zero_()
        block["last"].weight.zero_()
    inner = x
    for name, layer in block.items():
        inner = insertion.call(inner, name, layer, inner)
        if name == "last":
            continue
        after = {"first": "", "middle": "2"}[name]
        if batch_norm:
            norm = NORMS[len(where.spatial)](layer.weight.shape[0])
            inner = insertion.call(inner, f"norm{after}", norm, inner)
        inner = insertion.call(inner, f"act{after}", nn.ReLU(), inner)
    total = insertion.apply(inner, "sum", operator.add, x, inner)
    replace_uses(x, total, keep=(total, insertion.node(f"{insertion.prefix}_first")))


def _hidden(where: Place, edit: Deepen) -> int:
    """Channels inside a block."""
    usual = {
        "bottleneck": max(where.channels // EXPANSION, 1),
        "inverted": where.channels * EXPANSION,
    }
    return edit.hidden or usual.get(edit.form, where.channels)


def _layers(where: Place, edit: Deepen, bias: bool) -> dict[str, AnyLayer]:
    """The layers of a residual block by name, the last with a bias of its own."""
    outside, hidden, size = where.channels, _hidden(where, edit), edit.kernel_size
    if edit.form == "residual":
        return {
            "first": _layer(where, outside, hidden, size, bias),
            "last": _layer(where, hidden, outside, size, True),
        }
    inverted = edit.form == "inverted"
    block = {"first": _layer(where, outside, hidden, 1, bias)}
    if where.is_map or not inverted:
        groups = hidden if inverted else 1
        block["middle"] = _layer(where, hidden, hidden, size, bias, groups)
    return block | {"last": _layer(where, hidden, outside, 1, True)}


def _identity(insertion: Insertion, where: Place, edit: Deepen) -> None:
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
    where: Place, inputs: int, outputs: int, kernel_size: int, bias: bool, groups: int = 1
) -> AnyLayer:
    if not where.is_map:
        return nn.Linear(inputs, outputs, bias=bias)
    convolution = CONVOLUTIONS[len(where.spatial)]
    padding = kernel_size // 2
    return convolution(inputs, outputs, kernel_size, padding=padding, groups=groups, bias=bias)


def _uses_batch_norm(insertion: Insertion, where: Place) -> bool:
    """Whether the model has a batch norm for outputs of this rank, with channels second."""
    second = where.is_map or len(where.shape) == 2
    return second and len(where.shape) in insertion.norm_ranks


def _is_idempotent(living: LivingModel, node: fx.Node) -> bool:
    if node.op == "call_module":
        return isinstance(living.graph_module.get_submodule(str(node.target)), nn.ReLU)
    return node.target in IDEMPOTENT
