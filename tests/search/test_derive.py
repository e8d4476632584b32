"""Deriving a plain network, in the corners."""

import pytest
import torch
from torch import Tensor, fx, nn

from neuroexapt.search import Decision, Mixed, commit, decisions, derive
from neuroexapt.search.operations import Zero

X = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def inner(name: str) -> Mixed:
    operations = {"a": nn.Conv2d(3, 3, 1), "b": nn.Identity()}
    return Mixed(operations, Decision(name, ("a", "b")))


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("choice", [0, 1])
def test_decisions_within_operations_are_derived_too(choice, within):
    torch.manual_seed(0)
    operations = {"x": inner("i"), "y": nn.Sequential(inner("j"), nn.ReLU())}
    outer = Mixed(operations, Decision("o", ("x", "y")))
    network = nn.Sequential(outer) if within else outer
    with torch.no_grad():
        decisions(network)["o"].alpha[choice] += 1
    commit(network)
    found = derive(network)
    torch.testing.assert_close(found(X), network(X))
    assert not any(isinstance(module, Mixed | Decision) for module in found.modules())


class Weighted(nn.Module):
    """Adds a multiple, of which the sum with nothing isn't the other alone."""

    def __init__(self) -> None:
        super().__init__()
        operations = {"zero": Zero(3, 1), "conv": nn.Conv2d(3, 3, 1)}
        self.place = Mixed(operations, Decision("d", ("zero", "conv")))

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.place(x), x, alpha=2)


class Whole(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, Mixed)


def test_weighted_sum_with_nothing_stays():
    network = Weighted()
    network = fx.GraphModule(network, Whole().trace(network))
    torch.testing.assert_close(derive(network)(X), 2 * X)
