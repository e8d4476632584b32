"""Muon: filters step along their momentum made orthogonal, everything else as under AdamW."""

import math
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

State: TypeAlias = dict[str, Any]
Group: TypeAlias = dict[str, Any]

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, steep at 0: singular values end between about 0.7 and 1.2."""
ROUNDS = 5
"""Enough to bring singular values from a hundredth of the largest up there."""
TINY = 1e-30
"""Sizes are at least that where something is divided by them."""


def orthogonalised(matrix: Tensor, rounds: int = ROUNDS) -> Tensor:
    """Bring a matrix's singular values near 1 and keep its singular vectors.

    A Newton-Schulz iteration of products only. On a GPU it runs in bfloat16, whose rounding the
    iteration bears; on the CPU, where that would be slower, in the matrix's own type.

    Args:
        matrix: shape (rows, columns); zero stays zero.
        rounds: of the iteration.

    Returns:
        Shape (rows, columns), of the matrix's type.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    first, third, fifth = QUINTIC
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    # By the largest entry first: squares of very small or large ones are 0 or infinite.
    wide = wide / wide.abs().max().clamp_min(TINY)
    wide = wide.bfloat16() if wide.is_cuda else wide
    # Then singular values are at most 1, where the iteration works.
    wide = wide / wide.norm().clamp_min(TINY)
    for _ in range(rounds):
        square = wide @ wide.T
        wide = first * wide + (third * square + fifth * square @ square) @ wide
    made: Tensor = wide if matrix.shape[0] <= matrix.shape[1] else wide.T
    return made.to(matrix.dtype)


class Muon(Optimizer):
    """Muon for filters and AdamW for the rest, in one optimiser.

    `torch.optim.Muon` takes matrices only. Here a weight of any shape is a matrix with one row for
    each position along its first dimension, so that a convolution's filters are its rows.

    Each parameter group has a `rule`:

    - "muon": a step along the orthogonal factor of the momentum, times the square root of rows /
      columns where there are more rows than columns. Before it the whole weight is brought back to
      the norm sqrt(rows) if it has outgrown that, so that the learning rate is the angle by which
      filters turn; behind a norm this changes no function. Newborn zeros grow by themselves.
    - "adamw": as `torch.optim.AdamW`. With `per_input`, the n-fold of the weights is trained, where
      n is the number of inputs of each: their steps are lr / n. So learns a last layer whose
      outputs are a mean over its inputs, at one rate for all widths, which follows growth.

    Under both, a step multiplies the weights by 1 - lr x weight_decay.

    Args:
        params: parameters, or groups of them.
        lr: learning rate.
        rule: as above.
        weight_decay: as above.
        momentum: share of the momentum that is kept from step to step ("muon").
        nesterov: look ahead along the momentum ("muon").
        betas: shares that are kept of the averages of gradients and of their squares ("adamw").
        eps: added to the root of the latter ("adamw").
        per_input: as above ("adamw").

    Raises:
        ValueError: if a figure is out of range, or a rule unknown.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks"; the norm
    after airbench94_muon (arXiv:2404.00498), which sets it where here it is a limit.

    Example:
        >>> weight = torch.nn.Parameter(torch.zeros(2, 1, 1, 2))
        >>> optimizer = Muon([weight], lr=0.5)
        >>> weight.grad = torch.tensor([[3.0, 0.0], [0.0, 3.0]]).view_as(weight)
        >>> optimizer.step()
        >>> weight.detach().flatten(1).norm(dim=1) > 0.3
        tensor([True, True])
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.02,
        *,
        rule: str = "muon",
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        nesterov: bool = True,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        per_input: bool = False,
    ) -> None:
        self._options: dict[str, dict[str, Any]] = {
            "muon": {"momentum": momentum, "nesterov": nesterov},
            "adamw": {"betas": betas, "eps": eps, "per_input": per_input},
        }
        super().__init__(params, {"lr": lr, "rule": rule, "weight_decay": weight_decay})

    def add_param_group(self, param_group: Group) -> None:
        """Add parameters, with the options that their rule has a use for.

        Raises:
            ValueError: if a figure is out of range, or the rule unknown.
        """
        rule = param_group.get("rule", self.defaults["rule"])
        if rule not in RULES:
            raise ValueError(f"there is no rule {rule!r}; give one of {', '.join(RULES)}")
        group = self._options[rule] | {"decoupled_weight_decay": True} | param_group
        _check(self.defaults | group)
        super().add_param_group(group)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy goes on with, groups that are added to it included."""
        return {**super().__getstate__(), "_options": self._options}

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Take a step with every parameter that has a gradient.

        Args:
            closure: evaluates the model anew and gives the loss; None if `backward` was called.

        Returns:
            What the closure gave.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    RULES[group["rule"]](parameter, parameter.grad, self.state[parameter], group)
        return loss


def _by_muon(weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    matrix = _look_ahead(gradient, state, group).reshape(weight.shape[0] if weight.ndim else 1, -1)
    rows, columns = matrix.shape
    # Kept with the momentum: who scales a part of a step has to know what of it is no step.
    state["kept"] = (math.sqrt(rows) / weight.norm().clamp_min(TINY)).clamp_max(1.0)
    weight.mul_(state["kept"] * _undecayed(group))
    size = math.sqrt(max(rows / columns, 1.0))
    weight.add_(orthogonalised(matrix).reshape(weight.shape), alpha=-float(group["lr"]) * size)


def _look_ahead(gradient: Tensor, state: State, group: Group) -> Tensor:
    """The momentum after this step or, with Nesterov's, what one step more would make of it."""
    share = group["momentum"]
    if not share:
        return gradient
    if "momentum_buffer" not in state:
        state["momentum_buffer"] = torch.zeros_like(gradient)
    momentum: Tensor = state["momentum_buffer"].mul_(share).add_(gradient)
    return gradient.add(momentum, alpha=share) if group["nesterov"] else momentum


def _by_adamw(weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    if not state:
        state["step"] = torch.tensor(0.0)
        state["exp_avg"] = torch.zeros_like(weight)
        state["exp_avg_sq"] = torch.zeros_like(weight)
    state["step"] += 1
    steps, (first, second) = float(state["step"]), group["betas"]
    state["exp_avg"].lerp_(gradient, 1 - first)
    state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
    size = (state["exp_avg_sq"] / (1 - second**steps)).sqrt_().add_(group["eps"])
    inputs = weight[0].numel() if group["per_input"] and weight.ndim > 1 else 1
    rate = float(group["lr"]) / inputs / (1 - first**steps)
    weight.mul_(_undecayed(group)).addcdiv_(state["exp_avg"], size, value=-rate)


def _undecayed(group: Group) -> float:
    return 1 - float(group["lr"]) * float(group["weight_decay"])


Rule: TypeAlias = Callable[[Tensor, Tensor, State, Group], None]

RULES: Mapping[str, Rule] = MappingProxyType({"muon": _by_muon, "adamw": _by_adamw})


def _check(group: Group) -> None:
    shares = [group[name] for name in ("momentum",) if name in group] + [*group.get("betas", ())]
    if group["lr"] < 0 or group["weight_decay"] < 0 or not all(0 <= s < 1 for s in shares):
        raise ValueError(
            f"lr is {group['lr']}, weight_decay {group['weight_decay']}, momentum or betas "
            f"{shares}; give rates of at least 0, and shares from 0 up to, but not, 1"
        )
