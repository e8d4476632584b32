"""Models that the families lack: what they have in common is that each once broke an edit."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from families import scramble_
from seeding import seed_
from tolerance import assert_equal_tensors, assert_same_outputs, outputs
from torch import Tensor, nn

from neuroexapt import (
    Connect,
    Deepen,
    EditError,
    LivingModel,
    Prune,
    Split,
    Widen,
)


class Net(nn.Module):
    """A forward written as a function of the module, and whatever it needs."""

    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor], **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            elif isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.register_buffer(name, part)

    def forward(self, x):
        return self.run(self, x)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def tokens(*shape: int) -> Tensor:
    return torch.randint(10, shape, generator=torch.Generator().manual_seed(0))


def shared(twice: nn.Module, *between: nn.Module) -> nn.Module:
    """One module under two names."""
    return nn.Sequential(nn.Conv2d(3, 6, 1), twice, *between, twice, nn.Conv2d(6, 2, 1))


def tied_heads() -> nn.Module:
    """Two linear layers with one weight and different biases, in a row."""
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(nn.Linear(4, 6), first, nn.Tanh(), second, nn.Tanh(), nn.Linear(6, 2))


IMAGE, ROWS, SEQUENCE = noise(4, 3, 6, 6), noise(8, 4), noise(4, 5, 4)

# Name -> how to build it, its input, and the groups that must be growable.
MODELS: dict[str, tuple[Callable[[], nn.Module], Tensor, tuple[str, ...]]] = {
    "group norm without scale": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8, affine=False), nn.ReLU(), nn.Conv2d(8, 2, 1)
        ),
        IMAGE,
        ("0",),
    ),
    "instance norm without scale": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.InstanceNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1)
        ),
        IMAGE,
        ("0",),
    ),
    "instance norm without scale, shared": (
        lambda: shared(nn.InstanceNorm2d(6), nn.Conv2d(6, 6, 1)),
        IMAGE,
        ("0", "2"),
    ),
    "batch norm without scale and statistics": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6, affine=False, track_running_stats=False),
            nn.Conv2d(6, 2, 1),
        ),
        IMAGE,
        ("0",),
    ),
    "batch norm with cumulative averages": (
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.BatchNorm1d(6, momentum=None), nn.Tanh(), nn.Linear(6, 2)
        ),
        ROWS,
        ("0",),
    ),
    "convolution under two names": (
        lambda: shared(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU()),
        IMAGE,
        ("0",),
    ),
    "batch norm under two names": (
        lambda: shared(nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 6, 1)),
        IMAGE,
        ("0",),
    ),
    "dropout under two names": (
        lambda: shared(nn.Dropout(0.4), nn.ReLU(), nn.Conv2d(6, 6, 1)),
        IMAGE,
        ("0", "3"),
    ),
    "feature dropout on groups, dropout in place": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1),
            nn.Dropout2d(0.5),
            nn.Conv2d(6, 6, 1, groups=3),
            nn.Dropout(0.4, inplace=True),
            nn.Conv2d(6, 2, 1),
        ),
        IMAGE,
        ("0",),
    ),
    "dropout behind flatten": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(54, 5), nn.Linear(5, 2)
        ),
        IMAGE,
        ("0", "3"),
    ),
    "dropout across two groups": (
        lambda: Net(
            lambda net, x: net.fc((net.a(x) * net.drop(net.b(x).unsqueeze(-1)[..., 0])).flatten(1)),
            a=nn.Linear(4, 6),
            b=nn.Linear(4, 6),
            drop=nn.Dropout(0.4),
            fc=nn.Linear(6, 2),
        ),
        ROWS,
        ("a",),
    ),
    "one dropout of two concatenated groups": (
        lambda: Net(
            lambda net, x: net.fc(net.drop(torch.cat([net.a(x), net.b(x)], 1))),
            a=nn.Linear(4, 3),
            b=nn.Linear(4, 5),
            drop=nn.Dropout(0.4),
            fc=nn.Linear(8, 2),
        ),
        ROWS,
        ("a", "b"),
    ),
    "one slope for all": (
        lambda: nn.Sequential(nn.Conv2d(3, 5, 1), nn.PReLU(), nn.Conv2d(5, 2, 1)),
        IMAGE,
        ("0",),
    ),
    "single units": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.PReLU(), nn.Conv2d(1, 2, 1)
        ),
        IMAGE,
        ("0",),
    ),
    "transposed convolution, depthwise": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 1), nn.ConvTranspose2d(6, 6, 3, groups=6), nn.Conv2d(6, 2, 1)
        ),
        IMAGE,
        ("0",),
    ),
    "transposed convolution, grouped without bias": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 1),
            nn.ConvTranspose2d(8, 12, 3, groups=4, bias=False),
            nn.BatchNorm2d(12),
            nn.Conv2d(12, 2, 1),
        ),
        IMAGE,
        ("0",),
    ),
    "groups from the shape": (
        lambda: Net(
            lambda net, x: net.b(F.conv2d((h := net.a(x)), net.w, groups=h.shape[1])),
            a=nn.Conv2d(3, 6, 1),
            w=nn.Parameter(torch.randn(6, 1, 3, 3)),
            b=nn.Conv2d(6, 2, 1),
        ),
        IMAGE,
        ("a",),
    ),
    "integer constants": (
        lambda: Net(
            lambda net, x: net.b(net.a(x) + torch.arange(6)), a=nn.Linear(4, 6), b=nn.Linear(6, 2)
        ),
        ROWS,
        ("a",),
    ),
    "scales in buffers": (
        lambda: Net(
            lambda net, x: net.b(net.a(x) * net.scale + net.shift),
            a=nn.Linear(4, 6),
            b=nn.Linear(6, 2),
            scale=torch.arange(1.0, 7.0),
            shift=torch.arange(5 * 6.0).view(5, 6),
        ),
        SEQUENCE,
        ("a",),
    ),
    "positions from a buffer": (
        lambda: Net(
            lambda net, x: net.b(net.word(x) + net.place(net.index[:, : x.shape[1]])),
            word=nn.Embedding(10, 6, padding_idx=0),
            place=nn.Embedding(7, 6),
            b=nn.Linear(6, 2),
            index=torch.arange(7)[None],
        ),
        tokens(4, 5),
        ("word",),
    ),
    "one map twice": (
        lambda: Net(
            lambda net, x: net.b(torch.cat([(h := net.a(x)), h.tanh()], 1)),
            a=nn.Linear(4, 5),
            b=nn.Linear(10, 2),
        ),
        ROWS,
        ("a",),
    ),
    "three parts of one layer": (
        lambda: Net(
            lambda net, x: net.b((q := net.a(x).chunk(3, 1))[0] * q[1] + q[2]),
            a=nn.Linear(4, 9),
            b=nn.Linear(3, 2),
        ),
        ROWS,
        ("a",),
    ),
    "maximum of neighbours": (
        lambda: Net(
            lambda net, x: net.b(net.a(x).view(x.size(0), -1, 2).amax(-1)),
            a=nn.Linear(4, 10),
            b=nn.Linear(5, 2),
        ),
        ROWS,
        ("a",),
    ),
    "every channel repeated": (
        lambda: Net(
            lambda net, x: net.b(net.a(x).repeat_interleave(2, 1) * 0.5),
            a=nn.Linear(4, 5),
            b=nn.Linear(10, 2),
        ),
        ROWS,
        ("a",),
    ),
    "in place throughout": (
        lambda: Net(
            lambda net, x: net.b(net.a(x).relu_().add_(1).mul_(net.gain)),
            a=nn.Linear(4, 6),
            b=nn.Linear(6, 2),
            gain=nn.Parameter(torch.ones(6)),
        ),
        ROWS,
        ("a",),
    ),
    "layer on a view of a parameter": (
        lambda: Net(
            lambda net, x: net.b(net.a(x) + net.mix(net.query.view(1, -1))),
            a=nn.Linear(4, 6),
            mix=nn.Linear(3, 6),
            query=nn.Parameter(torch.ones(3)),
            b=nn.Linear(6, 2),
        ),
        ROWS,
        ("a",),
    ),
    "tied layers in a row": (tied_heads, ROWS, ("0",)),
    "one sample": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 5),
            nn.BatchNorm1d(5),
            nn.Linear(5, 2),
        ),
        IMAGE[:1],
        ("0", "4"),
    ),
    "frozen parameters": (
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2)
        ).requires_grad_(False),
        ROWS,
        ("0", "2"),
    ),
}


def batched(x: Tensor) -> Tensor:
    """The input as what a model in train mode can take: norms need several samples."""
    return torch.cat([x, x.flip(-1), 2 * x]) if len(x) == 1 else x


@pytest.mark.parametrize("name", list(MODELS))
def test_growable_groups_of_unusual_models_grow(name):
    build, x, growable = MODELS[name]
    model = scramble_(build()).double()
    x = x.double() if x.is_floating_point() else x
    base = LivingModel(model, x)
    assert tuple(g.name for g in base.groups if g.frozen is None) == growable
    expected = outputs(model, (batched(x),))
    for group in growable:
        living = copy.deepcopy(base)
        size = living.group(group).size
        every = tuple(reversed(range(size)))
        for edit in (
            Split(group=group, units=every),
            Widen(group=group, count=1),
            Prune(group=group, units=(2 * size,)),
            Widen(group=group, count=2, init="paired"),
            Split(group=group, units=(2 * size + 1, 0)),
        ):
            living.apply(edit, check=False)
            assert_same_outputs(outputs(living, (batched(x),)), expected)
            assert living.group(group).frozen is None
        assert living.group(group).size == 2 * size + 4


def test_dropout_shares_masks_along_two_dimensions():
    """Both groups reach one dropout: each keeps its own dimension of the masks."""
    model = Net(
        lambda net, x: net.c(net.drop(net.b(net.a(x).transpose(1, 2))).transpose(1, 2)).sum(1),
        a=nn.Linear(4, 6),
        b=nn.Linear(5, 7),
        drop=nn.Dropout(0.4),
        c=nn.Linear(6, 3),
    ).double()
    x = SEQUENCE.double()
    expected = outputs(model, (x,))
    living = LivingModel(model, x)
    for name in [g.name for g in living.groups if g.frozen is None] * 2:
        living.apply(Split(group=name, units=(0, 2)), check=False)
        assert_same_outputs(outputs(living, (x,)), expected)


def test_dropout_inside_a_leaf_freezes():
    """Its masks can't be shared; the reason says so, instead of an edit that is refused later."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 6)
            self.drop = nn.Dropout(0.5)

        def forward(self, x):
            x = self.drop(self.fc(x))
            return x + torch.zeros_like(x).normal_() if self.training else x

    living = LivingModel(nn.Sequential(Block(), nn.ReLU(), nn.Linear(6, 2)), ROWS)
    assert "inside a leaf" in living.group("0.fc").frozen


def test_layers_inside_a_leaf_grow():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 6)
            self.norm = nn.BatchNorm1d(6)

        def forward(self, x):
            x = self.norm(self.fc(x)).tanh()
            return x if self.training else x.clamp(-0.9, 0.9)

    model = nn.Sequential(Block(), nn.ReLU(), nn.Linear(6, 2)).double()
    living = LivingModel(model, ROWS.double())
    expected = outputs(model, (ROWS.double(),))
    living.apply(Split(group="0.fc", units=(1, 4)))
    assert living.get_submodule("0.norm").num_features == 8
    assert_same_outputs(outputs(living, (ROWS.double(),)), expected)
    assert model[0].fc.weight.shape == (6, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_widens_and_deepens(dtype):
    """Compared in float32; what is zero is zero in any precision."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 2))
    living = LivingModel(model.to(dtype), ROWS.to(dtype))
    for edit in (
        Widen(group="0", count=2),
        Widen(group="2", count=2, init="paired"),
        Deepen(after="1"),
        Deepen(after="3", form="identity"),
        Connect(source="1", target="2"),
    ):
        assert living.apply(edit).max_error <= 1e-5
    assert {p.dtype for p in living.parameters()} == {dtype}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_split_is_exact(dtype):
    """The shares of an outgoing weight are rounded so that their sum is the weight itself."""
    model = nn.Sequential(nn.Linear(4, 60), nn.ReLU(), nn.Linear(60, 50)).to(dtype)
    living = LivingModel(model, ROWS.to(dtype))
    before = living.get_parameter("2.weight").clone()
    assert living.apply(Split(group="0", units=tuple(range(60)))).max_error <= 1e-5
    parents, twins = living.get_parameter("2.weight").double().chunk(2, 1)
    assert_equal_tensors(parents + twins, before.double())
    assert (parents != twins).double().mean() > 0.9


def test_newborns_of_equal_edits_differ():
    """With one seed for every edit, as by default, newborn units must still not be twins."""
    living = LivingModel(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), ROWS)
    living.apply(Widen(group="0", count=1))
    living.apply(Widen(group="0", count=1))
    first, second = living.get_parameter("0.weight")[6:]
    assert not torch.allclose(first / first.norm(), second / second.norm())


def test_edit_is_determined_by_its_seed():
    def weights(seed: int) -> list[Tensor]:
        seed_(0)
        living = LivingModel(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), ROWS)
        seed_(seed + 1)  # the global state must not matter
        living.apply(Widen(group="0", count=1), seed=7)
        living.apply(Split(group="0", units=(0,)), seed=seed)
        living.apply(Deepen(after="1"), seed=8)
        return [p.detach() for p in living.parameters()]

    same, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(a, b) for a, b in zip(same, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(same, other, strict=True))


def test_padding_stays_zero():
    model = nn.Sequential(nn.Embedding(10, 6, padding_idx=0), nn.Linear(6, 2))
    living = LivingModel(model, tokens(4, 5))
    living.apply(Widen(group="0", count=2))
    living.apply(Split(group="0", units=(0,)))
    assert_equal_tensors(living.get_parameter("0.weight")[0].detach(), torch.zeros(9))


@pytest.mark.parametrize("trainable", [True, False])
def test_gradmax_looks_past_frozen_parameters_and_disabled_gradients(trainable):
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)).requires_grad_(trainable)
    living = LivingModel(model, ROWS)
    with torch.no_grad():
        change = living.apply(
            Widen(group="0", count=3, init="gradmax"), loss=lambda net: net(ROWS).square().sum()
        )
    assert change.max_error <= 1e-5
    assert {p.requires_grad for p in living.parameters()} == {trainable}


def test_warnings_that_are_errors_leave_model_and_optimizer_together():
    """A warning comes when everything is done: whoever turns it into an error has both edited."""
    living = LivingModel(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), ROWS)
    optimizer = torch.optim.Adafactor(living.parameters())
    living(ROWS).square().sum().backward()
    optimizer.step()
    with warnings.catch_warnings(), pytest.raises(UserWarning, match="reset for"):
        warnings.simplefilter("error")
        living.apply(Split(group="0", units=(0,)), optimizer)
    assert len(living.edits) == 1
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in living.parameters()}


def test_edit_that_gives_a_broken_model_is_refused():
    """Whatever coupling overlooks must not get past the transaction."""

    class Broken(Widen):
        def rewrite(self, living, context):
            rewrite = super().rewrite(living, context)
            replaced = {k: v for k, v in rewrite.replaced.items() if k != "2"}
            return type(rewrite)(rewrite.graph, replaced, rewrite.ancestry)

    living = LivingModel(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)), ROWS)
    before = living.graph_module
    with pytest.raises(EditError, match=r"gives a model that doesn't run .*; nothing was changed"):
        living.apply(Broken(group="0", count=1))
    assert living.graph_module is before


def test_connection_follows_other_input_sizes_than_the_example():
    seed_(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.Upsample(scale_factor=4)
    )
    living = LivingModel(model, torch.randn(2, 3, 16, 16))
    other = torch.randn(2, 3, 24, 24)
    expected = living(other)
    living.apply(Connect(source="0", target="2"))
    living.apply(Connect(source="2", target="3"))
    assert torch.allclose(living(other), expected, atol=1e-6)
    assert living.group("0").frozen is None
