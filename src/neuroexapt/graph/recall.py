"""Remember what calls give, so that shapes are worked out once for each kind of call."""

from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from neuroexapt.graph.rules import elementwise, norms
from neuroexapt.graph.rules.table import FUNCTIONS, METHODS, module_rule

KEEP_SHAPE = (elementwise.elementwise, elementwise.dropout, norms.batch_norm, norms.instance_norm)
"""Rules of layers whose output has their input's shape: they need not be run to know it."""

CONSTANTS = frozenset(
    (
        type(None),
        type(Ellipsis),
        bool,
        int,
        float,
        complex,
        str,
        torch.dtype,
        torch.device,
        torch.layout,
        torch.memory_format,
    )
)
"""Types whose values never change and compare by value."""

CONTAINERS = frozenset((tuple, list, torch.Size, fx.immutable_collections.immutable_list))

FUNCTIONS_OF_TORCH = frozenset((FunctionType, BuiltinFunctionType))

LEFT_OUT = frozenset(("_parameters", "_buffers", "_modules", "_flat_weights", "_flat_weight_refs"))
"""Tables of tensors and parts, and where recurrent layers hold their parameters again."""

MOST_KNOWN = 20_000
"""How many calls are remembered before it starts afresh."""

Key: TypeAlias = Hashable


class OpaqueError(Exception):
    """Something can't be described by value."""


class Like(NamedTuple):
    """All of a tensor but its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int
    held: int
    dtype: torch.dtype
    device: torch.device

    def fake(self, mode: FakeTensorMode) -> FakeTensor:
        """A tensor like this; no mode may be active."""
        made = torch.empty_strided(self.shape, self.stride, dtype=self.dtype, device="meta")
        if self.offset or self.held * made.itemsize != made.untyped_storage().nbytes():
            memory = torch.empty(self.held, dtype=self.dtype, device="meta")
            made = memory.as_strided(self.shape, self.stride, self.offset)
        return FakeTensor(mode, made, self.device)


@dataclass(frozen=True)
class Outcome:
    """What a call gives.

    Attributes:
        template: its result, with a `Like` for every tensor.
        flops: two for each multiply-accumulate.
    """

    template: Any
    flops: int

    def result(self, mode: FakeTensorMode) -> Any:
        """The result, with fake tensors of a mode that isn't active."""
        return _filled(self.template, mode)


_known: dict[Key, Outcome] = {}


def recall(key: Key) -> Outcome | None:
    """What a call of this key gave, if it is known."""
    return _known.get(key)


def remember(key: Key, outcome: Outcome) -> None:
    """Note what a call of this key gave."""
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[key] = outcome


def settings() -> Key:
    """What of torch's settings has a say in shapes, strides, types or operators."""
    backends = torch.backends
    return (
        torch.get_default_dtype(),
        torch.cuda.current_device() if torch.cuda.is_initialized() else None,
        backends.mkldnn.enabled,
        backends.cudnn.enabled,
        backends.opt_einsum.enabled,
        backends.opt_einsum.strategy,
        backends.cuda.flash_sdp_enabled(),
        backends.cuda.mem_efficient_sdp_enabled(),
        backends.cuda.math_sdp_enabled(),
        backends.cuda.cudnn_sdp_enabled(),
    )


def like(tensor: Tensor) -> Like:
    """A plain tensor without its values.

    Raises:
        OpaqueError: if there is more to it, as to sparse, quantised or negated ones.
    """
    plain = type(tensor) in (FakeTensor, Tensor, nn.Parameter) and tensor.layout is torch.strided
    if not plain or tensor.is_complex() or tensor.is_neg() or tensor.is_quantized:
        raise OpaqueError
    if tensor.device.type == "meta" or getattr(tensor, "constant", None) is not None:
        raise OpaqueError
    return Like(
        tuple(tensor.shape),
        tensor.stride(),
        int(tensor.storage_offset()),
        tensor.untyped_storage().nbytes() // tensor.itemsize,
        tensor.dtype,
        tensor.device,
    )


def described(item: Any) -> Key:
    """A value, to be compared: fake tensors by what they are like, constants by type and value.

    Raises:
        OpaqueError: if it is anything else.
    """
    kind = type(item)
    if kind is FakeTensor:
        return like(item)
    if kind in CONSTANTS:
        return kind, item
    if kind in CONTAINERS:
        return kind, *map(described, item)
    if kind is set:
        return kind, frozenset(map(described, item))
    if kind is slice:
        return kind, *map(described, (item.start, item.stop, item.step))
    if isinstance(item, type) or (kind in FUNCTIONS_OF_TORCH and item in FUNCTIONS):
        return kind, item
    if isinstance(item, dict):
        return kind, *((described(name), described(value)) for name, value in item.items())
    raise OpaqueError


def describe(item: Any) -> Key | None:
    """As `described`, or None."""
    try:
        return described(item)
    except OpaqueError:
        return None


def of_torch(module: nn.Module) -> bool:
    """Whether a module itself, whatever its parts, is one of torch.nn."""
    return type(module).__module__.startswith("torch.nn")


def keeps_shape(module: nn.Module, args: Any, kwargs: Any) -> bool:
    """Whether a module's output has the shape and type of its one input."""
    return len(args) == 1 and not kwargs and module_rule(module) in KEEP_SHAPE


def layer(module: nn.Module) -> Key:
    """A module by the types of its parts, their settings and what their tensors are like.

    Raises:
        OpaqueError: if it holds anything else, such as hooks or a `forward` of its own.
    """
    return tuple(
        (path, type(part), *tensors(part), *attributes(part))
        for path, part in module.named_modules(remove_duplicate=False)
    )


def tensors(module: nn.Module) -> Iterator[Key]:
    """Its own parameters and buffers, by name and by what they are like."""
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        yield name, None if tensor is None else like(tensor)


def attributes(module: nn.Module) -> Iterator[Key]:
    """Its attributes but for tensors and parts, by name, `described`; hooks only if it has some."""
    for name, value in vars(module).items():
        none = type(value) in (OrderedDict, set) and not value and name[0] == "_"
        if name not in LEFT_OUT and not none:
            yield name, described(value)


def call_key(node: fx.Node, module: nn.Module | None, args: Any, kwargs: Any) -> Key | None:
    """By what a call's shapes, types and operations are known; None where they must be found out.

    Only layers of torch.nn and operators that have a rule count, since of these it is known that
    nothing outside has a say. In-place operators have effects: they must be run.

    Args:
        node: the call.
        module: which it calls, if any.
        args: positional inputs, fake tensors among them.
        kwargs: keyword inputs.
    """
    try:
        what = _called(node, module, args, kwargs)
        return None if what is None else (what, described(args), described(kwargs))
    except OpaqueError:
        return None


def _called(node: fx.Node, module: nn.Module | None, args: Any, kwargs: Any) -> Key | None:
    target: Any = node.target
    if module is not None:
        if keeps_shape(module, args, kwargs):
            return torch.empty_like
        return layer(module) if all(map(of_torch, module.modules())) else None
    if node.op == "call_method":
        known = target in METHODS or target in ("size", "dim")
        return (node.op, target) if known and not target.endswith("_") else None
    known = target in FUNCTIONS or target is getattr
    in_place = "out" in kwargs or getattr(target, "__name__", "_").endswith("_")
    return target if known and not in_place else None


def outcome(result: Any, flops: int) -> Outcome | None:
    """What is worth remembering of a call's result; None if it can't be made again."""
    try:
        return Outcome(_template(result), flops)
    except OpaqueError:
        return None


def _template(result: Any) -> Any:
    if isinstance(result, Tensor):
        return like(result)
    if type(result) in (tuple, list):
        return type(result)(map(_template, result))
    if type(result) in (*CONSTANTS, torch.Size):
        return result
    raise OpaqueError


def _filled(template: Any, mode: FakeTensorMode) -> Any:
    if type(template) is Like:
        return template.fake(mode)
    if type(template) in (tuple, list):
        return type(template)(_filled(part, mode) for part in template)
    return template
