"""Channel groups: which there are, which may grow, and what exactly belongs to them."""

from collections import namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import Family
from sampled import each_family
from tolerance import built, example_of
from torch import Tensor, nn

from neuroexapt import (
    Attend,
    ChannelGroup,
    Connect,
    Deepen,
    EditError,
    LivingModel,
    Split,
    Widen,
)
from neuroexapt.graph import Role


def living_of(family: Family) -> LivingModel:
    """The family's living model, which these tests only look at."""
    if family.name not in LIVING:
        LIVING[family.name] = LivingModel(built(family), example_of(family))
    return LIVING[family.name]


LIVING: dict[str, LivingModel] = {}


def tensors_of(living: LivingModel) -> dict[str, Tensor]:
    named = [
        *living.named_parameters(remove_duplicate=False),
        *living.named_buffers(remove_duplicate=False),
    ]
    return dict(named)


@each_family
def test_group_listed_as_growable_is_growable(family):
    living = living_of(family)
    assert {name: living.group(name).frozen for name in family.growable} == dict.fromkeys(
        family.growable
    )


@each_family
def test_group_listed_as_frozen_is_frozen_with_reason(family):
    living = living_of(family)
    for name, word in family.frozen.items():
        group = next((g for g in living.groups if g.name == name), None)
        reason = group.frozen if group else "it has no group of its own"
        assert reason, name
        assert word.lower() in reason.lower(), (name, reason)


@each_family
def test_group_names_are_unique_and_name_producers(family):
    living = living_of(family)
    names = [group.name for group in living.groups]
    assert len(set(names)) == len(names)
    known = {name for name, _ in living.named_modules(remove_duplicate=False)}
    assert set(names) <= known | set(tensors_of(living))


@each_family
def test_member_sizes_are_the_tensors_sizes(family):
    living = living_of(family)
    tensors = tensors_of(living)
    for group in living.groups:
        for member in group.members:
            assert len(member.units) == tensors[member.tensor].shape[member.dim]
            assert -1 <= member.units.min() <= member.units.max() < group.size


@each_family
def test_growable_group_uses_each_unit_equally_often(family):
    for group in living_of(family).groups:
        if group.frozen is None:
            assert group.producers
            assert group.consumers
            for member in group.members:
                counts = np.bincount(member.units[member.units >= 0], minlength=group.size)
                assert len(set(counts)) == 1, (group.name, member)


@each_family
def test_no_dimension_is_in_two_growable_groups_at_one_position(family):
    taken: set[tuple[str, int, int]] = set()
    for group in living_of(family).groups:
        if group.frozen is None:
            for member in group.members:
                places = {
                    (member.tensor, member.dim, int(i)) for i in np.flatnonzero(member.units >= 0)
                }
                assert not places & taken
                taken |= places


# Exact members, derived by hand

P, C, R = Role.PRODUCER, Role.CONSUMER, Role.PASSENGER


class Net(nn.Module):
    """A forward written as a function of the module, and whatever it needs."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.run = forward
        for name, part in parts.items():
            if isinstance(part, nn.Module):
                self.add_module(name, part)
            else:
                self.register_parameter(name, part)

    def forward(self, x):
        return self.run(self, x)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def groups_of(model: nn.Module, example: Tensor) -> dict[str, ChannelGroup]:
    return {group.name: group for group in LivingModel(model, example).groups}


def members_of(group: ChannelGroup) -> dict[tuple[str, int], tuple[Role, list[int]]]:
    return {(m.tensor, m.dim): (m.role, m.units.tolist()) for m in group.members}


def test_members_of_conv_norm_flatten_linear():
    """A flattened channel takes as many neighbouring columns as there are positions: 2 x 2."""
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12, 2),
    )
    group = groups_of(model, noise(2, 3, 6, 6))["0"]
    assert group.frozen is None
    one = [0, 1, 2]
    assert members_of(group) == {
        ("0.weight", 0): (P, one),
        ("0.bias", 0): (R, one),
        ("1.weight", 0): (R, one),
        ("1.bias", 0): (R, one),
        ("1.running_mean", 0): (R, one),
        ("1.running_var", 0): (R, one),
        ("5.weight", 1): (C, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]),
    }


def test_members_of_channels_last_flatten():
    """Positions first: the columns run through the channels once a position."""
    model = Net(
        lambda net, x: net.fc(net.conv(x).permute(0, 2, 3, 1).flatten(1)),
        conv=nn.Conv2d(3, 3, 1, bias=False),
        fc=nn.Linear(12, 2),
    )
    group = groups_of(model, noise(2, 3, 2, 2))["conv"]
    assert members_of(group) == {
        ("conv.weight", 0): (P, [0, 1, 2]),
        ("fc.weight", 1): (C, [0, 1, 2] * 4),
    }


def test_members_of_cat_are_offset():
    model = Net(
        lambda net, x: net.fc(torch.cat([net.a(x), x, net.b(x)], 1)),
        a=nn.Linear(4, 2, bias=False),
        b=nn.Linear(4, 3, bias=False),
        fc=nn.Linear(9, 2),
    )
    groups = groups_of(model, noise(2, 4))
    no = [-1] * 4
    assert members_of(groups["a"])["fc.weight", 1] == (C, [0, 1, *no, -1, -1, -1])
    assert members_of(groups["b"])["fc.weight", 1] == (C, [-1, -1, *no, 0, 1, 2])


def test_members_of_a_map_concatenated_twice():
    model = Net(
        lambda net, x: net.fc(torch.cat([net.a(x).relu()] * 2, 1)),
        a=nn.Linear(4, 3),
        fc=nn.Linear(6, 2),
    )
    assert members_of(groups_of(model, noise(2, 4))["a"])["fc.weight", 1] == (C, [0, 1, 2, 0, 1, 2])


def chunk_gate(h: Tensor) -> Tensor:
    value, gate = h.chunk(2, dim=1)
    return value * gate.sigmoid()


@pytest.mark.parametrize("gate", [lambda h: F.glu(h, 1), chunk_gate], ids=["glu", "chunk"])
def test_members_of_a_gate_are_pairs(gate):
    """Channel i of the value and channel i of the gate come and go together."""
    model = Net(lambda net, x: net.fc(gate(net.a(x))), a=nn.Linear(4, 6), fc=nn.Linear(3, 2))
    group = groups_of(model, noise(2, 4))["a"]
    assert group.size == 3
    assert members_of(group) == {
        ("a.weight", 0): (P, [0, 1, 2, 0, 1, 2]),
        ("a.bias", 0): (R, [0, 1, 2, 0, 1, 2]),
        ("fc.weight", 1): (C, [0, 1, 2]),
    }


def test_members_of_grouped_convolution_are_blocks():
    """Two groups: two channels in and three out are a unit; the weight's inputs are its own."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False), nn.Conv2d(4, 6, 3, groups=2), nn.Conv2d(6, 2, 1)
    )
    group = groups_of(model, noise(2, 3, 5, 5))["0"]
    assert group.size == 2
    assert members_of(group) == {
        ("0.weight", 0): (P, [0, 0, 1, 1]),
        ("1.weight", 0): (P, [0, 0, 0, 1, 1, 1]),
        ("1.bias", 0): (R, [0, 0, 0, 1, 1, 1]),
        ("2.weight", 1): (C, [0, 0, 0, 1, 1, 1]),
    }


def test_members_of_depthwise_convolution_follow_its_input():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.Conv2d(4, 2, 1)
    )
    groups = groups_of(model, noise(2, 3, 5, 5))
    assert list(groups) == ["0", "2"]
    assert members_of(groups["0"]) == {
        ("0.weight", 0): (P, [0, 1, 2, 3]),
        ("0.bias", 0): (R, [0, 1, 2, 3]),
        ("1.weight", 0): (P, [0, 1, 2, 3]),
        ("2.weight", 1): (C, [0, 1, 2, 3]),
    }


def test_members_of_grouped_transposed_convolution():
    """The weight's first dimension is its input; a group's outputs share the second."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(4, 6, 3, groups=2), nn.Conv2d(6, 2, 1)
    )
    group = groups_of(model, noise(2, 3, 5, 5))["0"]
    assert group.size == 2
    found = members_of(group)
    assert found["1.weight", 0] == (P, [0, 0, 1, 1])
    assert ("1.weight", 1) not in found
    assert found["1.bias", 0] == (R, [0, 0, 0, 1, 1, 1])
    assert found["2.weight", 1] == (C, [0, 0, 0, 1, 1, 1])


def test_members_of_group_norm_are_blocks():
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.GroupNorm(3, 6), nn.Conv2d(6, 2, 1))
    group = groups_of(model, noise(2, 3, 4, 4))["0"]
    assert group.size == 3
    assert members_of(group)["1.weight", 0] == (R, [0, 0, 1, 1, 2, 2])


def test_members_of_pixel_shuffle_are_blocks():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.PixelShuffle(2), nn.Conv2d(2, 3, 1))
    group = groups_of(model, noise(2, 3, 4, 4))["0"]
    assert group.size == 2
    assert members_of(group) == {
        ("0.weight", 0): (P, [0, 0, 0, 0, 1, 1, 1, 1]),
        ("0.bias", 0): (R, [0, 0, 0, 0, 1, 1, 1, 1]),
        ("2.weight", 1): (C, [0, 1]),
    }


def test_members_of_channel_shuffle_are_strided():
    """Channels i and i + 3 of two groups of three become neighbours: they come and go together."""

    def forward(net, x):
        h = net.a(x)
        h = h.view(h.size(0), 2, -1).transpose(1, 2).reshape(h.size(0), -1)
        return net.fc(h)

    model = Net(forward, a=nn.Linear(3, 6, bias=False), fc=nn.Linear(6, 2))
    group = groups_of(model, noise(2, 3))["a"]
    assert group.frozen is None
    assert members_of(group) == {
        ("a.weight", 0): (P, [0, 1, 2, 0, 1, 2]),
        ("fc.weight", 1): (C, [0, 0, 1, 1, 2, 2]),
    }


def test_members_of_a_residual_are_merged():
    model = Net(
        lambda net, x: net.head((h := net.stem(x)) + net.outer(net.inner(h).relu())),
        stem=nn.Linear(4, 3),
        inner=nn.Linear(3, 5),
        outer=nn.Linear(5, 3, bias=False),
        head=nn.Linear(3, 2),
    )
    groups = groups_of(model, noise(2, 4))
    assert list(groups) == ["stem", "inner", "head"]
    assert members_of(groups["stem"]) == {
        ("stem.weight", 0): (P, [0, 1, 2]),
        ("stem.bias", 0): (R, [0, 1, 2]),
        ("inner.weight", 1): (C, [0, 1, 2]),
        ("outer.weight", 0): (P, [0, 1, 2]),
        ("head.weight", 1): (C, [0, 1, 2]),
    }


def test_members_of_tied_weights_are_one_tensor():
    """Both layers make the group by the same weight; their biases are two."""
    left, right = nn.Linear(4, 3), nn.Linear(4, 3)
    right.weight = left.weight
    model = Net(
        lambda net, x: net.fc(net.left(x).relu() * net.right(-x)),
        left=left,
        right=right,
        fc=nn.Linear(3, 2),
    )
    assert members_of(groups_of(model, noise(2, 4))["left"]) == {
        ("left.weight", 0): (P, [0, 1, 2]),
        ("left.bias", 0): (R, [0, 1, 2]),
        ("right.bias", 0): (R, [0, 1, 2]),
        ("fc.weight", 1): (C, [0, 1, 2]),
    }


def test_members_of_a_module_called_twice():
    """Its one weight reads and makes the group, in different dimensions."""
    model = Net(
        lambda net, x: net.fc(net.mix(net.mix(net.stem(x)).relu())),
        stem=nn.Linear(4, 3, bias=False),
        mix=nn.Linear(3, 3, bias=False),
        fc=nn.Linear(3, 2),
    )
    assert members_of(groups_of(model, noise(2, 4))["stem"]) == {
        ("stem.weight", 0): (P, [0, 1, 2]),
        ("mix.weight", 0): (P, [0, 1, 2]),
        ("mix.weight", 1): (C, [0, 1, 2]),
        ("fc.weight", 1): (C, [0, 1, 2]),
    }


def test_members_of_learned_scales_and_scalars():
    """A scale of a channel rides along, one for all doesn't; `PReLU` has either kind."""
    model = Net(
        lambda net, x: net.head(
            net.scalar * net.one(net.each(net.conv(x) * net.scale)) + net.shift
        ),
        conv=nn.Conv2d(3, 4, 1, bias=False),
        each=nn.PReLU(4),
        one=nn.PReLU(),
        head=nn.Conv2d(4, 2, 1),
        scale=nn.Parameter(torch.ones(1, 4, 1, 1)),
        shift=nn.Parameter(torch.ones(4, 1, 1)),
        scalar=nn.Parameter(torch.tensor(2.0)),
    )
    found = members_of(groups_of(model, noise(2, 3, 4, 4))["conv"])
    assert set(found) == {
        ("conv.weight", 0),
        ("each.weight", 0),
        ("head.weight", 1),
        ("scale", 1),
        ("shift", 0),
    }


# What must be frozen, and why


@pytest.mark.parametrize(
    ("forward", "word"),
    [
        (lambda net, h: net.fc(h * h.shape[1] ** -0.5), "number of channels"),
        (lambda net, h: net.fc(h / h.size(-1)), "number of channels"),
        (lambda net, h: net.fc(h / h.new_full((1,), h.shape[1])), "number of channels"),
        (lambda net, h: net.fc(h.view(-1, 6)), "view"),
        (lambda net, h: net.fc(torch.cat([h[:, 3:], h[:, :3]], 1)), "line up"),
        (lambda net, h: net.fc(torch.cat([h[:, :2], h[:, 2:].flip(1)], 1)), "line up"),
        (lambda net, h: net.fc(torch.cat([h[:, :4], h[:, :2]], 1)), "unevenly"),
        (lambda net, h: net.fc(h.softmax(1)), "softmax"),
        (lambda net, h: net.fc(h - h.mean(1, keepdim=True)), "mean"),
        (lambda net, h: net.fc(h / (1 + h.norm())), "norm"),
        (lambda net, h: net.fc(F.normalize(h, dim=1)), "normalize"),
        (lambda net, h: net.fc(h.cumsum(1)), "cumsum"),
        (lambda net, h: net.fc(h.sort(1)[0]), "sort"),
        (lambda net, h: net.fc(h.sort().values), "sort"),
        (lambda net, h: net.fc(h.topk(6).values), "topk"),
        (lambda net, h: net.fc(h.index_select(1, torch.tensor([5, 4, 3, 2, 1, 0]))), "select"),
        (lambda net, h: net.fc(h - torch.var_mean(h, 1, keepdim=True)[1]), "var_mean"),
        (lambda net, h: net.fc(h / torch.linalg.vector_norm(h)), "norm"),
        (lambda net, h: net.fc(torch.addmm(net.fc.bias[:1], h, h.T @ h)), "multiplies"),
        (lambda net, h: net.fc(F.layer_norm(h, (6,))), "norm"),
        (lambda net, h: net.fc(F.dropout(h, 0.0) + torch.randn_like(h)), "randn_like"),
        (lambda net, h: net.fc(F.dropout(h, 0.1, True)), "mask"),
        (lambda net, h: net.fc(h * net.fc.weight.norm()), "norm"),
        (lambda net, h: (net.fc(h), h), "output"),
        (lambda net, h: (h.unsqueeze(2) @ net.fc(h).unsqueeze(1)).sum(1), "reduces over"),
    ],
)
def test_group_is_frozen_with_reason(forward, word):
    model = Net(lambda net, x: forward(net, net.a(x).tanh()), a=nn.Linear(4, 6), fc=nn.Linear(6, 2))
    group = groups_of(model, noise(8, 4))["a"]
    assert group.frozen is not None
    assert word in group.frozen


def unpacked(h: Tensor) -> Tensor:
    largest, where = torch.max(h, 2)
    return torch.where(where > 0, largest, 0.5 * largest)


@pytest.mark.parametrize(
    "pooled",
    [
        lambda h: h.max(dim=2).values,
        unpacked,
        lambda h: h.median(dim=2).values,
        lambda h: h.topk(2, dim=2).values.mean(2),
        lambda h: torch.sort(h, 2, descending=True).values[:, :, 0],
        lambda h: h.kthvalue(2, 2).values,
        lambda h: h.cummax(2).values[:, :, -1],
        lambda h: torch.std_mean(h, 2)[0],
        lambda h: torch.linalg.vector_norm(h, dim=2),
        lambda h: h.unfold(2, 3, 1).amax((2, 3)),
        lambda h: h.index_select(2, torch.tensor([3, 1])).sum(2),
        lambda h: torch.nansum(h, 2),
    ],
)
def test_channels_pass_what_mixes_positions(pooled):
    model = Net(lambda net, x: net.fc(pooled(net.a(x))), a=nn.Conv1d(3, 6, 1), fc=nn.Linear(6, 2))
    living = LivingModel(model, noise(8, 3, 5))
    assert living.group("a").frozen is None
    assert living.apply(Split(group="a", units=(1, 4))).max_error < 1e-6
    assert living.apply(Widen(group="a", count=3)).max_error < 1e-6


def test_members_of_a_product_with_a_bias():
    """As in the layers of GPT-2, whose weights are inputs times outputs."""
    model = Net(
        lambda net, x: net.fc(torch.addmm(net.shift, net.a(x), net.weight).relu()),
        a=nn.Linear(4, 6),
        weight=nn.Parameter(noise(6, 5)),
        shift=nn.Parameter(noise(5)),
        fc=nn.Linear(5, 2),
    )
    living = LivingModel(model, noise(8, 4))
    found = {group.name: group for group in living.groups}
    assert members_of(found["a"])["weight", 0] == (C, [0, 1, 2, 3, 4, 5])
    assert members_of(found["weight"]) == {
        ("weight", 1): (P, [0, 1, 2, 3, 4]),
        ("shift", 0): (R, [0, 1, 2, 3, 4]),
        ("fc.weight", 1): (C, [0, 1, 2, 3, 4]),
    }
    for name in ("a", "weight"):
        assert living.apply(Split(group=name, units=(0, 2))).max_error < 1e-6


def parts_of(net, h, size):
    first, second = h.split(size, 1)
    return net.fc(torch.cat([first.relu(), second], 1))


@pytest.mark.parametrize(
    ("frozen", "reason", "written_so"),
    [
        (
            lambda net, h: net.fc(h.view(-1, 6)),
            "a shape constant in `view`: sizes taken from x.shape, or -1, could follow",
            lambda net, h: net.fc(h.view(-1, h.size(1))),
        ),
        (
            lambda net, h: parts_of(net, h, [2, 4]),
            "a shape constant in `split`: sizes taken from x.shape, or -1, could follow",
            lambda net, h: parts_of(net, h, [2, h.size(1) - 2]),
        ),
        (
            lambda net, h: parts_of(net, h, 3),
            (
                "`split` gives 3 parts, not 2, with one channel more: a size taken from x.shape "
                "could follow"
            ),
            lambda net, h: parts_of(net, h, (h.size(1) + 1) // 2),
        ),
        (
            lambda net, h: net.fc(torch.cat([h[:, :4], h[:, :2]], 1)),
            (
                "its channels are used unevenly by 'fc.weight', some more often than others: with "
                "a layer for each use they could grow"
            ),
            lambda net, h: net.wide(torch.cat([h, net.b(h)], 1)),
        ),
    ],
    ids=["view", "sections", "size", "uneven"],
)
def test_reason_says_how_it_could_grow(frozen, reason, written_so):
    def group_of(forward):
        layers = {"a": nn.Linear(4, 6), "b": nn.Linear(6, 2), "fc": nn.Linear(6, 2)}
        layers["wide"] = nn.Linear(8, 2)
        model = Net(lambda net, x: forward(net, net.a(x).tanh()), **layers)
        return groups_of(model, noise(8, 4))["a"]

    assert group_of(frozen).frozen == reason
    assert group_of(written_so).frozen is None


@pytest.mark.parametrize("pack", [namedtuple("Pair", "first second"), lambda *parts: parts])
def test_object_that_a_leaf_gives_freezes_and_a_tuple_does_not(pack):
    class Packs(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(6, 5)

        def forward(self, x):
            h = self.inner(x)
            return pack(h, 2 * h)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.packs, self.out = nn.Linear(4, 6), Packs(), nn.Linear(5, 2)

        def forward(self, x):
            first, second = self.packs(self.into(x).relu())
            return self.out(first + second)

    living = LivingModel(Model(), noise(8, 4), leaves=(Packs,))
    packed = "`Pair` packs them into an object, which a plain tuple would not hide"
    assert living.group("packs.inner").frozen == (packed if isinstance(pack, type) else None)


def test_layer_that_reads_the_model_input_by_a_tied_weight_is_frozen():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(6, 2))
    assert "model input" in groups_of(model, noise(4, 6))["0"].frozen


def test_slices_of_one_weight_in_another_order_are_frozen():
    """Newborn rows come last in the weight, so in its last slice, wherever that goes."""
    model = Net(
        lambda net, x: net.fc(torch.cat([F.linear(x, net.w[3:]), F.linear(x, net.w[:3])], 1)),
        w=nn.Parameter(torch.randn(6, 4)),
        fc=nn.Linear(6, 2),
    )
    assert "line up" in groups_of(model, noise(4, 4))["w"].frozen


@pytest.mark.parametrize("wrap", ["parametrization", "hook"])
def test_computed_weight_is_frozen(wrap):
    """Weight normalisation in both spellings: the weight isn't a parameter."""
    if wrap == "hook":
        with pytest.warns(FutureWarning, match="deprecated"):
            layer = torch.nn.utils.weight_norm(nn.Linear(6, 5))
    else:
        layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), layer, nn.ReLU(), nn.Linear(5, 3))
    model = nn.Sequential(model, nn.ReLU(), nn.Linear(3, 2))
    groups = groups_of(model, noise(4, 4))
    remedy = "remove_parametrizations" if wrap == "parametrization" else "remove_weight_norm"
    assert remedy in groups["0.0"].frozen
    assert remedy in groups["0.2"].frozen
    assert groups["0.4"].frozen is None


def test_names_of_bare_parameters_are_their_own():
    """Two weights in one container would else have one name."""
    weights = nn.ParameterList([torch.randn(4, 6), torch.randn(6, 3), torch.randn(3, 2)])
    model = Net(lambda net, x: (x @ net.ws[0]).relu() @ net.ws[1] @ net.ws[2], ws=weights)
    groups = groups_of(model, noise(4, 4))
    assert {name: group.frozen for name, group in groups.items()} == {
        "ws.0": None,
        "ws.1": None,
        "ws.2": "an output of the model",
    }


def test_names_of_a_weight_that_makes_both_ways_are_unique():
    model = Net(lambda net, x: F.linear(net.enc(x), net.enc.weight.t()), enc=nn.Linear(4, 6))
    assert list(groups_of(model, noise(4, 4))) == ["enc", "enc.weight[1]"]


def test_site_is_the_last_node_that_carries_each_unit_once():
    """Before the reader and behind the activation: there the entropy of the units is measured."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    site = groups_of(model, noise(8, 4))["0"].site
    assert (site.node, site.dim, site.units.tolist()) == ("_2", 1, list(range(6)))


class Positioned(nn.Module):
    """Adds a learned embedding of positions, and normalises by a spread over channels."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.position = nn.Parameter(noise(1, 32, 8))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.embedding(x) + self.position[:, : x.size(1)])
        return self.head(h / (1 + h.std(-1, keepdim=True)))


def test_positions_of_a_learned_embedding_are_no_channels():
    torch.manual_seed(0)
    tokens = torch.randint(9, (8, 6))
    living = LivingModel(Positioned(), tokens)
    assert living.channel_dims(living.node("add")) == (2,)
    assert living.channel_dims(living.node("std")) == ()
    for edit in (
        Deepen(after="norm"),
        Attend(after="norm"),
        Connect(source="embedding", target="head"),
    ):
        assert living.apply(edit).max_error < 1e-6
    assert living(torch.randint(9, (2, 11))).shape == (2, 11, 3)
    with pytest.raises(EditError, match="can't be followed"):
        living.apply(Deepen(after="std"))


class Picks(nn.Module):
    """Picks positions of what its first layer gives."""

    def __init__(self, pick):
        super().__init__()
        self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)
        self.register_buffer("some", torch.tensor([2, 0, 1, 1]))
        self.register_buffer("grid", torch.arange(6).reshape(2, 3) % 4)
        self.pick = pick

    def forward(self, x, at):
        return self.last(self.pick(self, self.first(x).tanh(), at))


@pytest.mark.parametrize(
    "pick",
    [
        lambda net, h, at: h[torch.arange(h.size(0)), at],
        lambda net, h, at: h[:, net.some],
        lambda net, h, at: h[:, net.grid].mean(2),
        lambda net, h, at: h[at, ...],
        lambda net, h, at: h[:, [0, 2]],
        lambda net, h, at: h[[0, 2, 1, 3]],
        lambda net, h, at: h.transpose(1, 2)[..., net.some].transpose(1, 2),
        lambda net, h, at: h.unsqueeze(0)[:, at, None, 1],
    ],
)
def test_channels_are_followed_where_positions_are_picked(pick):
    living = LivingModel(Picks(pick), (noise(4, 5, 8), torch.tensor([1, 0, 3, 2])))
    assert living.group("first").frozen is None
    assert living.apply(Widen(group="first", count=2)).max_error < 1e-5
    assert living.apply(Split(group="first", units=(1, 6))).max_error < 1e-5


def test_channels_that_are_picked_are_frozen():
    model = Picks(lambda net, h, at: h[..., net.grid].flatten(2))
    living = LivingModel(model, (noise(4, 5, 8), torch.tensor([1, 0, 3, 2])))
    assert "picks a single channel" in living.group("first").frozen
