import copy
import math

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.training.muon import Muon, orthogonalised


def parameter(*shape: int, scale: float = 0.1, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(scale * torch.randn(shape, generator=generator, dtype=torch.float64))


def gradients(like: Tensor, count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    shape = like.shape
    return [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(count)]


def trained(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: list[Tensor]) -> Tensor:
    for gradient in steps:
        weight.grad = gradient.clone().view(weight.shape)
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize("shape", [(3, 50), (8, 27), (40, 9), (1, 6), (6, 1)])
def test_orthogonalised_has_the_vectors_of_the_matrix_and_values_near_one(shape) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.T @ orthogonalised(matrix) @ right.T
    torch.testing.assert_close(inner, inner.diagonal().diag(), atol=1e-4, rtol=0)
    within = values > values[0] / 100
    assert ((inner.diagonal() > 0.6) & (inner.diagonal() < 1.3))[within].all()


@pytest.mark.parametrize("scale", [1e-36, 1e-24, 1e-4, 1e4, 1e24, 1e36])
def test_orthogonalised_knows_no_scale(scale: float) -> None:
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(orthogonalised(scale * matrix), orthogonalised(matrix))


def test_orthogonalised_keeps_zero() -> None:
    matrix = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    assert not orthogonalised(torch.zeros(3, 4)).any()
    rows = torch.cat([matrix, torch.zeros(2, 9)])  # as of newborns that nobody reads yet
    torch.testing.assert_close(orthogonalised(rows)[:4], orthogonalised(matrix))
    assert not orthogonalised(rows)[4:].any()


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (40, 3, 2, 2)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_on_filters_is_torchs_on_their_matrix(shape, nesterov: bool) -> None:
    """Torch's takes matrices, and iterates in bfloat16: steps of 0.01 agree to its rounding."""
    ours = parameter(*shape, scale=0.01)
    theirs = nn.Parameter(ours.detach().flatten(1).clone())
    settings = {"lr": 0.01, "momentum": 0.8, "nesterov": nesterov, "weight_decay": 0.1}
    steps = gradients(ours, 5)
    found = trained(Muon([ours], **settings), ours, steps)
    expected = trained(torch.optim.Muon([theirs], **settings), theirs, steps)
    torch.testing.assert_close(found.flatten(1), expected, atol=2e-3, rtol=0)
    assert (found.flatten(1) - expected).abs().mean() < 0.1 * found.abs().mean()


def test_adamw_beside_muon_is_torchs() -> None:
    ours = parameter(5, 4)
    theirs = copy.deepcopy(ours)
    settings = {"lr": 0.05, "betas": (0.8, 0.95), "weight_decay": 0.1}
    steps = gradients(ours, 7)
    found = trained(Muon([ours], rule="adamw", **settings), ours, steps)
    torch.testing.assert_close(
        found, trained(torch.optim.AdamW([theirs], **settings), theirs, steps)
    )


@pytest.mark.parametrize("inputs", [1, 8, 32])
def test_per_input_trains_the_weights_times_their_inputs(inputs: int) -> None:
    """With outputs W x = (n W) x / n, the gradient in n W is that in W over n."""
    ours = parameter(3, inputs)
    whole = nn.Parameter(inputs * ours.detach())
    settings = {"lr": 0.05, "eps": 0.0, "betas": (0.8, 0.95), "weight_decay": 0.1}
    steps = gradients(ours, 4)
    found = trained(Muon([ours], rule="adamw", per_input=True, **settings), ours, steps)
    expected = trained(torch.optim.AdamW([whole], **settings), whole, [s / inputs for s in steps])
    torch.testing.assert_close(inputs * found, expected)


def test_muon_limits_the_norm_and_leaves_smaller_ones_alone() -> None:
    large, small = parameter(4, 2, 3, 3, scale=5.0), parameter(4, 2, 3, 3, scale=0.01)
    for weight in (large, small):
        before = weight.detach().clone()
        trained(Muon([weight], lr=0.0), weight, gradients(weight, 1))
        limit = min(before.norm(), torch.tensor(2.0))
        torch.testing.assert_close(weight.detach(), before * limit / before.norm())
    optimizer = Muon([large], lr=0.1)
    trained(optimizer, large, gradients(large, 30))
    assert 1.9 < large.norm() < 2.0 * math.sqrt(1 + 0.1**2) * 1.1


def test_muon_lets_zeros_grow_by_their_steps_alone() -> None:
    """Brought up to the norm, a newborn zero would be full-grown after two steps."""
    weight = nn.Parameter(torch.zeros(4, 2, 3, 3, dtype=torch.float64))
    trained(Muon([weight], lr=0.01), weight, gradients(weight, 3))
    assert 0 < weight.norm() < 3 * 0.01 * 2 * 1.3


@pytest.mark.parametrize("shape", [(), (5,), (1, 1)])
def test_muon_takes_any_shape(shape) -> None:
    weight = parameter(*shape)
    before = weight.detach().clone()
    found = trained(Muon([weight], lr=0.1), weight, gradients(weight, 2))
    assert found.isfinite().all() and (found != before).all()


def test_muon_leaves_out_what_has_no_gradient() -> None:
    first, second = parameter(2, 3), parameter(2, 3)
    optimizer = Muon([first, second], lr=0.1)
    trained(optimizer, first, gradients(first, 1))
    assert torch.equal(second, parameter(2, 3)) and second not in optimizer.state


def test_muon_bears_a_layer_that_is_no_longer_heard() -> None:
    """Its momentum decays from step to step, past where squares of it are still numbers."""
    weight = nn.Parameter(parameter(4, 3).detach().float())
    optimizer = Muon([weight], lr=0.01, momentum=0.6)
    trained(optimizer, weight, [gradient.float() for gradient in gradients(weight, 1)])
    silence = [torch.zeros_like(weight)] * 300
    assert trained(optimizer, weight, silence).isfinite().all()


def test_muon_that_was_copied_goes_on_and_takes_more_groups() -> None:
    weight = parameter(2, 3)
    optimizer = Muon([weight], momentum=0.7)
    trained(optimizer, weight, gradients(weight, 2))
    twin = copy.deepcopy(optimizer)
    twin.add_param_group({"params": [parameter(4, 2)]})
    assert [group["momentum"] for group in twin.param_groups] == [0.7, 0.7]
    (its_weight,) = twin.param_groups[0]["params"]
    steps = gradients(weight, 3)
    assert torch.equal(trained(twin, its_weight, steps), trained(optimizer, weight, steps))


def test_muon_evaluates_a_closure() -> None:
    weight = parameter(2, 3)
    optimizer = Muon([weight], lr=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss.item()

    losses = [optimizer.step(closure) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr is -1.0"),
        ({"weight_decay": -0.1}, "weight_decay -0.1"),
        ({"momentum": 1.0}, r"momentum or betas \[1.0\]"),
        ({"rule": "adamw", "betas": (0.9, 1.5)}, r"\[0.9, 1.5\]"),
        ({"rule": "adam"}, "there is no rule 'adam'; give one of muon, adamw"),
    ],
)
def test_muon_refuses_what_makes_no_sense(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Muon([parameter(2, 3)], **settings)
