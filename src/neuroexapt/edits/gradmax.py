"""Incoming weights of newborns from the gradient: what would they learn from most?"""

import copy
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.graph import ChannelGroup, LivingModel, Role
from neuroexapt.graph.assemble import assemble, attribute

ROUNDS = 3
SMALL = 1e-3
"""Length of newborns' outgoing weights while the gradient in their incoming ones is taken: so small
that the network still is as it was, which the gradient of <G(V), outgoing> is meant for."""

Part: TypeAlias = tuple[str, Tensor, int, Tensor]
"""A resized tensor's name and itself, the dimension of its newborns, and their positions."""


def incoming_from_gradient(
    living: LivingModel,
    rewrite: Rewrite,
    group: ChannelGroup,
    loss: Callable[[nn.Module], Tensor],
) -> None:
    """Turn newborns' incoming weights towards the largest outgoing gradient, in place.

    With incoming weights V and outgoing weights zero, the loss falls at the rate of the squared
    outgoing gradient G(V). Alternating V -> G(V) -> V' = the gradient of <G(V), outgoing> in V is a
    power iteration towards its leading singular vectors; newborns are kept orthogonal. It runs
    through the real network, so norms and activations in between need no special case.

    Args:
        living: the model before.
        rewrite: the widening; its newborn producer weights are set.
        group: the group before.
        loss: from a model to its loss; called on copies.

    Source: GradMax, Evci et al. 2022, arXiv:2201.05125.
    """
    model = copy.deepcopy(assemble(living.graph_module, rewrite.graph, rewrite.replaced))
    producers = _newborn_weights(rewrite, group, Role.PRODUCER)
    consumers = _newborn_weights(rewrite, group, Role.CONSUMER)
    if not producers or not consumers:
        return
    sizes = [_take(new, dim, where).square().mean().sqrt() for _, new, dim, where in producers]
    for _ in range(ROUNDS):
        outgoing = _gradients(model, consumers, loss)
        if not any(bool(part.any()) for part in outgoing):
            return  # the loss doesn't see them: they stay as they are
        _place(model, consumers, [SMALL * part for part in _orthogonal(outgoing, consumers)])
        incoming = _gradients(model, producers, loss)
        turned = _orthogonal(incoming, producers)
        scaled = [
            part * size / part.square().mean().sqrt().clamp_min(1e-30)
            for part, size in zip(turned, sizes, strict=True)
        ]
        _place(model, producers, scaled)
        _place(model, consumers, [torch.zeros_like(part) for part in outgoing])
    for name, new, dim, where in producers:
        learnt = _take(_tensor(model, name), dim, where)
        with torch.no_grad():
            new.index_copy_(dim, where, learnt)


def _newborn_weights(rewrite: Rewrite, group: ChannelGroup, role: Role) -> list[Part]:
    """Tensors of a role with their dimension and newborn positions."""
    found = []
    by_name = {item.name: item for item in rewrite.ancestry}
    for member in group.members:
        item = by_name.get(member.tensor)
        if member.role is not role or item is None or item.new is None or item.new.ndim < 2:
            continue
        where = torch.nonzero(item.layouts[member.dim] < 0).flatten().to(item.new.device)
        found.append((item.name, item.new, member.dim, where))
    return found


def _take(tensor: Tensor, dim: int, where: Tensor) -> Tensor:
    return tensor.detach().index_select(dim, where)


def _tensor(model: nn.Module, name: str) -> Tensor:
    tensor = attribute(model, name)
    assert isinstance(tensor, Tensor)
    return tensor


def _gradients(
    model: nn.Module, parts: list[Part], loss: Callable[[nn.Module], Tensor]
) -> list[Tensor]:
    """Gradients of the loss in the newborn positions."""
    tensors = [_tensor(model, name).requires_grad_() for name, *_ in parts]
    with torch.enable_grad():
        gradients = torch.autograd.grad(
            loss(model), tensors, allow_unused=True, materialize_grads=True
        )
    return [
        gradient.index_select(dim, where)
        for gradient, (_, _, dim, where) in zip(gradients, parts, strict=True)
    ]


def _place(model: nn.Module, parts: list[Part], values: list[Tensor]) -> None:
    with torch.no_grad():
        for (name, _, dim, where), value in zip(parts, values, strict=True):
            _tensor(model, name).index_copy_(dim, where, value)


def _orthogonal(values: list[Tensor], parts: list[Part]) -> list[Tensor]:
    """Each tensor with its newborn slices made orthonormal, as far as there is room."""
    return [_orthonormal(value, dim) for value, (_, _, dim, _) in zip(values, parts, strict=True)]


def _orthonormal(values: Tensor, dim: int) -> Tensor:
    """Slices along `dim` as an orthonormal set; those beyond the room for one are only scaled."""
    moved = values.movedim(dim, 0)
    flat = moved.reshape(moved.shape[0], -1)
    basis, triangle = torch.linalg.qr(flat.T)
    # A basis is one up to signs, but rectifiers tell them apart.
    basis = basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0).to(basis)
    room = basis.shape[1]
    norms = flat[room:].norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    rows = torch.cat([basis.T, flat[room:] / norms])
    return rows.reshape(moved.shape).movedim(0, dim)
