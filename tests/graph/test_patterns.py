"""Models that move tensors by einops become living, and grow."""

import pickle

import einops
import pytest
import torch
from einops import _backends, pack, rearrange, reduce, repeat, unpack
from einops.layers.torch import EinMix, Rearrange, Reduce
from tolerance import assert_same_outputs, outputs
from torch import Tensor, nn

from neuroexapt import LivingModel, Split, Widen


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, 8) for _ in range(3))
        self.out = nn.Linear(8, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            rearrange(made(x), "b n (h d) -> b h n d", h=self.heads)
            for made in (self.query, self.key, self.value)
        )
        seen = einops.einsum(q, k, "b h i d, b h j d -> b h i j").softmax(-1)
        return self.out(rearrange(seen @ v, "b h n d -> b n (h d)"))


class Transformer(nn.Module):
    """A vision transformer (Dosovitskiy et al. 2021) as many write it."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            Rearrange("b c (h p) (w q) -> b (h w) (p q c)", p=2, q=2), nn.Linear(12, width)
        )
        self.token = nn.Parameter(noise(1, 1, width))
        self.attention = Attention(width)
        self.inner = nn.Sequential(nn.Linear(width, 10), nn.GELU(), nn.Linear(10, width))
        self.head = nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        x = self.embed(images)
        tokens = repeat(self.token, "1 1 d -> b 1 d", b=x.shape[0])
        x, shapes = pack([tokens, x], "b * d")
        x = x + self.attention(x)
        first, rest = unpack(x + self.inner(x), shapes, "b * d")
        return self.head(
            reduce(first, "b 1 d -> b d", "sum") + reduce(rest, "b n d -> b d", "mean")
        )


def test_transformer_written_with_einops_grows() -> None:
    model = Transformer()
    living = LivingModel(model, noise(4, 3, 8, 8))
    for size in (1, 4, 7):
        assert_same_outputs(
            outputs(living, (noise(size, 3, 8, 8),)), outputs(model, (noise(size, 3, 8, 8),)), 1e-6
        )
    assert [
        living.group(name).frozen for name in ("embed.1", "attention.value", "inner.0")
    ] == 3 * [None]
    for edit in (
        Widen(group="embed.1", count=2),
        Split(group="attention.value", units=(1,)),
        Widen(group="inner.0", count=3),
    ):
        assert living.apply(edit).max_error < 1e-5
    assert living.token.shape == (1, 1, 8)
    copy = pickle.loads(pickle.dumps(living))
    assert torch.equal(copy.eval()(noise(5, 3, 8, 8)), living.eval()(noise(5, 3, 8, 8)))


class Between(nn.Module):
    """Two convolutions, and a function between them."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


class Halved(Reduce):
    """What inherits from einops' layers is one, too."""


KEEPING = {
    "pooled": lambda h: reduce(h, "b c (h 2) (w 2) -> b c h w", "max"),
    "pooled by a layer": Reduce("b c (h 2) (w 2) -> b c h w", "mean"),
    "enlarged": lambda h: repeat(h, "b c h w -> b c (h 2) (w 2)"),
    "there and back": lambda h: rearrange(
        rearrange(h, "b c h w -> b (h w) c").relu(), "b (h w) c -> b c h w", h=6
    ),
    "normalised": lambda h: h / reduce(h**2, "b c ... -> b c 1 1", "sum").sqrt(),
    "listed": lambda h: reduce([h, h.relu()], "n b c h w -> b c h w", "sum"),
    "a layer of one's own": Halved("b c (h 2) w -> b c h w", "mean"),
    "mixed": nn.Sequential(
        EinMix("b c h w -> b h w d", weight_shape="c d", bias_shape="d", c=4, d=4),
        Rearrange("b h w d -> b d h w"),
    ),
}


@pytest.mark.parametrize("name", KEEPING)
def test_channels_are_followed_through(name) -> None:
    model = Between(KEEPING[name])
    living = LivingModel(model, noise(4, 3, 6, 6))
    assert living.group("first").frozen is None
    before = outputs(living, (noise(3, 3, 6, 6),))
    assert living.apply(Split(group="first", units=(1, 2))).max_error < 1e-5
    assert living.apply(Widen(group="first", count=1)).max_error < 1e-5
    assert_same_outputs(outputs(living, (noise(3, 3, 6, 6),)), before, 1e-5)


def test_channels_that_are_mixed_up_are_frozen() -> None:
    living = LivingModel(
        Between(lambda h: rearrange(h, "b (c d) h w -> b (d c) h w", d=2)), noise(4, 3, 6, 6)
    )
    assert living.group("first").frozen is None  # in pairs
    assert living.group("first").size == 2
    living = LivingModel(
        Between(lambda h: h + reduce(h, "b c h w -> b 1 h w", "mean")), noise(4, 3, 6, 6)
    )
    assert "reduces over channels" in living.group("first").frozen


def test_hooks_of_layers_are_kept() -> None:
    doubled = Rearrange("b c h w -> b c w h")
    doubled.register_forward_hook(lambda module, inputs, output: 2 * output)
    model = Between(doubled)
    living = LivingModel(model, noise(4, 3, 6, 6))
    torch.testing.assert_close(living(noise(4, 3, 6, 6)), model(noise(4, 3, 6, 6)))
    assert "forward" not in vars(doubled)


def test_other_number_of_dimensions_is_refused_later() -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(reduce(x, "b ... c -> b c", "mean"))

    living = LivingModel(Pooled(), noise(4, 3, 5))
    with pytest.raises(
        AssertionError, match=r"number of dimensions at .*test_patterns.py.* isn't 3"
    ):
        living(noise(4, 3, 3, 5))


def test_einops_is_left_as_it_was() -> None:
    einops.rearrange(noise(2, 3), "a b -> b a")
    before = dict(_backends._loaded_backends), dict(_backends._type2backend)
    LivingModel(Transformer(), noise(4, 3, 8, 8))
    assert (_backends._loaded_backends, _backends._type2backend) == before
