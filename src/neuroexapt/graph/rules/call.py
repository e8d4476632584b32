"""One operation, as a rule sees it."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from neuroexapt.graph.flow import Flow
from neuroexapt.graph.value import Labels, Value


@dataclass(frozen=True)
class Call:
    """An operation with its inputs already labelled.

    Attributes:
        name: the operation in words, for reasons: "`softmax` at attn.softmax".
        target: the function, or a method as a function of its object.
        args: positional inputs; tensors are `Value`s, everything else is itself.
        kwargs: keyword inputs, likewise.
        meta: the output as seen with the example input (fake tensors, containers, numbers).
        flow: where to report coupling.
        key: unique name of this call, stable between passes.
        module: the module called, or None.
        path: qualified name of `module`.
    """

    name: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    meta: Any
    flow: Flow
    key: str
    module: nn.Module | None = None
    path: str = ""

    def argument(self, index: int, keyword: str, default: Any = None) -> Any:
        """The input given by position or by keyword."""
        if len(self.args) > index:
            return self.args[index]
        return self.kwargs.get(keyword, default)

    @property
    def value(self) -> Value:
        """The first input, which must be a tensor."""
        value = self.args[0] if self.args else next(iter(self.kwargs.values()))
        assert isinstance(value, Value), f"{self.name} has no tensor as its first input"
        return value

    def values(self) -> Iterator[Value]:
        """All tensors among the inputs, nested ones too."""
        yield from nested_values((self.args, dict(self.kwargs)))

    def setting(self, name: str) -> Any:
        """A setting of the called module, such as its number of groups."""
        return getattr(self.module, name)

    def parameter(self, name: str) -> Value | None:
        """A parameter or buffer of the called module, labelled; None where it has none."""
        if self.module is None or getattr(self.module, name, None) is None:
            return None
        return self.flow.parameter(f"{self.path}.{name}" if self.path else name)

    def maker(self, weight: Value) -> str:
        """Whose channels a weight makes: the called module, or the owner of a functional weight."""
        return self.path or weight.owner

    def output(self, axes: Mapping[int, Labels]) -> Value:
        """The output tensor with these labelled dimensions, sized by their labels."""
        assert isinstance(self.meta, torch.Tensor), f"{self.name} gives no single tensor"
        return sized(self.meta, axes, self.name)


def sized(meta: torch.Tensor, axes: Mapping[int, Labels], origin: str) -> Value:
    """A value of `meta`'s shape, labelled dimensions resized to their labels."""
    shape = list(meta.shape)
    for dim, labels in axes.items():
        shape[dim] = len(labels)
    return Value(tuple(int(size) for size in shape), dict(axes), origin)


def nested_values(item: Any) -> Iterator[Value]:
    """All values in nested tuples, lists and dicts."""
    if isinstance(item, Value):
        yield item
    elif isinstance(item, list | tuple):
        for part in item:
            yield from nested_values(part)
    elif isinstance(item, dict):
        yield from nested_values(list(item.values()))


def unlabelled(meta: Any, origin: str) -> Any:
    """Outputs whose channels can't be followed, in the structure of `meta`."""
    if isinstance(meta, torch.Tensor):
        return sized(meta, {}, origin)
    if isinstance(meta, list | tuple):
        return tuple(unlabelled(part, origin) for part in meta)
    if isinstance(meta, dict):
        return {key: unlabelled(part, origin) for key, part in meta.items()}
    return meta


@lru_cache(maxsize=1024)
def parameters_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """Names of a Python function's parameters, in order; empty for builtins."""
    try:
        return tuple(inspect.signature(function).parameters)
    except ValueError:
        return ()


def normal_dim(dim: int, ndim: int) -> int:
    """A dimension counted from the front."""
    return dim + ndim if dim < 0 else dim
