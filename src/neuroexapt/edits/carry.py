"""Carry optimisers and pending gradients across an edit: what is inherited goes on."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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

    Example:
        >>> from neuroexapt import LivingModel, Split
        >>> living = LivingModel(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), torch.ones(2, 4))
        >>> optimizer = torch.optim.SGD(living.parameters(), lr=0.1, momentum=0.9)
        >>> living(torch.ones(2, 4)).sum().backward()
        >>> optimizer.step()
        >>> change = living.apply(Split(group="0", units=(1,)))  # the optimiser isn't told
        >>> carry_optimizer(optimizer, change.ancestry)
        >>> momentum = optimizer.state[living.get_parameter("0.weight")]["momentum_buffer"]
        >>> momentum.any(dim=1).tolist()  # the twin has none yet
        [True, True, True, False]
    """
    exchange = prepared(optimizer, ancestry)
    exchange.carry_out()
    if exchange.message is not None:
        warnings.warn(exchange.message, stacklevel=2)


@dataclass(frozen=True, eq=False)
class Exchange:
    """What an optimiser will hold after an edit; until it is carried out, nothing has changed.

    Attributes:
        optimizer: the optimiser.
        resized: parameters that continue others, with their state; None where they have none.
        new: entirely new parameters, with the group that they join and their state.
        gone: parameters that nothing continues.
        message: what there is to warn of.
    """

    optimizer: Optimizer
    resized: Sequence[tuple[Ancestry, dict[str, Any] | None]]
    new: Sequence[tuple[Ancestry, dict[str, Any], dict[str, Any] | None]]
    gone: Sequence[Tensor]
    message: str | None

    def carry_out(self) -> None:
        """Change the optimiser; takes no memory, so it can't fail halfway."""
        for item, state in self.resized:
            for group in self.optimizer.param_groups:
                for position, parameter in enumerate(group["params"]):
                    if parameter is item.old:
                        group["params"][position] = item.new
            assert item.old is not None and item.new is not None, "it continues one"
            self.optimizer.state.pop(item.old, None)
            if state is not None:
                self.optimizer.state[item.new] = state
        for item, group, state in self.new:
            assert item.new is not None, "it is new"
            group["params"].append(item.new)
            if "param_names" in group:
                group["param_names"].append(item.name)
            if state is not None:
                self.optimizer.state[item.new] = state
        for old in self.gone:
            _leave(self.optimizer, old)


def prepared(optimizer: Optimizer, ancestry: Iterable[Ancestry]) -> Exchange:
    """Make an optimiser's state for what an edit made of its parameters; nothing changes yet."""
    resized, new, gone, reset = [], [], [], []
    for item in ancestry:
        if item.new is None and item.old is not None:
            gone.append(item.old)
        if not isinstance(item.new, nn.Parameter):
            continue
        if isinstance(item.old, nn.Parameter):
            state = optimizer.state.get(item.old)
            fill = _first_values(optimizer, _group_of(optimizer, item.old))
            carried = None if state is None else _carried_state(state, item.old, item, fill)
            reset += [item.name] if state is not None and carried is None else []
            resized.append((item, carried))
        elif item.old is not None or not _takes(optimizer, item.new):
            continue
        elif (group := _group_of(optimizer, item.like)) is not None:
            new.append((item, group, _first_state(optimizer, group, item.new)))
    message = (
        f"{type(optimizer).__name__} keeps state of another shape than its parameter; reset for "
        + ", ".join(reset)
    )
    return Exchange(optimizer, resized, new, gone, message if reset else None)


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
        if not isinstance(item.old, nn.Parameter) or item.old.grad is None or item.new is None:
            continue
        pending = item.old.grad.detach()
        if pending.is_sparse:
            dense = item.inherit(pending.to_dense())
            item.new.grad = dense.to_sparse(pending.sparse_dim())
        else:
            item.new.grad = item.inherit(pending)


def unhooked(ancestry: Iterable[Ancestry]) -> str | None:
    """A warning of hooks on tensors that are gone: they may be for the old shape."""
    lost = [
        item.name
        for item in ancestry
        if item.old is not None
        and item.new is not None
        and (item.old._backward_hooks or getattr(item.old, "_post_accumulate_grad_hooks", None))
    ]
    if not lost:
        return None
    return f"the hooks on {', '.join(lost)} were for the old shape and are gone; register them anew"


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


def _leave(optimizer: Optimizer, old: Tensor) -> None:
    """Forget a parameter that is gone."""
    for group in optimizer.param_groups:
        kept = [index for index, p in enumerate(group["params"]) if p is not old]
        for key in ("params", "param_names"):
            if key in group:
                group[key][:] = [group[key][index] for index in kept]
    optimizer.state.pop(old, None)


def _takes(optimizer: Optimizer, parameter: Tensor) -> bool:
    """Whether an optimiser can train it: torch's Muon takes matrices only."""
    return not isinstance(optimizer, torch.optim.Muon) or parameter.ndim == 2


def _first_values(optimizer: Optimizer, group: dict[str, Any] | None) -> dict[str, float]:
    """What an optimiser's state begins with, where that isn't zero."""
    if group is None:
        return {}
    if isinstance(optimizer, torch.optim.Adagrad):
        return {"sum": group["initial_accumulator_value"]}
    return {"step_size": float(group["lr"])} if isinstance(optimizer, torch.optim.Rprop) else {}


def _carried_state(
    state: dict[str, Any], old: Tensor, item: Ancestry, fill: Mapping[str, float]
) -> dict[str, Any] | None:
    """The state in the new shape, newborn positions as `fill` says; None if it can't be mapped."""
    carried: dict[str, Any] = {}
    for key, value in state.items():
        if isinstance(value, Tensor) and value.shape == old.shape and old.ndim:
            carried[key] = item.inherit(value)
            if fill.get(key):
                newborn = item.inherit(torch.ones_like(value)) == 0
                carried[key] = torch.where(newborn, fill[key], carried[key])
        elif not isinstance(value, Tensor) or (value.numel() == 1 and value.ndim < 2):
            carried[key] = value
        else:
            return None
    return carried


def _group_of(optimizer: Optimizer, held: Tensor | None) -> dict[str, Any] | None:
    """The optimiser's group of a parameter; None if it doesn't hold it."""
    for group in optimizer.param_groups:
        if any(parameter is held for parameter in group["params"]):
            return group
    return None


def _first_state(optimizer: Optimizer, group: dict[str, Any], new: Tensor) -> dict[str, Any] | None:
    """The state that a new parameter needs before its first step."""
    if not isinstance(optimizer, torch.optim.Adagrad):  # it keeps sums from the start
        return None
    total = torch.full_like(new, group["initial_accumulator_value"])
    return {"step": torch.tensor(0.0), "sum": total.detach()}


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
    if not isinstance(like, nn.Parameter):
        return tensor
    made = nn.Parameter(tensor, requires_grad=like.requires_grad)
    vars(made).update(vars(like))  # what users note on it, such as a weight decay of its own
    return made


def newborn_like(shape: Sequence[int], like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of a tensor's type on its device, from a generator of the CPU."""
    return torch.randn(tuple(shape), generator=generator).to(device=like.device, dtype=like.dtype)
