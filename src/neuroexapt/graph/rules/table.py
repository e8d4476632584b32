"""The one table: operator -> rule. What is not in it freezes the channels that it meets."""

import math
import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt.graph.dropout import SharedDropout
from neuroexapt.graph.flow import Role, freeze_all
from neuroexapt.graph.rules import elementwise as each
from neuroexapt.graph.rules import linear, movement, norms, products, reduce
from neuroexapt.graph.rules.call import Call, unlabelled
from neuroexapt.graph.rules.names import (
    ACTIVATIONS,
    BINARY,
    CASTS,
    CREATIONS,
    MOVES,
    OPERATORS,
    ORDERINGS,
    PRODUCTS,
    REDUCTIONS,
    SCANS,
    UNARY,
)

Rule: TypeAlias = Callable[[Call], Any]


def _named(names: Iterable[str], rule: Rule) -> dict[Any, Rule]:
    """All functions of these names in torch and its functional module, and the in-place ones."""
    table: dict[Any, Rule] = {}
    for name in names:
        for place in (torch, F, torch._C._nn, torch.special):
            for spelling in (name, f"{name}_"):
                function = getattr(place, spelling, None)
                if callable(function):
                    table[function] = rule
    return table


FUNCTIONS: dict[Any, Rule] = {
    **_named(UNARY, each.elementwise),
    **_named(BINARY, each.elementwise),
    **{getattr(operator, name): each.elementwise for name in OPERATORS},
    **_named(MOVES, movement.movement),
    **_named(REDUCTIONS, reduce.reduction),
    **_named(("norm",), reduce.vector_norm),
    **_named(PRODUCTS, linear.mixing),
    **_named(("cat", "concat", "concatenate"), movement.concatenation),
    **_named(("stack",), movement.stacking),
    **_named(("glu",), movement.gated_linear_unit),
    **_named(("softmax", "log_softmax", "softmin"), norms.softmax),
    **_named(("dropout", "dropout1d", "dropout2d", "dropout3d"), each.constant_dropout),
    **_named(("prelu",), each.prelu),
    **_named(("batch_norm",), norms.batch_norm),
    **_named(("instance_norm",), norms.instance_norm),
    **_named(("group_norm",), norms.group_norm),
    **_named(("layer_norm", "rms_norm"), norms.layer_norm),
    **_named(("local_response_norm",), norms.response_norm),
    **_named(("linear",), linear.linear),
    **_named(("embedding",), linear.embedding),
    **_named(("conv1d", "conv2d", "conv3d"), linear.convolution),
    **_named(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), linear.transposed_convolution
    ),
    **_named(("matmul", "mm", "bmm"), products.matmul),
    **_named(("einsum",), products.einsum),
    **_named(("scaled_dot_product_attention",), products.attention),
    **_named(("interpolate", "upsample"), reduce.resize),
    **_named(("pad",), reduce.pad),
    **_named(("addmm",), linear.addmm),
    **_named(("normalize",), reduce.along(2, default=1)),
    **_named(SCANS, reduce.along(1)),
    **_named(ORDERINGS, reduce.along(1)),
    **_named(("topk", "kthvalue"), reduce.along(2)),
    **_named(("index_select",), reduce.along(1)),
    torch.linalg.vector_norm: reduce.vector_norm,
    torch.linalg.norm: reduce.vector_norm,
    **{
        function: reduce.pooling(spatial)
        for spatial in (1, 2, 3)
        for kind in ("max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool", "lp_pool")
        for place in (torch, F, torch._C._nn)
        if (function := getattr(place, f"{kind}{spatial}d", None)) is not None
    },
    operator.matmul: products.matmul,
    operator.getitem: movement.indexing,
}

METHODS: dict[str, Rule] = {
    **{name: each.elementwise for base in (*UNARY, *BINARY) for name in (base, f"{base}_")},
    **dict.fromkeys(CASTS, each.casts),
    **dict.fromkeys(MOVES, movement.movement),
    **dict.fromkeys(REDUCTIONS, reduce.reduction),
    **dict.fromkeys(PRODUCTS, linear.mixing),
    **dict.fromkeys(CREATIONS, each.creates),
    **dict.fromkeys(("softmax", "log_softmax"), norms.softmax),
    **dict.fromkeys(("matmul", "mm", "bmm", "__matmul__"), products.matmul),
    **dict.fromkeys((*SCANS, *ORDERINGS, "index_select"), reduce.along(1)),
    **dict.fromkeys(("topk", "kthvalue"), reduce.along(2)),
    "unfold": movement.movement,
    "prelu": each.prelu,
    "norm": reduce.vector_norm,
    **{f"__{name}__": each.elementwise for name in ("add", "radd", "mul", "rmul", "sub", "rsub")},
}


MODULES: dict[type[nn.Module], Rule] = {
    **{getattr(nn, name): each.elementwise for name in ACTIVATIONS},
    **dict.fromkeys((nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d), each.dropout),
    SharedDropout: each.dropout,
    nn.PReLU: each.prelu,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), linear.convolution),
    **dict.fromkeys(
        (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), linear.transposed_convolution
    ),
    nn.Linear: linear.linear,
    nn.Embedding: linear.embedding,
    nn.Bilinear: linear.mixing,
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), norms.batch_norm
    ),
    **dict.fromkeys((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), norms.instance_norm),
    nn.GroupNorm: norms.group_norm,
    **dict.fromkeys((nn.LayerNorm, nn.RMSNorm), norms.layer_norm),
    nn.LocalResponseNorm: norms.response_norm,
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmin), norms.softmax),
    nn.GLU: movement.gated_linear_unit,
    **dict.fromkeys(
        (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle),
        movement.movement,
    ),
    **dict.fromkeys((nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d), reduce.resize),
    **{
        getattr(nn, f"{kind}{spatial}d"): reduce.pooling(spatial)
        for spatial in (1, 2, 3)
        for kind in ("MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool", "ZeroPad")
    },
    **{
        getattr(nn, f"{kind}Pad{spatial}d"): reduce.pad
        for spatial in (1, 2, 3)
        for kind in ("Reflection", "Replication", "Constant", "Circular")
    },
}

SCALAR_FUNCTIONS = frozenset((math.sqrt, math.prod, int, float, bool, str, range, slice, min, max))


def unknown(call: Call) -> Any:
    """No rule: every channel that it meets is frozen, and followed no further."""
    reason = f"{call.name} has no rule"
    if call.module is not None:
        reason = _why_unknown(call.name, call.module)
    elif isinstance(call.target, type):
        reason = f"{call.name} packs them into an object, which a plain tuple would not hide"
    for value in call.values():
        freeze_all(call.flow, value.axes, reason)
    for name, parameter in call.module.named_parameters() if call.module is not None else ():
        if parameter.ndim > 1:
            made = call.flow.parameter(f"{call.path}.{name}").axes[0]
            call.flow.mark(made, Role.PRODUCER, call.path)
            call.flow.freeze(made, reason)
            break
    return unlabelled(call.meta, call.name)


def _why_unknown(name: str, module: nn.Module) -> str:
    """Why a module isn't followed, and how it could be."""
    if torch.nn.utils.parametrize.is_parametrized(module):
        tensors = " and ".join(module.parametrizations)  # type: ignore[arg-type]
        return (
            f"{name} computes its {tensors} (parametrized); torch.nn.utils.parametrize."
            "remove_parametrizations makes it a plain layer, which could grow"
        )
    if isinstance(vars(module).get("weight"), Tensor):
        return (
            f"{name} computes its weight in a hook (weight_norm, spectral_norm); "
            "torch.nn.utils.remove_weight_norm or remove_spectral_norm makes it a plain layer, "
            "which could grow"
        )
    told = f"{name} ({type(module).__name__}) has no rule"
    if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
        return f"{told} where it packs what isn't padding; with enable_nested_tensor=False it would"
    return told


def module_rule(module: nn.Module) -> Rule | None:
    """The rule of a module's type, or of the base whose `forward` it keeps.

    None too where the weight is computed (parametrised, or by the hooks of `weight_norm`), or the
    object has a `forward` of its own.
    """
    if "forward" in vars(module):
        return None
    if torch.nn.utils.parametrize.is_parametrized(module) or isinstance(
        vars(module).get("weight"), Tensor
    ):
        return None
    for base in type(module).__mro__:
        if base in MODULES and base.forward is type(module).forward:
            return MODULES[base]
    return None


def method_of(name: str) -> Callable[..., Any]:
    """The method as a function of its object."""

    def call(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        return getattr(tensor, name)(*args, **kwargs)

    return call
