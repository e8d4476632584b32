"""Put a graph and its modules together as a new `GraphModule` that shares what didn't change."""

import itertools
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import fx, nn

from neuroexapt.graph.modes import NO_OWN, OwnModes, moved
from neuroexapt.graph.state import tables

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


def assemble(
    root: nn.Module,
    graph: fx.Graph,
    replaced: Mapping[str, Attribute],
    other_names: Mapping[str, str] | None = None,
    modes: OwnModes | None = None,
) -> fx.GraphModule:
    """A new module tree for `graph`: attributes from `replaced`, else shared with `root`.

    Containers are made anew, with the mode and the persistence of buffers that they have in `root`.

    Args:
        root: what the graph was made for, or the graph module that it continues.
        graph: the graph.
        replaced: path -> module or tensor that takes the place of `root`'s, or is new.
        other_names: see `aliases`; those of `root` by default.
        modes: see `modes.own_modes`; those of `root` by default.
    """
    attributes: dict[str, Attribute] = {}
    for path in referenced(graph):
        attributes[path] = replaced[path] if path in replaced else attribute(root, path)
    passing = [path for path in attributes if not _persistent(root, path)]
    made = fx.GraphModule(attributes, graph, type(root).__name__)
    made.training = root.training
    if isinstance(root, fx.GraphModule):
        other_names = root.meta.get("aliases") if other_names is None else other_names
        if modes is None:
            modes = moved(root.meta.get("modes", NO_OWN), _moves(root.graph, graph))
    made.meta["aliases"] = dict(other_names or {})
    made.meta["modes"] = NO_OWN if modes is None else modes
    for alias, path in made.meta["aliases"].items():
        if path in attributes:
            _assign(made, alias, attributes[path])
    if isinstance(root, fx.GraphModule):
        _keep_additions(root, made)
    for path in attributes:
        _restore_modes_above(root, made, path)
    _order_like(root, made)
    for path in passing:
        owner, _, name = path.rpartition(".")
        target = made.get_submodule(owner)
        if name in target._buffers:
            target._non_persistent_buffers_set.add(name)
    return made


def _keep_additions(root: fx.GraphModule, made: fx.GraphModule) -> None:
    """What a user has added to a model, which its graph doesn't use, stays with it."""
    used = (*referenced(root.graph), *root.meta.get("aliases", {}))
    known = {path.partition(".")[0] for path in used}
    for table, kept in zip(tables(root), tables(made), strict=True):
        kept.update({n: item for n, item in table.items() if n not in known and n not in kept})
    passing = root._non_persistent_buffers_set - known
    made._non_persistent_buffers_set.update(passing & made._buffers.keys())


def _moves(old: fx.Graph, new: fx.Graph) -> dict[str, str]:
    """Paths of modules whose calls go to others now."""
    before = {node.name: str(node.target) for node in old.nodes if node.op == "call_module"}
    now = {node.name: str(node.target) for node in new.nodes if node.op == "call_module"}
    return {before[n]: path for n, path in now.items() if before.get(n, path) != path}


def _persistent(root: nn.Module, path: str) -> bool:
    """Whether a state dict of `root` holds the buffer at `path`."""
    owner, _, name = path.rpartition(".")
    try:
        module = root.get_submodule(owner)
    except AttributeError:
        return False
    return name in module._buffers and name not in module._non_persistent_buffers_set


def _restore_modes_above(root: nn.Module, made: fx.GraphModule, path: str) -> None:
    source: object = root
    target: nn.Module = made
    for part in path.split(".")[:-1]:
        source, target = getattr(source, part, None), target.get_submodule(part)
        if source is not target:
            target.training = (source if isinstance(source, nn.Module) else root).training


def _order_like(root: nn.Module, made: nn.Module) -> None:
    """Put parts in the order of `root`, new ones last: by it optimisers know their parameters."""
    for table, known in zip(tables(made), tables(root), strict=True):
        names = dict.fromkeys((*(name for name in known if name in table), *table))
        items = {name: table[name] for name in names}
        table.clear()
        table.update(items)
    for name, child in made._modules.items():
        source = root._modules.get(name)
        if type(child) is nn.Module and source is not None and source is not child:
            _order_like(source, child)


def _assign(module: nn.Module, path: str, value: Attribute) -> None:
    """Set a module or tensor at a dotted path, making containers on the way."""
    *parts, name = path.split(".")
    for part in parts:
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
    if isinstance(value, torch.Tensor) and not isinstance(value, nn.Parameter):
        module.register_buffer(name, value)
    else:
        setattr(module, name, value)


def aliases(model: nn.Module, graph: fx.Graph) -> dict[str, str]:
    """Other names of the modules and tensors that a graph uses: name -> the path in the graph."""
    paths = referenced(graph)
    known = {id(attribute(model, path)): path for path in reversed(paths) if _has(model, path)}
    named: Iterable[tuple[str, Attribute]] = itertools.chain(
        model.named_modules(remove_duplicate=False),
        model.named_parameters(remove_duplicate=False),
        model.named_buffers(remove_duplicate=False),
    )
    found: dict[str, str] = {}
    taken = set(paths)
    for name, item in named:
        parts = name.split(".")
        inside = any(".".join(parts[:depth]) in taken for depth in range(1, len(parts) + 1))
        if id(item) in known and not inside:
            found[name] = known[id(item)]
            taken.add(name)
    return found


def _has(model: nn.Module, path: str) -> bool:
    owner, _, name = path.rpartition(".")
    return hasattr(model.get_submodule(owner), name)
