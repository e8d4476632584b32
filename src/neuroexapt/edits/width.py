"""Change the number of a group's units: every member tensor, and the modules that hold them."""

import copy
import math
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn

from neuroexapt.edits.carry import trainable
from neuroexapt.edits.rewrite import Ancestry, Rewrite, copied, inherited
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel, Member, Site
from neuroexapt.graph.assemble import Attribute, attribute, referenced
from neuroexapt.graph.dropout import AnyDropout, SharedDropout
from neuroexapt.graph.groups import Layout
from neuroexapt.graph.value import Labels

Fill: TypeAlias = Callable[[Tensor, Member, Layout], Tensor]
"""Sets the newborn positions of a resized tensor; gets it with their models' values in place."""

NumNewborn: TypeAlias = Callable[[Labels], int]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def growable(living: LivingModel, name: str) -> ChannelGroup:
    """The group of that name.

    Raises:
        EditError: if there is none, or it is frozen; with the reason.
    """
    group = living.group(name)
    if group.frozen is not None:
        raise EditError(f"the group {name!r} can't change its width: {group.frozen}")
    return group


def checked_units(group: ChannelGroup, units: tuple[int, ...]) -> Labels:
    """Unit numbers as an array.

    Raises:
        EditError: if there are none, one is out of range, or one comes twice.
    """
    if not units:
        raise EditError(
            f"no units given for the group {group.name!r}; give some of 0..{group.size - 1}"
        )
    for unit in units:
        if not 0 <= unit < group.size:
            raise EditError(
                f"unit {unit} is out of range: the group {group.name!r} has {group.size} units, "
                f"0..{group.size - 1}"
            )
    if len(set(units)) < len(units):
        raise EditError(f"units {units} of the group {group.name!r} name one twice")
    return np.array(units, dtype=np.int64)


def num_added(living: LivingModel, group: ChannelGroup, num_newborn: NumNewborn) -> int:
    """How many parameters resizing a group adds.

    Args:
        living: the model.
        group: the group.
        num_newborn: from the units along a dimension to how many positions are added there.
    """
    sizes: dict[int, tuple[Tensor, list[int]]] = {}
    for member in group.members:
        tensor = attribute(living.graph_module, member.tensor)
        if isinstance(tensor, nn.Parameter):
            _, size = sizes.setdefault(id(tensor), (tensor, list(tensor.shape)))
            size[member.dim] += num_newborn(member.units)
    return sum(math.prod(size) - tensor.numel() for tensor, size in sizes.values())


def resize(
    living: LivingModel,
    group: ChannelGroup,
    layout_of: Callable[[Labels], Layout],
    fill: Fill,
) -> Rewrite:
    """Resize every member of a group.

    Args:
        living: the model.
        group: the group, not frozen.
        layout_of: from the units along a dimension to its new layout.
        fill: sets newborn positions.
    """
    root = living.graph_module
    tensors: dict[int, tuple[str, Tensor]] = {}
    resized: dict[int, Tensor] = {}
    layouts: dict[int, dict[int, Tensor]] = {}
    for member in group.members:
        tensor = attribute(root, member.tensor)
        assert isinstance(tensor, Tensor), f"{member.tensor} is no tensor"
        key = id(tensor)
        tensors.setdefault(key, (member.tensor, tensor))
        layout = layout_of(member.units)
        source = torch.from_numpy(layout.source).to(tensor.device)
        taken = resized.get(key, tensor.detach()).index_select(member.dim, source)
        resized[key] = fill(taken, member, layout)
        layouts.setdefault(key, {})[member.dim] = inherited(layout)
    new = {key: trainable(resized[key], old) for key, (_, old) in tensors.items()}
    graph = copied(root.graph)
    replaced = rebuilt(root, graph, new)
    device = next(iter(resized.values())).device
    replaced |= _following(graph, root, group.masks, layout_of, device)
    ancestry = tuple(
        Ancestry(name, new[key], old, layouts[key]) for key, (name, old) in tensors.items()
    )
    return Rewrite(graph, replaced, ancestry)


def rebuilt(root: nn.Module, graph: fx.Graph, new: dict[int, Tensor]) -> dict[str, Attribute]:
    """Modules and tensors of a graph that hold any of the replaced tensors, with the new ones.

    Args:
        root: the present modules.
        graph: the new graph.
        new: id of the old tensor -> the new one.
    """
    made: dict[int, nn.Module] = {}
    replaced: dict[str, Attribute] = {}
    for path in referenced(graph):
        old = attribute(root, path)
        if isinstance(old, Tensor):
            if id(old) in new:
                replaced[path] = new[id(old)]
            continue
        module = with_tensors(old, new, made)
        if module is not old:
            replaced[path] = module
    return replaced


def with_tensors(module: ModuleT, new: dict[int, Tensor], made: dict[int, nn.Module]) -> ModuleT:
    """A shallow copy of a module with some tensors exchanged; itself where it has none."""
    if id(module) in made:
        return made[id(module)]  # type: ignore[return-value]  # the copy has the module's type
    children = {
        name: with_tensors(child, new, made) if child is not None else None
        for name, child in module._modules.items()
    }
    own = [*module._parameters.values(), *module._buffers.values()]
    touched = any(id(tensor) in new for tensor in own)
    if not touched and all(children[name] is c for name, c in module._modules.items()):
        return module
    twin = copy.copy(module)
    twin._modules = children
    twin._parameters = {
        name: new.get(id(p), p) if p is not None else None  # type: ignore[misc]  # stays a Parameter
        for name, p in module._parameters.items()
    }
    twin._buffers = {
        name: new.get(id(b), b) if b is not None else None for name, b in module._buffers.items()
    }
    _resize_attributes(twin, module)
    made[id(module)] = twin
    return twin


def _resize_attributes(twin: nn.Module, old: nn.Module) -> None:
    """Sizes that a module keeps as numbers follow its tensors."""
    if isinstance(twin, nn.Linear):
        twin.out_features, twin.in_features = twin.weight.shape
    elif isinstance(twin, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        assert isinstance(old, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        twin.out_channels = twin.weight.shape[0]
        if old.groups > 1:
            twin.groups = old.groups * twin.out_channels // old.out_channels
        twin.in_channels = twin.weight.shape[1] * twin.groups
    elif isinstance(twin, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        assert isinstance(old, nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d)
        twin.in_channels = twin.weight.shape[0]
        if old.groups > 1:
            twin.groups = old.groups * twin.in_channels // old.in_channels
        twin.out_channels = twin.weight.shape[1] * twin.groups
    elif isinstance(twin, nn.Embedding):
        twin.embedding_dim = twin.weight.shape[1]
    elif isinstance(twin, nn.PReLU):
        twin.num_parameters = twin.weight.shape[0]
    elif isinstance(twin, nn.modules.batchnorm._NormBase):
        twin.num_features = next(t.shape[0] for t in _vectors(twin))
    elif isinstance(twin, nn.GroupNorm):
        channels = twin.weight.shape[0]
        assert isinstance(old, nn.GroupNorm)
        twin.num_groups = old.num_groups * channels // old.num_channels
        twin.num_channels = channels


def _vectors(module: nn.Module) -> list[Tensor]:
    tensors = [*module._parameters.values(), *module._buffers.values()]
    return [tensor for tensor in tensors if tensor is not None and tensor.ndim == 1]


def _following(
    graph: fx.Graph,
    root: nn.Module,
    sites: tuple[Site, ...],
    layout_of: Callable[[Labels], Layout],
    device: torch.device,
) -> dict[str, Attribute]:
    """Layers without tensors that the group passes: their copies follow its size.

    Dropouts hand newborn units their models' masks; norms without scale count their channels.
    """
    nodes = {node.name: node for node in graph.nodes}
    replaced: dict[str, Attribute] = {}
    for site in sites:
        node = nodes[site.node]
        module = root.get_submodule(str(node.target))
        source = torch.from_numpy(layout_of(site.units).source).to(device)
        made: nn.Module
        if isinstance(module, nn.GroupNorm | nn.modules.batchnorm._NormBase):
            made = _recounted(module, len(source))
        else:
            assert isinstance(module, SharedDropout | AnyDropout)
            made = _sharing(module, site, source)
            made.train(module.training)
        node.target = f"{node.name}_following"
        replaced[node.target] = made
    return replaced


def _recounted(
    module: nn.GroupNorm | nn.modules.batchnorm._NormBase, channels: int
) -> nn.GroupNorm | nn.modules.batchnorm._NormBase:
    """A norm without tensors for another number of channels."""
    made = copy.copy(module)
    if isinstance(made, nn.GroupNorm):
        made.num_groups = made.num_groups * channels // made.num_channels
        made.num_channels = channels
    else:
        made.num_features = channels
    return made


def _sharing(module: SharedDropout | AnyDropout, site: Site, source: Tensor) -> SharedDropout:
    """A dropout whose masks follow `source` along the site's dimension, besides any others."""
    if not isinstance(module, SharedDropout):
        return SharedDropout(module, site.dim, len(site.units), source)
    if module.dim == site.dim:
        return SharedDropout(module.base, module.dim, module.size, module.source[source])
    base = _sharing(module.base, site, source)
    return SharedDropout(base, module.dim, module.size, module.source)
