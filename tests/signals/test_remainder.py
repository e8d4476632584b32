"""What remains of a gradient is orthogonal to what last layers can follow."""

import pytest
import torch
from families import LEAVES
from sampled import families
from seeding import seed_
from torch import nn
from torch.utils._pytree import tree_leaves

from neuroexapt import Attend, Connect, LivingModel
from neuroexapt.signals.layers import last_layers
from neuroexapt.signals.remainder import Remainder, gradients_through, remainder


def test_remainder_is_the_residual_of_least_squares():
    seed_(0)
    features, gradient = torch.randn(64, 3).double(), torch.randn(64, 2).double()
    design = torch.cat([torch.ones(64, 1).double(), features], 1)
    expected = gradient - design @ torch.linalg.lstsq(design, gradient).solution
    torch.testing.assert_close(remainder(gradient, features), expected)


def test_remainder_takes_away_no_more_directions_than_the_data_tell_apart():
    seed_(0)
    gradient = torch.randn(64, 2).double()
    left = remainder(gradient, torch.randn(64, 64).double())
    assert left.square().sum() > 0.7 * gradient.square().sum()


HEADS = {
    "linear": (nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), (6,)),
    "by position": (nn.Sequential(nn.Conv1d(4, 5, 3), nn.ReLU(), nn.Conv1d(5, 3, 1)), (4, 12)),
    "pooled": (
        nn.Sequential(
            nn.Conv1d(4, 5, 3), nn.ReLU(), nn.Conv1d(5, 3, 1), nn.AdaptiveAvgPool1d(1), nn.Flatten()
        ),
        (4, 12),
    ),
    "sequence": (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), (7, 4)),
}


@pytest.mark.parametrize("name", HEADS)
def test_last_layer_has_no_gradient_of_what_remains(name):
    net, shape = HEADS[name]
    x = torch.randn(256, *shape).double()
    living = LivingModel(net.double(), x[:2])
    if name == "sequence":
        living.apply(Attend(after="1", form="positions"))
        living.apply(Connect(source="1", target="2"))
    outputs = living(x)
    loss = (outputs - torch.randn_like(outputs)).square().mean()
    tensors = [p for n, p in living.named_parameters() if n.startswith("2.")]
    whole = gradients_through(loss, outputs, tensors, None)
    left = gradients_through(loss, outputs, tensors, Remainder(living).of(_inputs(x)))
    for before, after in zip(whole, left, strict=True):
        assert after.abs().max() < 1e-10 < before.abs().max()
    for before, after in zip(whole, gradients_through(loss, outputs, tensors, None), strict=True):
        assert torch.equal(before, after)


def _inputs(x):
    return LivingModel(nn.Sequential(nn.Flatten()), x).example_inputs


@families(3, 4)
def test_remainder_on_every_family(family):
    """Each output's remainder has a mean of zero in every channel, whatever computes it."""
    seed_(0)
    living = LivingModel(family.build(), family.example(), leaves=LEAVES)
    rest = Remainder(living)
    remaining = rest.of(living.example_inputs)
    outputs = tree_leaves(living(*living.example_inputs.args))
    assert len(remaining) == len(outputs)
    for readout, project, output in zip(rest.readouts, remaining, outputs, strict=True):
        if project is not None:
            left = project(torch.randn_like(output)).movedim(readout.dim, -1).flatten(0, -2)
            assert left.mean(0).abs().max() < 1e-5
            assert len(last_layers(living, readout.node)) >= 1
