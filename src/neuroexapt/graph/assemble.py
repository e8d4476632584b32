"""Put a graph and its modules together as a new `GraphModule` that shares what didn't change."""

from collections.abc import Mapping
from typing import TypeAlias

import torch
from torch import fx, nn

Attribute: TypeAlias = nn.Module | torch.Tensor


def attribute(root: nn.Module, path: str) -> Attribute:
    """The module, parameter or buffer at a dotted path."""
    found: object = root
    for part in path.split("."):
        found = getattr(found, part)
    assert isinstance(found, nn.Module | torch.Tensor), f"{path} is a {type(found).__name__}"
    return found


def referenced(graph: fx.Graph) -> list[str]:
    """Paths of modules and tensors that a graph uses, in order, each once."""
    paths = [str(n.target) for n in graph.nodes if n.op in ("get_attr", "call_module")]
    return list(dict.fromkeys(paths))


def assemble(root: nn.Module, graph: fx.Graph, replaced: Mapping[str, Attribute]) -> fx.GraphModule:
    """A new module tree for `graph`: attributes from `replaced`, else shared with `root`."""
    attributes: dict[str, Attribute] = {}
    for path in referenced(graph):
        attributes[path] = replaced[path] if path in replaced else attribute(root, path)
    made = fx.GraphModule(attributes, graph)
    made.train(root.training)
    for path in attributes:
        _restore_mode(root, made, path)
    return made


def _restore_mode(root: nn.Module, made: fx.GraphModule, path: str) -> None:
    """Containers are made anew: give each the mode and the persistence of its model."""
    owner, _, name = path.rpartition(".")
    source: object = root
    for part in owner.split(".") if owner else ():
        source = getattr(source, part, None)
    target = made.get_submodule(owner)
    if isinstance(source, nn.Module) and source is not target:
        target.training = source.training
        if name in source._non_persistent_buffers_set and name in target._buffers:
            target._non_persistent_buffers_set.add(name)


def preserve_modes(module: nn.Module) -> dict[nn.Module, bool]:
    """The mode of every module, to be restored with `restore_modes`."""
    return {part: part.training for part in module.modules()}


def restore_modes(modes: Mapping[nn.Module, bool]) -> None:
    """Set every module's mode as it was."""
    for part, training in modes.items():
        part.training = training
