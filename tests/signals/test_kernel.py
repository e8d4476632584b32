"""The tangent kernel against Jacobians written out, and closed forms."""

import math

import pytest
import torch
from families import FAMILIES, scramble_
from seeding import seed_
from small import model
from torch import nn

from neuroexapt.signals import TangentKernel, kernel_of, tangent_kernel


def explicit(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """One backward pass an output and sample."""
    net.eval()
    rows = []
    for x in inputs:
        outputs = net(x[None]).flatten()
        parameters = [p for p in net.parameters() if p.requires_grad]
        grads = [
            torch.autograd.grad(o, parameters, retain_graph=True, materialize_grads=True)
            for o in outputs
        ]
        rows.append(torch.stack([torch.cat([g.flatten() for g in row]) for row in grads]))
    jacobian = torch.stack(rows)
    return torch.einsum("ikp,jkp->ij", jacobian, jacobian) / jacobian.shape[1]


def test_tangent_kernel_is_the_product_of_explicit_jacobians():
    net = scramble_(model()).double()
    net[0].bias.requires_grad_(False)
    inputs = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    torch.testing.assert_close(tangent_kernel(net, inputs), explicit(net, inputs))


@pytest.mark.parametrize("name", ["resnet_basic", "mobilenet_v3", "densenet", "convnext"])
def test_tangent_kernel_of_families(name):
    (family,) = (family for family in FAMILIES if family.name == name)
    seed_(0)
    net = scramble_(family.build()).double().eval()
    inputs = family.example().double()
    torch.testing.assert_close(tangent_kernel(net, inputs), explicit(net, inputs))


def test_kernel_of_a_linear_map_has_a_closed_form():
    """Outputs' gradients are the inputs (and 1 for the bias): K = X X' + 1."""
    x = torch.randn(6, 3, dtype=torch.float64)
    kernel = tangent_kernel(nn.Linear(3, 4).double(), x)
    torch.testing.assert_close(kernel, x @ x.T + 1)


def test_kernel_of_repeated_samples_is_singular():
    x = torch.randn(1, 3).repeat(4, 1)
    found = kernel_of(nn.Linear(3, 2), x)
    assert found.condition == math.inf
    assert found.num_samples == 4


def test_kernel_tells_a_trainable_network_from_a_saturated_one():
    seed_(0)
    healthy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    saturated = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))
    with torch.no_grad():
        saturated[0].weight.mul_(100)
    x = torch.randn(8, 4)
    ours, theirs = kernel_of(healthy, x), kernel_of(saturated, x)
    assert isinstance(ours, TangentKernel)
    first = [nn.Sequential(net[0], net[1]) for net in (healthy, saturated)]
    assert kernel_of(first[0], x).trace > 5 * kernel_of(first[1], x).trace
    assert theirs.trace != ours.trace


def test_kernel_leaves_no_trace():
    net = scramble_(model()).train()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    kernel_of(net, torch.randn(3, 1, 6, 6))
    assert net.training
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


def test_kernel_refuses_several_outputs():
    class Two(nn.Linear):
        def forward(self, x):
            return super().forward(x), x

    with pytest.raises(ValueError, match="gives one tensor of shape"):
        tangent_kernel(Two(3, 2), torch.randn(2, 3))


def test_kernel_tells_what_it_lacks():
    net = nn.Linear(2, 1)
    with pytest.raises(ValueError, match="the batch is empty"):
        kernel_of(net, torch.zeros(0, 2))
    with pytest.raises(ValueError, match="aren't finite"):
        kernel_of(net, torch.tensor([[1.0, math.nan]]))
    with pytest.raises(ValueError, match="a parameter that is trained"):
        kernel_of(net.requires_grad_(False), torch.zeros(1, 2))


def test_condition_goes_as_far_as_the_weights_precision():
    samples = torch.tensor([[1.0, 0.0], [0.0, 1e-5]]).double()
    assert kernel_of(nn.Linear(2, 1, bias=False).double(), samples).condition == pytest.approx(1e10)
