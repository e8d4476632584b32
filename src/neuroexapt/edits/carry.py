"""Carry optimisers and pending gradients across an edit: what is inherited goes on."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroexapt.edits.rewrite import Ancestry
from neuroexapt.errors import EditError


def check_optimizers(optimizers: Sequence[Optimizer], model: nn.Module) -> None:
    """Refuse optimisers that have nothing to do with the model.

    Raises:
        EditError: if an optimiser holds none of the model's parameters, or is LBFGS.
    """
    own = {id(parameter) for parameter in model.parameters()}
    for optimizer in optimizers:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise EditError(
                "LBFGS keeps all parameters' history in one vector, which no edit can carry; edit "
                "without it, and make a new one"
            )
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if not held & own:
            raise EditError(
                f"the {type(optimizer).__name__} holds none of this model's parameters; make it "
                "from the living model's parameters(), and pass it to every edit"
            )


def carry_optimizer(optimizer: Optimizer, ancestry: Iterable[Ancestry]) -> None:
    """Exchange parameters in an optimiser for what an edit made of them.

    Momentum, Adam moments and whatever else has the parameter's shape go on for inherited positions
    and are zero for newborn ones; scalars such as step counts stay. New parameters join the group
    of the existing parameter that they resemble. Parameter groups, and with them schedulers and
    gradient scalers, stay the same objects.

    Args:
        optimizer: any `torch.optim.Optimizer`; changed in place.
        ancestry: from `Change.ancestry`.

    Warns:
        UserWarning: if state has another shape than its parameter (factored optimisers); it is
            reset.
    """
    if (message := exchanged(optimizer, ancestry)) is not None:
        warnings.warn(message, stacklevel=2)


def exchanged(optimizer: Optimizer, ancestry: Iterable[Ancestry]) -> str | None:
    """Carry an optimiser; gives what there is to warn of."""
    reset: list[str] = []
    for item in ancestry:
        if not isinstance(item.new, nn.Parameter):
            continue
        if isinstance(item.old, nn.Parameter):
            _exchange(optimizer, item.old, item, reset)
        elif item.old is None:
            _join(optimizer, item)
    if not reset:
        return None
    return (
        f"{type(optimizer).__name__} keeps state of another shape than its parameter; reset for "
        + ", ".join(reset)
    )


def carry_gradients(ancestry: Iterable[Ancestry]) -> None:
    """Give resized parameters the gradients that are pending on those which they continue.

    As with momentum, inherited positions keep theirs and newborn ones get zero: where a unit has
    divided, it keeps the gradient of before and its twin has none, though a backward pass after
    the edit would give to both. A parameter without a pending gradient passes none on, and
    entirely new ones have none.

    Args:
        ancestry: of an edit; the new parameters are changed in place.
    """
    for item in ancestry:
        if not isinstance(item.old, nn.Parameter) or item.old.grad is None:
            continue
        pending = item.old.grad.detach()
        if pending.is_sparse:
            dense = item.inherit(pending.to_dense())
            item.new.grad = dense.to_sparse(pending.sparse_dim())
        else:
            item.new.grad = item.inherit(pending)


def untrained(optimizers: Sequence[Optimizer], ancestry: Iterable[Ancestry]) -> str | None:
    """A warning of new parameters that no optimiser holds, as where those around are frozen."""
    held = {id(p) for o in optimizers for group in o.param_groups for p in group["params"]}
    new = [item.name for item in ancestry if item.old is None and id(item.new) not in held]
    if not new or not optimizers:
        return None
    return (
        f"no given optimiser trains {', '.join(new)}: it holds none of the parameters that they "
        "resemble; add them with add_param_group"
    )


def _exchange(optimizer: Optimizer, old: Tensor, item: Ancestry, reset: list[str]) -> None:
    for group in optimizer.param_groups:
        for position, parameter in enumerate(group["params"]):
            if parameter is old:
                group["params"][position] = item.new
    if old not in optimizer.state:
        return
    state = optimizer.state.pop(old)
    carried = _carried_state(state, old, item)
    if carried is None:
        reset.append(item.name)
    else:
        optimizer.state[item.new] = carried


def _carried_state(state: dict[str, Any], old: Tensor, item: Ancestry) -> dict[str, Any] | None:
    """The state in the new shape; None where a part can't be mapped."""
    carried: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == old.shape and old.ndim:
            carried[key] = item.inherit(value)
        elif not isinstance(value, Tensor) or (value.numel() == 1 and value.ndim < 2):
            carried[key] = value
        else:
            return None
    return carried


def _join(optimizer: Optimizer, item: Ancestry) -> None:
    for group in optimizer.param_groups:
        if any(parameter is item.like for parameter in group["params"]):
            group["params"].append(item.new)
            if "param_names" in group:
                group["param_names"].append(item.name)
            if isinstance(optimizer, torch.optim.Adagrad):  # it keeps sums from the start
                total = torch.full_like(item.new, group["initial_accumulator_value"])
                optimizer.state[item.new] = {"step": torch.tensor(0.0), "sum": total.detach()}
            return


def resembling(model: nn.Module, new: Tensor, near: Iterable[Tensor]) -> Tensor | None:
    """The existing parameter whose optimiser settings suit a new one.

    If there is any, one that is trained; of as many dimensions (some optimisers take matrices
    only); or at least a vector for a vector (norms and biases are treated apart); the nearest.

    Args:
        model: the model before.
        new: the new parameter.
        near: parameters around its place, the nearest first.
    """

    def unlike(parameter: Tensor) -> tuple[bool, bool, bool]:
        vector = parameter.ndim < 2
        return not parameter.requires_grad, parameter.ndim != new.ndim, vector != (new.ndim < 2)

    return min((*near, *model.parameters()), key=unlike, default=None)


def trainable(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor as a parameter or a plain tensor, as the one that it continues."""
    if isinstance(like, nn.Parameter):
        return nn.Parameter(tensor, requires_grad=like.requires_grad)
    return tensor


def newborn_like(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of a tensor's type on its device, from a generator of the CPU."""
    return torch.randn(tuple(shape), generator=generator).to(device=like.device, dtype=like.dtype)
