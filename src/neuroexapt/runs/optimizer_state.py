"""An optimiser's state as named tensors and JSON, and back."""

from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

from neuroexapt.errors import RunError

Tensors: TypeAlias = dict[str, Tensor]


def optimizer_state(optimizer: Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """Take an optimiser's state apart.

    Returns:
        Tensors by `<number of the parameter>.<name>`, and the rest as JSON values: `groups`, the
        options of each parameter group with its parameters' numbers, and `scalars`, state that is
        no tensor.

    Raises:
        RunError: if a value is neither a tensor nor JSON, so that it would be lost.
    """
    state = optimizer.state_dict()
    tensors: Tensors = {}
    scalars: dict[str, dict[str, Any]] = {}
    for number, values in state["state"].items():
        for key, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{key}"] = value
            else:
                scalars.setdefault(str(number), {})[key] = _checked(optimizer, key, value)
    groups = [
        {key: _checked(optimizer, key, value) for key, value in group.items()}
        for group in state["param_groups"]
    ]
    return tensors, {"groups": groups, "scalars": scalars}


def load_optimizer_state(optimizer: Optimizer, tensors: Tensors, rest: dict[str, Any]) -> None:
    """Put back what `optimizer_state` gave, into an optimiser of the same parameters.

    Raises:
        RunError: if it belongs to other parameters.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = [_as(mine, theirs) for mine, theirs in zip(own, rest["groups"], strict=False)]
    counts = [[len(group["params"]) for group in side] for side in (own, rest["groups"])]
    if counts[0] != counts[1]:
        raise RunError(
            f"the optimiser has groups of {counts[0]} parameters, the saved one of {counts[1]}; "
            "the model has to be the one that the run was started with"
        )
    state: dict[int, dict[str, Any]] = {
        int(number): dict(values) for number, values in rest["scalars"].items()
    }
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _checked(optimizer: Optimizer, key: str, value: Any) -> Any:
    if isinstance(value, Tensor) and value.ndim == 0:
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_checked(optimizer, key, item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise RunError(
        f"{type(optimizer).__name__} keeps a {type(value).__name__} as {key!r}, which can't be "
        "saved; only tensors, numbers, text and lists of them can"
    )


def _as(mine: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """JSON has no tuples and no tensors: give saved options the types that the optimiser uses."""
    typed = {}
    for key, value in theirs.items():
        like = mine.get(key)
        if isinstance(like, tuple):
            value = tuple(value)
        elif isinstance(like, Tensor):
            value = torch.tensor(value, dtype=like.dtype, device=like.device)
        typed[key] = value
    return typed
