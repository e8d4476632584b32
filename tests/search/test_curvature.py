"""The largest eigenvalue of the Hessian, against Hessians that are written out."""

import math

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.search import aso_se, decisions
from neuroexapt.search.bottleneck import curvature
from neuroexapt.search.curvature import alpha_curvature, largest_eigenvalue
from neuroexapt.search.decisions import alphas


def quartic(first: Tensor, second: Tensor) -> Tensor:
    joined = torch.cat([first.flatten(), second.flatten()])
    weights = torch.linspace(-3, 2, len(joined), dtype=joined.dtype)
    return (weights * joined**2).sum() + (joined[0] * joined[-1]) ** 2 + joined.sin().prod()


@pytest.mark.parametrize("shapes", [((1,), (1,)), ((2,), (3,)), ((4, 5), (17,))])
def test_largest_eigenvalue_is_that_of_the_explicit_hessian(shapes):
    generator = torch.Generator().manual_seed(0)
    parameters = [
        torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]
    count = sum(parameter.numel() for parameter in parameters)
    blocks = torch.autograd.functional.hessian(quartic, tuple(parameters))
    rows = [
        torch.cat([b.reshape(p.numel(), -1) for b in row], 1)
        for p, row in zip(parameters, blocks, strict=True)
    ]
    explicit = torch.linalg.eigvalsh(torch.cat(rows))
    assert explicit.shape == (count,)
    found = largest_eigenvalue(quartic(*parameters), parameters)
    assert found == pytest.approx(float(explicit[-1]), rel=1e-3)


def test_few_products_come_near_from_below():
    x = torch.ones(100, dtype=torch.float64, requires_grad=True)
    loss = (torch.linspace(-1, 1, 100, dtype=torch.float64) ** 3 * x**2).sum()
    found = [largest_eigenvalue(loss, [x], products=number) for number in (2, 4, 8, 24)]
    assert found == sorted(found)
    assert 0.8 * 2 < found[2] < found[3] <= 2 + 1e-9
    assert found[3] == pytest.approx(2.0, rel=1e-3)


def test_largest_is_not_the_largest_in_size():
    x = torch.ones(3, requires_grad=True)
    loss = (x**2 * torch.tensor([-50.0, 0.5, -1.0])).sum()
    assert largest_eigenvalue(loss, [x]) == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("loss", [lambda x: x.sum(), lambda x: (0 * x**2).sum()])
def test_flat_losses_have_no_curvature(loss):
    x = torch.ones(3, requires_grad=True)
    assert largest_eigenvalue(loss(x), [x]) == 0.0


def test_hessian_that_is_not_finite_gives_no_number():
    x = torch.tensor([0.0, 1.0], requires_grad=True)
    assert math.isnan(largest_eigenvalue((x.abs() ** 1.5 * torch.inf).sum(), [x]))


def test_alpha_curvature_is_that_of_the_mixed_network():
    torch.manual_seed(0)
    operations = ("skip_connect", "conv_1x1", "conv_3x3")
    network = aso_se(channels=4, num_cells=2, operations=operations).double()
    inputs, targets = torch.randn(6, 3, 8, 8).double(), torch.arange(6)
    criterion = nn.CrossEntropyLoss()
    every = list(decisions(network).values())
    with torch.no_grad():
        for decision in every:
            decision.alpha.normal_()

    def loss(flat: Tensor) -> Tensor:
        for decision, part in zip(every, flat.split(3), strict=True):
            decision.weights, decision.active = part.softmax(0), (0, 1, 2)
        return criterion(network(inputs), targets)

    flat = torch.cat([alpha.detach() for alpha in alphas(network)])
    explicit = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, flat))
    found = alpha_curvature(network, inputs, targets, criterion)
    assert found == pytest.approx(float(explicit[-1]), rel=1e-3)
    assert found > 0


@pytest.mark.parametrize(
    ("values", "severity", "ratio"),
    [
        ([1.0] * 3, "not measured", None),
        ([1.0] * 8, "ok", 1.0),
        ([1.0, 1.0, 2.0, 2.0], "notice", 2.0),
        ([1.0] * 4 + [6.0] * 4, "notice", 6.0),
        ([-1.0] * 9, "not measured", None),
        ([1.0] * 9, "ok", 1.0),
        ([1.0] * 8 + [3.0], "notice", 1.4),
        ([1.0] * 8 + [6.0], "warning", 2.0),
        ([1.0] * 8 + [6.0] + [1.0] * 9, "warning", 2.0),
    ],
)
def test_curvature_counts_how_far_it_rises(values, severity, ratio):
    found = curvature(values, weight_decay=3e-4)
    assert (found.severity, found.value) == (severity, ratio and pytest.approx(ratio))
    assert bool(found.remedy) is (severity in ("notice", "warning"))


def test_curvature_says_how_many_measurements_it_takes():
    assert "takes 4 measurements above 0, of which there are 2; it is 0.4 now" in (
        curvature([0.2, 0.4], 0.0).meaning
    )
