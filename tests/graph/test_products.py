"""Products of tensors: which channels pass through them, and which are summed over."""

import pytest
import torch
import torch.nn.functional as F
from tolerance import assert_same_outputs, outputs
from torch import Tensor, nn

from neuroexapt import LivingModel, Split, Widen


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Graph(nn.Module):
    """Graph convolutions (Kipf and Welling 2017): neighbours' features are added up."""

    def __init__(self, spread):
        super().__init__()
        self.into, self.hidden, self.out = nn.Linear(4, 6), nn.Linear(6, 5), nn.Linear(5, 3)
        self.register_buffer("adjacency", noise(7, 7).softmax(1))
        self.spread = spread

    def forward(self, x):
        x = self.spread(self.adjacency, self.into(x)).relu()
        x = self.spread(self.adjacency, self.hidden(x)).relu()
        return self.out(x)


@pytest.mark.parametrize(
    "spread",
    [
        torch.matmul,
        lambda a, h: a @ h,
        lambda a, h: a.matmul(h),
        lambda a, h: torch.bmm(a.expand(h.size(0), -1, -1), h),
        lambda a, h: torch.einsum("ij,bjc->bic", a, h),
        lambda a, h: torch.einsum("i j, ...jc -> ...ic", a, h),
        lambda a, h: torch.einsum("ij,bjc", a, h).movedim(1, -1),
        lambda a, h: (h.mT @ a.T).mT,
    ],
)
def test_channels_pass_where_positions_are_summed(spread):
    model = Graph(spread)
    living = LivingModel(model, noise(2, 7, 4))
    assert [living.group(name).frozen for name in ("into", "hidden")] == [None, None]
    before = outputs(living, (noise(2, 7, 4),))
    assert living.apply(Split(group="into", units=(0, 3))).max_error < 1e-5
    assert living.apply(Widen(group="hidden", count=2)).max_error < 1e-5
    assert_same_outputs(outputs(living, (noise(2, 7, 4),)), before, tolerance=1e-5)
    assert living.into.out_features == 8


class Attention(nn.Module):
    """One head, or several that share nothing but the input."""

    def __init__(self, attend, heads=1):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(6, 8) for _ in range(3))
        self.out = nn.Linear(8, 2)
        self.attend, self.heads = attend, heads

    def forward(self, x):
        parts = (
            f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v)
        )
        return self.out(self.attend(*parts).transpose(1, 2).flatten(2))


def softmaxed(q, k, v):
    return (q @ k.transpose(-2, -1)).softmax(-1) @ v


def summed(q, k, v):
    scores = torch.einsum("bhid,bhjd->bhij", q, k)
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)


def fused(q, k, v):
    return F.scaled_dot_product_attention(q, k, v)


def masked(q, k, v):
    return F.scaled_dot_product_attention(q, k, v, torch.ones(5, 5, dtype=torch.bool).tril())


@pytest.mark.parametrize("attend", [softmaxed, summed, fused, masked])
@pytest.mark.parametrize("heads", [1, 2])
def test_values_of_attention_grow_and_queries_do_not(attend, heads):
    living = LivingModel(Attention(attend, heads), noise(3, 5, 6))
    assert living.group("v").frozen is None
    for name in ("q", "k"):
        assert "multiplies activations" in living.group(name).frozen
    assert living.apply(Split(group="v", units=(1,))).max_error < 1e-5
    assert living.apply(Widen(group="v", count=3)).max_error < 1e-5
    assert living.v.out_features == 8 + 4 * heads


def test_dropped_attention_still_passes_channels():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)

    living = LivingModel(Attention(attend, 2), noise(3, 5, 6))
    assert living.group("v").frozen is None
    assert living.apply(Split(group="v", units=(1,))).max_error < 1e-5


class Latents(nn.Module):
    """Learned queries, mixed by a matrix whose rows are units, look at a sequence."""

    def __init__(self, **how):
        super().__init__()
        self.latents, self.mix = nn.Parameter(noise(5, 6)), nn.Parameter(noise(7, 5))
        self.q, self.k, self.v = nn.Linear(6, 6), nn.Linear(4, 6), nn.Linear(4, 6)
        self.pool, self.out = nn.Parameter(noise(3, 7)), nn.Linear(6, 2)
        self.how = how

    def forward(self, x):
        queries = (self.mix @ self.q(self.latents)).expand(x.shape[0], -1, -1)
        seen = F.scaled_dot_product_attention(queries, self.k(x), self.v(x), **self.how)
        return self.out(self.pool @ seen)


def test_queries_pass_unless_their_order_or_chance_masks_them():
    for how in ({}, {"attn_mask": torch.ones(7, 5, dtype=torch.bool).tril()}):
        living = LivingModel(Latents(**how), noise(4, 5, 4))
        assert living.group("mix").frozen is None
        assert living.apply(Split(group="mix", units=(1,))).max_error < 1e-5
        assert living.apply(Widen(group="mix", count=2)).max_error < 1e-5
    for how, word in (({"is_causal": True}, "order"), ({"dropout_p": 0.1}, "drops attention")):
        assert word in LivingModel(Latents(**how), noise(4, 5, 4)).group("mix").frozen


class Heads(nn.Module):
    """Heads of two channels each, whose number follows from the layers; a bias for each of them."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(4, 8) for _ in range(3))
        self.bias, self.out = nn.Parameter(noise(1, 4, 5, 5)), nn.Linear(8, 2)

    def forward(self, x):
        parts = (f(x).unflatten(-1, (-1, 2)).transpose(1, 2) for f in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(*parts, attn_mask=self.bias)
        return self.out(seen.transpose(1, 2).flatten(2))


def test_heads_grow_with_their_bias():
    living = LivingModel(Heads(), noise(2, 5, 4))
    assert (living.group("q").size, living.group("q").frozen) == (4, None)
    assert living.apply(Split(group="q", units=(0,))).max_error < 1e-5
    assert living.apply(Widen(group="q", count=2)).max_error < 1e-5
    assert living.bias.shape == (1, 7, 5, 5)
    assert living.k.out_features == living.v.out_features == 14


def test_attention_of_one_tensor_with_itself_freezes_it():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(v, v, v)

    living = LivingModel(Attention(attend), noise(3, 5, 6))
    assert "multiplies activations" in living.group("v").frozen


def test_queries_of_more_dimensions_are_still_summed_over():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q.unsqueeze(0), k, v)[0]

    living = LivingModel(Attention(attend), noise(3, 5, 6))
    assert "multiplies activations" in living.group("q").frozen
    assert living.group("v").frozen is None


class Matrix(nn.Module):
    """A matrix of parameters between two layers."""

    def __init__(self, product):
        super().__init__()
        self.into, self.out = nn.Linear(4, 6), nn.Linear(5, 2)
        self.weight = nn.Parameter(noise(6, 5))
        self.product = product

    def forward(self, x):
        return self.out(self.product(self.into(x), self.weight).relu())


@pytest.mark.parametrize(
    "product",
    [
        torch.matmul,
        lambda x, w: torch.einsum("bnc,cd->bnd", x, w),
        lambda x, w: torch.einsum("cd,...c->...d", w, x),
        lambda x, w: (w.T @ x.mT).mT,
    ],
)
def test_matrix_is_a_layer_however_it_is_written(product):
    living = LivingModel(Matrix(product), noise(3, 5, 4))
    assert living.group("into").frozen is None
    assert living.group("weight").frozen is None
    assert living.apply(Widen(group="weight", count=1)).max_error < 1e-5
    assert living.apply(Split(group="into", units=(2,))).max_error < 1e-5
    assert living.weight.shape == (7, 6)


def outer(x, w):
    return torch.einsum("bi,bj->bij", x, x) @ w[:, :5] + w.sum()


def traced(x, w):
    return torch.einsum("bii->bi", x[:, None] * x[..., None]) @ w


def diagonal(x, w):
    return torch.einsum("bii,ij->bj", x[:, None] * x[..., None], w)


@pytest.mark.parametrize("product", [outer, traced, diagonal])
def test_what_meets_itself_is_frozen(product):
    living = LivingModel(Matrix(product), noise(3, 4))
    assert living.group("into").frozen
