"""The flow that learns: every parameter dimension gets labels, and rules say which are one."""

from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import nn

from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.flow import Role
from neuroexapt.graph.value import Labels, Value


@dataclass(frozen=True, eq=False)
class Space:
    """The labels of one dimension of one tensor.

    Attributes:
        tensor: first path of the tensor.
        dim: the dimension.
        labels: one fresh label a position.
    """

    tensor: str
    dim: int
    labels: Labels


@dataclass
class Recorder:
    """Collects what rules report; see `Flow`."""

    root: nn.Module
    spaces: list[Space] = field(default_factory=list)
    equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    frozen: list[tuple[Labels, str]] = field(default_factory=list)
    marks: list[tuple[Labels, Role, str]] = field(default_factory=list)
    masks: list[tuple[str, int, Labels]] = field(default_factory=list)
    size: int = 0
    known: dict[int, Value] = field(default_factory=dict)
    unmade: dict[str, Labels] = field(default_factory=dict)
    keep: list[torch.Tensor] = field(default_factory=list)

    def parameter(self, path: str) -> Value:
        """The tensor at `path`, labelled; tied tensors (one object, two paths) are one."""
        tensor = cast(torch.Tensor, attribute(self.root, path))
        known = self.known.get(id(tensor))
        if known is None:
            axes = {}
            for dim in range(min(tensor.ndim, 2) if _is_kernel(tensor) else tensor.ndim):
                axes[dim] = self._fresh(tensor.shape[dim])
                self.spaces.append(Space(path, dim, axes[dim]))
            origin = f"the parameter {path!r}"
            known = Value(tuple(tensor.shape), axes, origin, weight=True, owner=maker(path))
            self.known[id(tensor)] = known
            self.keep.append(tensor)
        return known

    def unify(self, first: Labels, second: Labels, where: str) -> None:
        """Note that the two are the same, or freeze both where their numbers differ."""
        if len(first) == len(second):
            if first is not second:
                self.equal.append((first, second))
            return
        for labels in (first, second):
            self.freeze(labels, f"{where} doesn't fit {len(first)} channels to {len(second)}")

    def freeze(self, labels: Labels, reason: str) -> None:
        """Note that these channels must not change their number."""
        self.frozen.append((labels, reason))

    def mark(self, labels: Labels, role: Role, name: str) -> None:
        """Note the role of a parameter's dimension, and who gives it."""
        self.marks.append((labels, role, name))

    def mask(self, key: str, dim: int, labels: Labels) -> None:
        """Note what depends on channels without a tensor that shows it; a leaf's parts can't."""
        if "." in key:
            self.freeze(labels, f"`{key}` is inside a leaf and can't follow it")
        self.masks.append((key, dim, labels))

    def anonymous(self, key: str, size: int) -> Labels:
        """Labels of channels that no parameter makes."""
        if key not in self.unmade:
            self.unmade[key] = self._fresh(size)
        return self.unmade[key]

    def _fresh(self, count: int) -> Labels:
        labels = np.arange(self.size, self.size + count, dtype=np.int64)
        self.size += count
        return labels


def maker(path: str) -> str:
    """Who makes channels by the tensor at `path`: its module if that is its weight, else itself."""
    owner, _, name = path.rpartition(".")
    return owner if owner and name == "weight" else path


def _is_kernel(tensor: torch.Tensor) -> bool:
    """A convolution's weight: beyond its first two dimensions are positions, not channels.

    What has one dimension that matters is a bias or a scale, spelled out to be broadcast.
    """
    is_wide = sum(size > 1 for size in tensor.shape) > 1
    return tensor.ndim > 3 and is_wide and isinstance(tensor, nn.Parameter)
