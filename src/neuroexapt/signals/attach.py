"""Attach many edits to one model at once, to read the gradients that each would have."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, fx, nn

from neuroexapt.edits import Edit, Split, Widen
from neuroexapt.edits.addition import Addition
from neuroexapt.edits.base import Context
from neuroexapt.edits.insert import Insertion
from neuroexapt.edits.rewrite import Ancestry
from neuroexapt.edits.width import Arrangement, Resizing, added, resize_all
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel, Role
from neuroexapt.graph.assemble import assemble, attribute
from neuroexapt.graph.value import Labels

Read: TypeAlias = Callable[[dict[str, Tensor]], Tensor]
"""From gradients by the tensor's path to those of an edit's own degrees of freedom, flat."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One of the edits that are attached.

    Attributes:
        number: of the edit.
        edit: the edit.
        read: picks the gradients of its degrees of freedom.
        added: path of a tensor -> how many numbers the edit alone would add to it.
    """

    number: int
    edit: Edit
    read: Read
    added: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Attached:
    """A model with many edits attached.

    Attributes:
        model: the graph module.
        reads: for each edit how its gradients are read.
        wanted: paths of the tensors whose gradients are needed.
    """

    model: fx.GraphModule
    reads: list[Reading]
    wanted: tuple[str, ...]


Numbered: TypeAlias = tuple[int, Edit]
Attach: TypeAlias = Callable[
    [LivingModel, Sequence[Numbered], int, list[tuple[Edit, str]]], Attached
]


def rounds(numbered: Sequence[Numbered]) -> Iterator[tuple[Attach, list[Numbered]]]:
    """Edits that can be attached together."""
    resizing: list[dict[str, Numbered]] = []
    additions: list[Numbered] = []
    for number, edit in numbered:
        if isinstance(edit, Addition):
            additions.append((number, edit))
        elif isinstance(edit, Split | Widen):
            free = next((taken for taken in resizing if edit.group not in taken), None)
            if free is None:
                resizing.append(free := {})
            free[edit.group] = number, edit
        else:
            raise ValueError(
                f"{edit!r} has no growth gain; give edits that widen, split or add something"
            )
    yield from ((_attach_resizing, list(taken.values())) for taken in resizing)
    if additions:
        yield _attach_additions, additions


def _attach_additions(
    living: LivingModel,
    numbered: Sequence[Numbered],
    seed: int,
    refused: list[tuple[Edit, str]],
) -> Attached:
    insertion = Insertion.into(living)
    reads: list[Reading] = []
    wanted: list[str] = []
    for number, edit in numbered:
        assert isinstance(edit, Addition), "sorted by kind"
        insertion.prefix = f"gain{number}"
        num_before = len(insertion.modules)
        try:
            edit.insert(insertion, _context(seed, number))
        except EditError as error:
            refused.append((edit, str(error)))
            continue
        sizes = {
            f"{path}.{name}": parameter.numel()
            for path, module in _last(insertion.modules, len(insertion.modules) - num_before)
            for name, parameter in module.named_parameters()
        }
        wanted += sizes
        reads.append(Reading(number, edit, _whole(list(sizes)), sizes))
    root = living.graph_module
    return Attached(assemble(root, insertion.graph, insertion.parts()), reads, tuple(wanted))


def _attach_resizing(
    living: LivingModel,
    numbered: Sequence[Numbered],
    seed: int,
    refused: list[tuple[Edit, str]],
) -> Attached:
    resizings: list[tuple[int, Edit, Resizing]] = []
    for number, edit in numbered:
        assert isinstance(edit, Split | Widen), "sorted by kind"
        try:
            resizings.append((number, edit, edit.resizing(living, _context(seed, number))))
        except EditError as error:
            refused.append((edit, str(error)))
    if not resizings:
        return Attached(living.graph_module, [], ())
    rewrite, arranged = resize_all(living, [resizing for *_, resizing in resizings])
    model = assemble(living.graph_module, rewrite.graph, rewrite.replaced)
    items = {item.name: item for item in rewrite.ancestry}
    reads: list[Reading] = []
    wanted: dict[str, None] = {}
    for index, (number, edit, resizing) in enumerate(resizings):
        role = Role.CONSUMER if isinstance(edit, Widen) else Role.PRODUCER
        piece = _newborns if isinstance(edit, Widen) else _differences
        # A tied tensor is listed under its first path only; what is frozen never follows.
        members = [
            member
            for member in resizing.group.members
            if member.role is role
            and member.tensor in items
            and attribute(living.graph_module, member.tensor).requires_grad
        ]
        if not members:
            which = "outgoing" if role is Role.CONSUMER else "incoming"
            refused.append(
                (edit, f"none of the {which} weights of {resizing.group.name!r} is trained")
            )
            continue
        wanted |= dict.fromkeys(member.tensor for member in members)
        pieces = [piece(items[m.tensor], m.dim, arranged[m.tensor, m.dim], index) for m in members]
        sizes = added(living, resizing.group, _num_newborn(resizing))
        reads.append(Reading(number, edit, _joined(pieces), sizes))
    return Attached(model, reads, tuple(wanted))


def _last(modules: dict[str, nn.Module], count: int) -> list[tuple[str, nn.Module]]:
    """The modules that were added last, in their order."""
    return list(islice(reversed(modules.items()), count))[::-1]


def _num_newborn(resizing: Resizing) -> Callable[[Labels], int]:
    return lambda units: int((resizing.layout_of(units).newborn >= 0).sum())


def _context(seed: int, number: int) -> Context:
    return Context(torch.Generator().manual_seed(seed * 1_000_003 + number))


def _whole(names: Sequence[str]) -> Read:
    return lambda gradients: torch.cat([gradients[name].flatten() for name in names])


def _joined(pieces: Sequence[Read]) -> Read:
    return lambda gradients: torch.cat([piece(gradients) for piece in pieces])


def _inherited(item: Ancestry, gradient: Tensor, dim: int) -> Tensor:
    """A gradient without what is newborn along other dimensions than one."""
    for other, source in item.layouts.items():
        if other != dim:
            kept = torch.nonzero(source >= 0).flatten().to(gradient.device)
            gradient = gradient.index_select(other, kept)
    return gradient


def _newborns(item: Ancestry, dim: int, arranged: Arrangement, index: int) -> Read:
    """Gradients of what reads newborns."""
    where = torch.from_numpy(np.flatnonzero(arranged.origin == -1 - index))

    def read(gradients: dict[str, Tensor]) -> Tensor:
        gradient = _inherited(item, gradients[item.name], dim)
        return gradient.index_select(dim, where.to(gradient.device)).flatten()

    return read


def _differences(item: Ancestry, dim: int, arranged: Arrangement, index: int) -> Read:
    """Gradients of what twins differ in from their parents, in what makes them."""
    twins = np.flatnonzero(arranged.origin == -1 - index)
    place = {int(origin): i for i, origin in enumerate(arranged.origin) if origin >= 0}
    parents = [place[int(arranged.model[twin])] for twin in twins]
    first, second = torch.tensor(parents), torch.from_numpy(twins)

    def read(gradients: dict[str, Tensor]) -> Tensor:
        gradient = _inherited(item, gradients[item.name], dim)
        ours, theirs = (gradient.index_select(dim, i.to(gradient.device)) for i in (second, first))
        return (ours - theirs).flatten() / math.sqrt(2)

    return read
