"""How newborn weights are trained at first: learning rate, weight decay, and Adam's step counts."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroexapt.edits import Ancestry, Change
from neuroexapt.edits.base import listed


class Newborns(BaseModel):
    """How newborn weights are trained for the first steps of their lives.

    Attributes:
        lr: their learning rate at birth, relative to the others'; it approaches 1 in a straight
            line over `steps`. Below 1 is a warm-up. In `benchmarks/arbiter newborns`, on one
            network so far, 0.1, 0.3 and 1 did alike, and 3 did harm.
        weight_decay: their weight decay over that time, relative to the others'; whether there is
            any made no difference there.
        steps: optimiser steps of that time; 0 for none. There, 300 did a little worse than 100.
        init: where the incoming weights come from of units that a group is widened by: "random", as
            spread as their neighbours'; or "gradmax", towards where the loss falls fastest (see
            `Widen`), for six passes over a batch of what is sensed.
        momentum: of everything, where an edit brings newborns: "kept", or "reset" with whatever
            else the optimisers remember.
        bias_correction: whether Adam's averages are corrected for the newborns' own age. They start
            at zero amid a parameter whose step count has long grown, and uncorrected would move up
            to six times as fast as intended, and still three times after 100 steps (betas 0.9 and
            0.999).

    Example:
        >>> from neuroexapt import GrowthConfig, Newborns
        >>> config = GrowthConfig(newborns=Newborns(lr=0.5, steps=200))
        >>> [config.newborns.factor(age) for age in (0, 100, 200)]
        [0.5, 0.75, 1.0]
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lr: float = Field(default=0.1, gt=0)
    weight_decay: float = Field(default=1.0, ge=0)
    steps: int = Field(default=100, ge=0)
    init: Literal["random", "gradmax"] = "random"
    momentum: Literal["kept", "reset"] = "kept"
    bias_correction: bool = True

    def factor(self, age: int) -> float:
        """The learning rate at an age in steps, relative to the others'.

        Example:
            >>> Newborns(lr=3, steps=100).factor(50)
            2.0
        """
        return 1 + (self.lr - 1) * max(1 - age / self.steps, 0) if self.steps else 1.0


@dataclass(eq=False)
class Brood:
    """Positions of one parameter that were born together.

    Attributes:
        parameter: it holds them.
        dim: dimension along which they lie; None if the whole parameter is newborn.
        positions: along it.
        age: steps since birth.
    """

    parameter: nn.Parameter
    dim: int | None
    positions: Tensor
    age: int = 0

    def take(self, tensor: Tensor) -> Tensor:
        """A copy of the newborn part of a tensor of the parameter's shape."""
        if self.dim is None:
            return tensor.detach().clone()
        return tensor.detach().index_select(self.dim, self.positions.to(tensor.device))

    def put(self, tensor: Tensor, part: Tensor) -> None:
        """Overwrite the newborn part."""
        with torch.no_grad():
            if self.dim is None:
                tensor.copy_(part)
            else:
                tensor.index_copy_(self.dim, self.positions.to(tensor.device), part)


class Nursery:
    """Watches over newborn weights: scales what an optimiser does to them.

    It hooks into the optimisers' `step`, so that any training loop follows the policy.

    Args:
        policy: how newborns are trained.
        optimizer: one or several.

    Example:
        >>> from neuroexapt import LivingModel, Widen
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> optimizer = torch.optim.SGD(living.parameters(), lr=0.1)
        >>> nursery = Nursery(Newborns(lr=2, steps=10), optimizer)
        >>> nursery.admit(living.apply(Widen(group="0", count=2), optimizer))
        >>> sorted(brood.positions.tolist() for brood in nursery.broods)
        [[3, 4], [3, 4], [3, 4]]
    """

    def __init__(self, policy: Newborns, optimizer: Optimizer | Iterable[Optimizer] | None) -> None:
        self.policy = policy
        self.broods: list[Brood] = []
        self._optimizers = listed(optimizer)
        self._before: dict[int, list[tuple[Brood, Tensor]]] = {}
        for one in self._optimizers:
            one.register_step_pre_hook(lambda o, *_: self._begin(o))
            one.register_step_post_hook(lambda o, *_: self._end(o))

    def admit(self, change: Change) -> None:
        """Take in what an edit brought, and follow those who are here already."""
        self.broods = [brood for old in self.broods for brood in _followed(old, change.ancestry)]
        known = len(self.broods)
        for item in change.ancestry:
            if not isinstance(item.new, nn.Parameter):
                continue
            if item.old is None:
                self.broods.append(Brood(item.new, None, torch.zeros(0, dtype=torch.int64)))
            for dim, source in item.layouts.items():
                positions = torch.nonzero(source < 0).flatten()
                if len(positions):
                    self.broods.append(Brood(item.new, dim, positions))
        if self.policy.momentum == "reset" and len(self.broods) > known:
            for optimizer in self._optimizers:
                optimizer.state.clear()

    def _begin(self, optimizer: Optimizer) -> None:
        held = _groups(optimizer)
        self._before[id(optimizer)] = found = []
        undone: list[tuple[Brood, Tensor, Tensor]] = []
        for brood in self.broods:
            group, gradient = held.get(id(brood.parameter)), brood.parameter.grad
            if group is None or gradient is None:
                continue
            found.append((brood, brood.take(brood.parameter)))
            decay, share = group.get("weight_decay", 0), self.policy.weight_decay
            if decay and share != 1 and not _is_decoupled(optimizer, group):
                decayed = (1 - share) * decay * brood.take(brood.parameter)
                sign = -1 if group.get("maximize", False) else 1
                undone.append((brood, gradient, brood.take(gradient) - sign * decayed))
        for brood, gradient, part in undone:  # only now: where two broods cross, once is enough
            brood.put(gradient, part)

    def _end(self, optimizer: Optimizer) -> None:
        held = _groups(optimizer)
        scaled: list[tuple[Brood, Tensor]] = []
        for brood, before in self._before.pop(id(optimizer), []):
            group = held[id(brood.parameter)]
            brood.age += 1
            decay = group.get("weight_decay", 0) if _is_decoupled(optimizer, group) else 0
            decayed = float(group["lr"]) * decay
            factor = self.policy.factor(brood.age - 1) * self._correction(optimizer, group, brood)
            if factor != 1 or (decayed and self.policy.weight_decay != 1):
                # Muon's limit of a weight's norm scales all of it alike: that is no step.
                limited = before * optimizer.state.get(brood.parameter, {}).get("kept", 1.0)
                step = brood.take(brood.parameter) - limited * (1 - decayed)
                kept = 1 - decayed * self.policy.weight_decay
                scaled.append((brood, limited * kept + factor * step))
        for brood, part in scaled:  # only now: where two broods cross, no step is scaled twice
            brood.put(brood.parameter, part)
        self.broods = [
            brood
            for brood in self.broods
            if id(brood.parameter) not in held
            or brood.age < self._grown_up(held[id(brood.parameter)])
        ]

    def _correction(self, optimizer: Optimizer, group: dict[str, Any], brood: Brood) -> float:
        """What Adam's averages lack for having started at zero later than the step count says."""
        betas, state = group.get("betas"), optimizer.state.get(brood.parameter, {})
        if not self.policy.bias_correction or betas is None or "exp_avg_sq" not in state:
            return 1.0
        first, second = (float(beta) for beta in betas)
        steps, age = float(state["step"]), brood.age
        if steps <= age:
            return 1.0
        mean = (1 - first**steps) / (1 - first**age)
        return float(mean * math.sqrt((1 - second**age) / (1 - second**steps)))

    def _grown_up(self, group: dict[str, Any]) -> float:
        """The age from which newborns are like everybody else."""
        betas = group.get("betas")
        corrected = 5 / (1 - betas[1]) if betas and self.policy.bias_correction else 0
        changed = self.policy.lr != 1 or self.policy.weight_decay != 1
        return max(corrected, self.policy.steps if changed else 0)

    def state_dict(self, model: nn.Module) -> list[dict[str, Any]]:
        """Who is here, JSON-ready, by the names that parameters have in a model."""
        names = {id(parameter): name for name, parameter in model.named_parameters()}
        return [
            {
                "parameter": names[id(brood.parameter)],
                "dim": brood.dim,
                "positions": brood.positions.tolist(),
                "age": brood.age,
            }
            for brood in self.broods
            if id(brood.parameter) in names  # edits that nobody told of took others away
        ]

    def load_state_dict(self, state: Sequence[dict[str, Any]], model: nn.Module) -> None:
        """Go on from what `state_dict` gave."""
        named = dict(model.named_parameters())
        self.broods = [
            Brood(
                named[item["parameter"]],
                item["dim"],
                torch.tensor(item["positions"], dtype=torch.int64),
                item["age"],
            )
            for item in state
        ]


def _followed(brood: Brood, ancestry: Iterable[Ancestry]) -> list[Brood]:
    """Where a brood is after an edit; nowhere if its parameter or all its units are gone."""
    item = next((item for item in ancestry if item.old is brood.parameter), None)
    if item is None:
        return [brood]
    if not isinstance(item.new, nn.Parameter):
        return []
    if brood.dim is None:  # whatever was added since is a brood of its own
        if not item.layouts:
            return [Brood(item.new, None, brood.positions, brood.age)]
        dim, source = next(iter(item.layouts.items()))
        positions = torch.nonzero(source >= 0).flatten()
    elif (layout := item.layouts.get(brood.dim)) is not None:
        dim, positions = brood.dim, torch.nonzero(torch.isin(layout, brood.positions)).flatten()
    else:
        dim, positions = brood.dim, brood.positions
    return [Brood(item.new, dim, positions, brood.age)] if len(positions) else []


def _groups(optimizer: Optimizer) -> dict[int, dict[str, Any]]:
    return {id(p): group for group in optimizer.param_groups for p in group["params"]}


def _is_decoupled(optimizer: Optimizer, group: dict[str, Any]) -> bool:
    """Whether weight decay acts on the weights themselves, beside the gradient."""
    named = group.get("decoupled_weight_decay", False)
    return bool(named) or isinstance(optimizer, torch.optim.AdamW | torch.optim.Muon)
