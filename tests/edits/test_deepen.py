"""What the blocks consist of: parameters counted by hand, norms only where the model has them."""

import pytest
import torch
from torch import nn

from neuroexapt import Deepen, EditError, LivingModel


def convolutions(norm: bool) -> LivingModel:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
        nn.ReLU(),
        nn.Linear(5, 2),
    )
    return LivingModel(net, torch.randn(4, 1, 6, 6))


@pytest.mark.parametrize(
    ("form", "with_norm", "with_bias"),
    [
        # 8 channels, kernels of 3 x 3; norms have 2 parameters a channel, the last layer a bias.
        ("residual", 8 * 8 * 9 + 16 + 8 * 8 * 9 + 8, 8 * 8 * 9 + 8 + 8 * 8 * 9 + 8),
        ("bottleneck", 16 + 4 + 36 + 4 + 16 + 8, 16 + 2 + 36 + 2 + 16 + 8),
        ("inverted", 256 + 64 + 288 + 64 + 256 + 8, 256 + 32 + 288 + 32 + 256 + 8),
        ("identity", 8 * 8 * 9 + 8, 8 * 8 * 9 + 8),
    ],
)
def test_deepen_builds_the_block_of_its_form(form, with_norm, with_bias):
    for norm, expected in ((True, with_norm), (False, with_bias)):
        change = convolutions(norm).apply(Deepen(after="2", form=form))
        assert change.params_after - change.params_before == expected


def test_deepen_takes_no_norm_of_another_rank():
    """A vector's batch norm would fail on one sample, where the model itself doesn't."""
    living = convolutions(norm=True)
    living.apply(Deepen(after="6"))
    assert living.train()(torch.randn(1, 1, 6, 6)).shape == (1, 2)


def test_deepen_over_a_sequence_is_linear():
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2))
    for form, expected in (("inverted", 8 * 32 + 32 + 32 * 8 + 8), ("bottleneck", 18 + 6 + 24)):
        living = LivingModel(net, torch.randn(2, 5, 3))
        change = living.apply(Deepen(after="1", form=form))
        assert change.params_after - change.params_before == expected


def test_deepen_where_nothing_is_heard_is_refused():
    net = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.zeros_(net[2].weight)
    living = LivingModel(net, torch.randn(2, 3))
    with pytest.raises(EditError, match="silenced by a layer whose weights are all zero"):
        living.apply(Deepen(after="1"))
