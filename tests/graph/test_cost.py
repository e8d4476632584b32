"""Parameters and multiply-accumulates, against sums done by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt import Cost, LivingModel


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cost_of(model: nn.Module, *shape: int) -> Cost:
    """The model's cost on noise of this shape."""
    return LivingModel(model, noise(*shape)).cost()


@pytest.mark.parametrize("num_samples", [1, 3, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_cost_of_linear(num_samples, bias):
    """A multiply-accumulate a weight, whatever the batch; adding the bias isn't counted."""
    model = nn.Linear(5, 7, bias=bias)
    assert cost_of(model, num_samples, 5) == Cost(params=35 + 7 * bias, macs=35)


def test_cost_of_linear_over_a_sequence():
    assert cost_of(nn.Linear(5, 7), 2, 11, 5).macs == 11 * 35


@pytest.mark.parametrize(
    ("model", "shape", "positions"),
    [
        (nn.Conv1d(3, 4, 5), (2, 3, 20), 16),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 10), 4 * 5),
        (nn.Conv3d(3, 4, (1, 3, 3)), (2, 3, 4, 5, 6), 4 * 3 * 4),
        (nn.Conv2d(6, 4, 3, groups=2, padding=1), (2, 6, 8, 8), 64),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), (2, 6, 8, 8), 64),
        (nn.Conv2d(3, 4, 3, dilation=2), (2, 3, 8, 8), 16),
    ],
    ids=["1d", "strided", "3d", "grouped", "depthwise", "dilated"],
)
def test_cost_of_convolution(model, shape, positions):
    """Every weight once for each position of the output."""
    weights = model.weight.numel()
    assert cost_of(model, *shape) == Cost(weights + len(model.bias), weights * positions)


def test_cost_of_transposed_convolution():
    """Every weight once for each position of the input."""
    model = nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False)
    assert cost_of(model, 2, 3, 5, 6) == Cost(3 * 4 * 4, 3 * 4 * 4 * 30)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.heads = heads

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


def test_cost_of_attention():
    """Projections of every token, and two products of n x n by the width."""
    n, c = 10, 8
    cost = cost_of(Attention(c, heads=2), 3, n, c)
    assert cost == Cost(4 * c * c, 4 * n * c * c + 2 * n * n * c)


def test_cost_of_what_multiplies_nothing_by_weights_is_no_mac():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(),
    )
    assert cost_of(model, 2, 3, 4, 4) == Cost(12 + 8, 12 * 16)


def test_cost_counts_tied_weights_once_and_runs_twice():
    """Parameters are held once; each of the calls computes."""
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second)
    assert cost_of(model, 2, 6) == Cost(params=36, macs=72)


def test_cost_counts_a_module_called_twice_twice():
    shared = nn.Linear(6, 6, bias=False)
    assert cost_of(nn.Sequential(shared, nn.ReLU(), shared), 2, 6) == Cost(params=36, macs=72)


def test_cost_counts_frozen_parameters_and_no_buffers():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    model.requires_grad_(False)
    assert cost_of(model, 2, 4).params == 24 + 6 + 12


def test_cost_looks_into_leaves():
    """What runs inside a leaf that can't be traced is counted, even if it looks at values."""

    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.Linear(4, 4, bias=False)
            self.large = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.large(x) if x.sum() > 0 else self.small(x)

    model = nn.Sequential(nn.Linear(4, 4, bias=False), Chooses())
    living = LivingModel(model, noise(2, 4), leaves=(Chooses,))
    assert living.cost() == Cost(params=48, macs=32)


def test_cost_of_a_map_is_exact_for_the_examples_size():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU())
    assert cost_of(model, 1, 3, 8, 8).macs * 4 == cost_of(model, 1, 3, 16, 16).macs
