"""Change the number of a group's units: every member tensor, and the modules that hold them."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor, fx, nn

from neuroexapt.edits.carry import trainable
from neuroexapt.edits.rewrite import Ancestry, Rewrite, copied
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel, Member, Role, Site
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


def added(living: LivingModel, group: ChannelGroup, num_newborn: NumNewborn) -> dict[str, int]:
    """How many numbers resizing a group adds to each parameter, by its first path in the group.

    Args:
        living: the model.
        group: the group.
        num_newborn: from the units along a dimension to how many positions are added there.
    """
    sizes: dict[int, tuple[str, list[int]]] = {}
    for member in group.members:
        tensor = attribute(living.graph_module, member.tensor)
        if isinstance(tensor, nn.Parameter):
            _, size = sizes.setdefault(id(tensor), (member.tensor, list(tensor.shape)))
            size[member.dim] += num_newborn(member.units)
    root = living.graph_module
    return {
        path: math.prod(size) - root.get_parameter(path).numel() for path, size in sizes.values()
    }


@dataclass(frozen=True, eq=False)
class Resizing:
    """How one group changes its size.

    Attributes:
        group: the group, not frozen.
        layout_of: from the units along a dimension to its new layout.
        fill: sets newborn positions.
    """

    group: ChannelGroup
    layout_of: Callable[[Labels], Layout]
    fill: Fill


@dataclass(frozen=True, eq=False)
class Arrangement:
    """What the positions of one tensor's dimension hold after some resizings.

    Attributes:
        origin: for each position the old one that it continues; -1 - k for a newborn of the k-th
            resizing.
        model: for each position the old one that it continues or is modelled on.
    """

    origin: Labels
    model: Labels

    @classmethod
    def of(cls, size: int) -> "Arrangement":
        """Before any resizing."""
        return cls(np.arange(size), np.arange(size))

    def units(self, before: Labels) -> Labels:
        """Units along the dimension as it is now, given those along the old one."""
        return np.where(self.origin >= 0, before[self.origin], -1)

    def then(self, layout: Layout, number: int) -> "Arrangement":
        """After one more resizing, whose layout refers to the present positions."""
        origin = np.where(layout.newborn < 0, self.origin[layout.source], -1 - number)
        return Arrangement(origin, self.model[layout.source])

    @property
    def inherited(self) -> Labels:
        """Old position of each new one; -1 for newborn ones."""
        return np.maximum(self.origin, -1)


def resize(living: LivingModel, resizing: Resizing) -> Rewrite:
    """Resize every member of a group."""
    return resize_all(living, [resizing])[0]


def resize_all(
    living: LivingModel, resizings: Sequence[Resizing]
) -> tuple[Rewrite, Mapping[tuple[str, int], Arrangement]]:
    """Resize several groups, each once.

    Where they meet in a tensor, what reads newborn units is filled last: zero outgoing weights stay
    zero towards other groups' newborns.

    Returns:
        The rewrite, and what each resized dimension holds, by the tensor's path and dimension.
    """
    root = living.graph_module
    tensors: dict[int, tuple[str, Tensor]] = {}
    resized: dict[int, Tensor] = {}
    arranged: dict[tuple[int, int], Arrangement] = {}
    members = [(k, member) for k, item in enumerate(resizings) for member in item.group.members]
    if len(resizings) > 1:
        members.sort(key=lambda pair: pair[1].role is Role.CONSUMER)
    for number, member in members:
        tensor = attribute(root, member.tensor)
        assert isinstance(tensor, Tensor), f"{member.tensor} is no tensor"
        key = id(tensor)
        tensors.setdefault(key, (member.tensor, tensor))
        before = arranged.get((key, member.dim), Arrangement.of(tensor.shape[member.dim]))
        layout = resizings[number].layout_of(before.units(member.units))
        arranged[key, member.dim] = before.then(layout, number)
        source = torch.from_numpy(layout.source).to(tensor.device)
        taken = resized.get(key, tensor.detach()).index_select(member.dim, source)
        resized[key] = resizings[number].fill(taken, member, layout)
    new = {key: trainable(resized[key], old) for key, (_, old) in tensors.items()}
    graph = copied(root.graph)
    replaced = rebuilt(root, graph, new)
    device = next(iter(resized.values())).device
    nodes = {node.name: node for node in graph.nodes}
    passed: dict[tuple[str, int], Arrangement] = {}
    for number, item in enumerate(resizings):
        _follow(nodes, root, replaced, item, number, passed, device)
    layouts: dict[int, dict[int, Tensor]] = {key: {} for key in tensors}
    for (key, dim), arrangement in arranged.items():
        layouts[key][dim] = torch.from_numpy(arrangement.inherited)
    ancestry = tuple(
        Ancestry(name, new[key], old, layouts[key]) for key, (name, old) in tensors.items()
    )
    named = {(tensors[key][0], dim): item for (key, dim), item in arranged.items()}
    return Rewrite(graph, replaced, ancestry), named


TABLES = frozenset(vars(nn.Module()))
"""What every module has: its parts, which are exchanged one by one, its hooks and its mode."""


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
    for twin in made.values():
        _follow_attributes(twin, new, made)
    return replaced


def _follow_attributes(
    twin: nn.Module, new: Mapping[int, Tensor], made: Mapping[int, nn.Module]
) -> None:
    """Let what a module keeps beside its parts speak of the new ones: methods, lists, and such."""
    for name, value in list(vars(twin).items()):
        if name not in TABLES:
            vars(twin)[name] = _following(value, new, made)


def _following(value: Any, new: Mapping[int, Tensor], made: Mapping[int, nn.Module]) -> Any:
    """A value with modules and tensors exchanged in it; itself where there is none."""
    if isinstance(value, Tensor):
        return new.get(id(value), value)
    if isinstance(value, nn.Module):
        return made.get(id(value), value)
    if isinstance(value, MethodType):
        owner = _following(value.__self__, new, made)
        return value if owner is value.__self__ else MethodType(value.__func__, owner)
    if isinstance(value, partial):
        parts = (value.func, *value.args, *value.keywords.values())
        function, *given = (_following(part, new, made) for part in parts)
        if all(a is b for a, b in zip(parts, (function, *given), strict=True)):
            return value
        count = len(value.args)
        return partial(
            function, *given[:count], **dict(zip(value.keywords, given[count:], strict=True))
        )
    if type(value) in (list, tuple):
        items = [_following(item, new, made) for item in value]
        same = all(a is b for a, b in zip(value, items, strict=True))
        return value if same else type(value)(items)
    if type(value) is dict:
        found = {key: _following(item, new, made) for key, item in value.items()}
        return value if all(found[key] is value[key] for key in value) else found
    return value


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


def _follow(
    nodes: Mapping[str, fx.Node],
    root: nn.Module,
    replaced: dict[str, Attribute],
    resizing: Resizing,
    number: int,
    passed: dict[tuple[str, int], Arrangement],
    device: torch.device,
) -> None:
    """Layers without tensors that the group passes: their copies follow its size.

    Dropouts hand newborn units their models' masks; norms without scale count their channels. Other
    groups may have passed them before, beside this one.
    """
    for site in resizing.group.masks:
        node = nodes[site.node]
        module = replaced.get(str(node.target)) or root.get_submodule(str(node.target))
        before = passed.get((site.node, site.dim), Arrangement.of(len(site.units)))
        layout = resizing.layout_of(before.units(site.units))
        passed[site.node, site.dim] = before.then(layout, number)
        source = torch.from_numpy(layout.source).to(device)
        made: nn.Module
        if isinstance(module, nn.GroupNorm | nn.modules.batchnorm._NormBase):
            made = _recounted(module, len(source))
        else:
            assert isinstance(module, SharedDropout | AnyDropout)
            made = _sharing(module, site, source)
            made.train(module.training)
        node.target = f"{node.name}_following"
        replaced[node.target] = made


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
