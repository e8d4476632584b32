"""Newborns whose incoming weights go by gradients, against every direction there is."""

import torch
from torch import Tensor, nn

from neuroexapt import LivingModel, Widen

X = torch.randn(64, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(64, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def loss(model: nn.Module) -> Tensor:
    return nn.functional.mse_loss(model(X), Y)


def outgoing_gradient(living: LivingModel) -> float:
    """Squared gradient of the weights that lead from the one new unit."""
    living.zero_grad()
    loss(living).backward()
    gradient = living.graph_module.get_parameter("2.weight").grad
    assert gradient is not None
    return float(gradient[:, -1].square().sum())


def test_gradmax_finds_nearly_the_best_direction() -> None:
    generator = torch.Generator().manual_seed(2)
    for seed in range(5):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
        living = LivingModel(net, X[:2])
        living.apply(Widen(group="0", count=1, init="gradmax"), loss=loss, seed=seed)
        found = outgoing_gradient(living)
        weights = living.graph_module.get_parameter("0.weight").detach()
        length, tried = weights[-1].norm(), []
        for _ in range(500):
            direction = torch.randn(4, generator=generator, dtype=torch.float64)
            weights[-1] = length * direction / direction.norm()
            tried.append(outgoing_gradient(living))
        assert found > 0.9 * max(tried)
        assert found > 2 * sum(tried) / len(tried)
