import copy
import json
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from neuroexapt.errors import RunError
from neuroexapt.runs.optimizer_state import load_optimizer_state, optimizer_state
from neuroexapt.training import Muon

OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter]], Optimizer]] = {
    "sgd": lambda p: SGD(p, lr=0.1),
    "momentum": lambda p: SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adam": lambda p: Adam(p, lr=0.01, amsgrad=True),
    "adamw": lambda p: AdamW(p, lr=0.01, betas=(0.8, 0.95)),
    "adamw-tensor-lr": lambda p: AdamW(p, lr=torch.tensor(0.01), foreach=False),
    "muon": lambda p: Muon([{"params": list(p)[:2]}, {"params": list(p)[2:], "rule": "adamw"}]),
    "rmsprop": lambda p: RMSprop(p, lr=0.01, centered=True, momentum=0.5),
}


def train(model: nn.Module, optimizer: Optimizer, steps: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4, generator=generator)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_round_trip_goes_on_bit_for_bit(name: str):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    optimizer = OPTIMIZERS[name](model.parameters())
    train(model, optimizer, 3)
    optimizer.param_groups[0]["lr"] = optimizer.param_groups[0]["lr"] * 0.5

    twin = copy.deepcopy(model)
    other = OPTIMIZERS[name](twin.parameters())
    tensors, rest = optimizer_state(optimizer)
    load_optimizer_state(other, tensors, json.loads(json.dumps(rest)))
    for key, value in optimizer.param_groups[0].items():
        if key != "params":
            assert type(other.param_groups[0][key]) is type(value)
            assert other.param_groups[0][key] == value

    train(model, optimizer, 3)
    train(twin, other, 3)
    for mine, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_load_optimizer_state_refuses_other_parameters():
    model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2))
    tensors, rest = optimizer_state(SGD(model.parameters(), lr=0.1))
    other = SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(RunError, match=r"groups of \[2\] parameters, the saved one of \[4\]"):
        load_optimizer_state(other, tensors, rest)


def test_optimizer_state_refuses_what_would_be_lost():
    optimizer = SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    optimizer.param_groups[0]["callback"] = len
    with pytest.raises(RunError, match="SGD keeps a builtin_function_or_method as 'callback'"):
        optimizer_state(optimizer)
