"""What attention computes once its weights are no longer zero, against formulas written out."""

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import Attend, EditError, LivingModel

IMAGES = torch.randn(4, 3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 6, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 2),
    ).double()


def scramble(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))


def factors(living: LivingModel, pooled: Tensor) -> Tensor:
    block = living.graph_module.edit0
    return 2 * torch.sigmoid(block.last(nn.functional.silu(block.first(pooled))))


def test_attend_over_channels_scales_each_by_what_all_of_them_mean():
    net = convolutions()
    living = LivingModel(net, IMAGES)
    living.apply(Attend(after="1"))
    scramble(living.graph_module.edit0)
    hidden = net[:2](IMAGES)
    expected = net[2:](hidden * factors(living, hidden.mean((2, 3)))[:, :, None, None])
    torch.testing.assert_close(living(IMAGES), expected)


def test_attend_over_channels_reads_a_distant_source():
    net = convolutions()
    living = LivingModel(net, IMAGES)
    living.apply(Attend(after="3", source="1"))
    scramble(living.graph_module.edit0)
    near, far = net[:2](IMAGES), net[:4](IMAGES)
    expected = net[4:](far * factors(living, near.mean((2, 3)))[:, :, None, None])
    torch.testing.assert_close(living(IMAGES), expected)
    assert living.group("0").frozen is None
    assert living.group("2").frozen is None


@pytest.mark.parametrize("heads", [1, 2])
def test_attend_over_positions_is_multihead_attention(heads):
    """torch's own module, given the same weights, is the oracle."""
    net = convolutions()
    living = LivingModel(net, IMAGES)
    living.apply(Attend(after="1", form="positions", hidden=8, heads=heads))
    attention = living.graph_module.edit0.attention
    scramble(attention)
    oracle = nn.MultiheadAttention(8, heads, batch_first=True).double()
    with torch.no_grad():
        oracle.in_proj_weight.copy_(attention.qkv.weight)
        oracle.in_proj_bias.copy_(attention.qkv.bias)
        oracle.out_proj.weight.copy_(attention.project.weight)
        oracle.out_proj.bias.copy_(attention.project.bias)
    hidden = net[:2](IMAGES)
    tokens = hidden.flatten(2).transpose(1, 2)
    read, _ = oracle(tokens, tokens, tokens)
    expected = net[2:](hidden + read.transpose(1, 2).reshape(hidden.shape))
    torch.testing.assert_close(living(IMAGES), expected)


def test_attend_over_positions_takes_other_image_sizes():
    living = LivingModel(convolutions(), IMAGES)
    living.apply(Attend(after="1", form="positions"))
    assert living(torch.randn(2, 3, 9, 7, dtype=torch.float64)).shape == (2, 2)


def test_attend_over_a_sequence_keeps_its_channels_growable():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2))
    living = LivingModel(net, torch.randn(2, 5, 3))
    living.apply(Attend(after="1", form="positions"))
    living.apply(Attend(after="1", form="channels"))
    assert living.group("0").frozen is None


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Attend(after="6", form="positions"), "no positions to attend over"),
        (Attend(after="1", form="positions", source="3"), "leave source out"),
        (Attend(after="1", heads=7), "over channels has no heads, but heads is 7; leave heads out"),
        (Attend(after="1", form="positions", hidden=3, heads=2), "no multiple of the 2 heads"),
        (Attend(after="1", source="3"), "exchange"),
        (Attend(after="1", hidden=10**13), "add less"),
        (Attend(after="1", form="positions", hidden=10**13), "add less"),
        (Attend(after="nope"), "there is no node 'nope'"),
    ],
)
def test_attend_refuses(edit, message):
    living = LivingModel(convolutions(), IMAGES)
    before = living.graph_module
    with pytest.raises(EditError, match=message):
        living.apply(edit)
    assert living.graph_module is before


def test_attend_where_nothing_is_heard_is_refused():
    net = convolutions()
    nn.init.zeros_(net[2].weight)
    with pytest.raises(EditError, match="silenced by a layer whose weights are all zero"):
        LivingModel(net, IMAGES).apply(Attend(after="1"))
