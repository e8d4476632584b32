"""Newborns whose incoming weights go by gradients, against every direction there is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import LivingModel, Widen

DRAWS = 100


def flat(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), activation, nn.Linear(3, 2)).double()


def normed() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, bias=False),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).double()


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "tanh": (lambda: flat(nn.Tanh()), (4,), "2.weight"),
    "relu": (lambda: flat(nn.ReLU()), (4,), "2.weight"),
    "gelu": (lambda: flat(nn.GELU()), (4,), "2.weight"),
    "conv-norm-relu": (normed, (1, 6, 6), "3.weight"),
}


@pytest.mark.parametrize("name", NETS)
def test_gradmax_mostly_finds_nearly_the_best_direction(name: str) -> None:
    make, shape, following = NETS[name]
    draws = torch.Generator().manual_seed(2)
    inputs = torch.randn(64, *shape, generator=draws, dtype=torch.float64)
    targets = torch.randn(64, 2, generator=draws, dtype=torch.float64)

    def loss(model: nn.Module) -> Tensor:
        return nn.functional.mse_loss(model.train()(inputs), targets)

    def outgoing_gradient(living: LivingModel) -> float:
        """Squared gradient of the weights that lead from the one new unit."""
        living.zero_grad()
        loss(living).backward()
        gradient = living.graph_module.get_parameter(following).grad
        assert gradient is not None
        return float(gradient[:, -1].square().sum())

    shares, means = [], []
    for seed in range(8):
        torch.manual_seed(seed)
        living = LivingModel(make(), inputs[:2])
        living.apply(Widen(group="0", count=1, init="gradmax"), loss=loss, seed=seed)
        found = outgoing_gradient(living)
        weights = living.graph_module.get_parameter("0.weight").detach()
        length, tried = weights[-1].norm(), []
        for _ in range(DRAWS):
            direction = torch.randn(weights[-1].shape, generator=draws, dtype=torch.float64)
            weights[-1] = length * direction / direction.norm()
            tried.append(outgoing_gradient(living))
        shares.append(found / max(tried))
        means.append(found / (sum(tried) / DRAWS))
    assert sorted(shares)[4] > 0.8, "the median; rectifiers have more than one summit"
    assert sum(means) / len(means) > 1.2


def test_gradmax_leaves_newborns_as_they_are_where_the_loss_does_not_see_them() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.one = nn.Linear(4, 4), nn.Linear(4, 2)
            self.branch, self.other = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = torch.relu(self.stem(x))
            return self.one(x), self.other(torch.relu(self.branch(x)))

    x = torch.randn(16, 4)
    nets = []
    for init in ("random", "gradmax"):
        torch.manual_seed(0)
        living = LivingModel(Two(), x[:2])
        widen = Widen(group="branch", count=2, init=init)
        living.apply(widen, loss=lambda net: net(x)[0].square().mean(), seed=1)
        nets.append(living.graph_module.get_parameter("branch.weight"))
    assert torch.equal(*nets)
