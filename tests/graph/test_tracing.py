"""Tracing keeps what a model computes, in both modes, and leaves the model as it was."""

import copy
import pickle
import random
import re
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import UNTRACEABLE, StochasticDepth
from sampled import each_family
from tolerance import (
    assert_equal_tensors,
    assert_same_outputs,
    built,
    example_of,
    outputs,
    relative_error,
)
from torch import Tensor, nn

from neuroexapt import LivingModel, Split, TraceError
from neuroexapt.graph.bymode import ByMode

each_untraceable = pytest.mark.parametrize("family", UNTRACEABLE, ids=lambda family: family.name)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def state_of(model: nn.Module) -> list[tuple[str, object]]:
    """Everything that a module holds, tensors by identity and value, to be compared."""
    held: list[tuple[str, object]] = []
    for name, module in model.named_modules(remove_duplicate=False):
        for key, value in vars(module).items():
            if isinstance(value, dict):
                held += [
                    (f"{name}.{key}.{k}", (id(v), v.tolist()) if isinstance(v, Tensor) else id(v))
                    for k, v in value.items()
                ]
            else:
                held.append((f"{name}.{key}", value if isinstance(value, bool) else id(value)))
    return held


# What is computed


@each_family
def test_traced_model_computes_the_same_in_both_modes(family):
    """Down to the last bit and the random numbers: the operations are the same ones."""
    model = built(family)
    living = LivingModel(model, example_of(family))
    assert_same_outputs(
        outputs(living, example_of(family)), outputs(model, example_of(family)), tolerance=0.0
    )


@each_family
def test_tracing_leaves_the_model_as_it_was(family):
    model = built(family)
    before, random = state_of(model), torch.get_rng_state()
    living = LivingModel(model, example_of(family))
    living.cost()
    assert len(living.groups) > 0
    assert state_of(model) == before
    assert_equal_tensors(torch.get_rng_state(), random)


@each_family
def test_state_dict_keys_are_the_original_ones(family):
    model = built(family)
    living = LivingModel(model, example_of(family))
    assert set(living.state_dict()) == set(model.state_dict())
    named = list(model.named_parameters())
    assert [name for name, _ in living.named_parameters()] == [name for name, _ in named]
    for name, parameter in named:
        assert living.get_parameter(name) is parameter
    living.load_state_dict(built(family, seed=1).state_dict())


@each_family
def test_deepcopy_is_equal_and_shares_nothing(family):
    living = LivingModel(built(family), example_of(family))
    twin = copy.deepcopy(living)
    assert list(twin.state_dict()) == list(living.state_dict())
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in living.parameters()}
    assert_same_outputs(
        outputs(twin, example_of(family)), outputs(living, example_of(family)), tolerance=0.0
    )


class DropsByFunction(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 50)
        self.fc2 = nn.Linear(50, 2)

    def forward(self, x):
        return self.fc2(F.dropout(self.fc1(x), 0.4, training=self.training))


def test_functional_dropout_becomes_a_dropout_module():
    living = LivingModel(DropsByFunction(), noise(4, 4))
    (dropout,) = [module for module in living.modules() if isinstance(module, nn.Dropout)]
    assert dropout.p == 0.4
    assert dropout.training
    assert not torch.equal(living(noise(4, 4)), living(noise(4, 4)))
    living.eval()
    assert_equal_tensors(living(noise(4, 4)), living(noise(4, 4)))


class LeaksByMode(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc2(F.leaky_relu(self.fc1(x), 0.5 if self.training else 0.1))


def test_constants_of_a_call_follow_the_mode():
    model = LeaksByMode()
    living = LivingModel(model, noise(4, 4))
    (by_mode,) = [module for module in living.modules() if isinstance(module, ByMode)]
    assert list(by_mode.constants.values()) == [(0.5, 0.1)]
    assert_same_outputs(outputs(living, (noise(4, 4),)), outputs(model, (noise(4, 4),)), 0.0)
    assert not torch.equal(living.train()(noise(4, 4)), living.eval()(noise(4, 4)))


def test_module_whose_operations_depend_on_the_mode_stays_whole():
    model = nn.Sequential(nn.Linear(4, 6), StochasticDepth(0.5), nn.Linear(6, 2))
    living = LivingModel(model, noise(64, 4))
    assert living.get_submodule("1") is model[1]
    living.train()
    dropped = (living(noise(64, 4)) == model[2].bias).all(1)
    assert 0 < dropped.sum() < 64
    living.eval()
    assert not (living(noise(64, 4)) == model[2].bias).all(1).any()


def test_model_whose_own_forward_depends_on_the_mode_is_refused():
    class Doubles(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return 2 * self.fc(x) if self.training else self.fc(x)

    with pytest.raises(TraceError, match=r"Doubles itself does different things in train and"):
        LivingModel(Doubles(), noise(4, 4))


def test_buffer_is_read_when_the_graph_runs():
    """A slice of it would else be a constant of the graph, which `load_state_dict` can't reach."""

    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("table", torch.arange(12.0).view(6, 2))
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return self.fc(x + self.table[: x.size(1)])

    model = Positions()
    living = LivingModel(model, noise(3, 4, 2))
    model.table.zero_()
    assert_equal_tensors(living(noise(3, 4, 2)), model.fc(noise(3, 4, 2)))
    assert living(noise(3, 5, 2)).shape == (3, 5, 2)


def test_slices_of_containers_are_traced_through():
    class Halves(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))

        def forward(self, x):
            return self.body[2:](self.body[:2](x))

    living = LivingModel(Halves(), noise(4, 4))
    assert [group.name for group in living.groups] == ["body.0", "body.2"]


# What is refused


@each_untraceable
def test_untraceable_model_is_refused_with_offender_and_remedy(family):
    model = built(family)
    before = state_of(model)
    remedy = rf"leaves=\('{family.offender}',\)" if family.offender else "submodule"
    with pytest.raises(TraceError, match=remedy) as caught:
        LivingModel(model, example_of(family))
    assert (repr(family.offender) if family.offender else type(model).__name__) in str(caught.value)
    assert state_of(model) == before


@pytest.mark.parametrize(
    "family", [f for f in UNTRACEABLE if f.offender], ids=lambda family: family.name
)
def test_untraceable_model_lives_with_its_offender_as_a_leaf(family):
    model = built(family)
    offender = model.get_submodule(family.offender)
    for leaf in (family.offender, type(offender)):
        living = LivingModel(model, example_of(family), leaves=(leaf,))
        assert living.get_submodule(family.offender) is offender
        assert_same_outputs(
            outputs(living, example_of(family)), outputs(model, example_of(family)), tolerance=0.0
        )
        assert "no rule" in " ".join(group.frozen or "" for group in living.groups)


def linear() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.zeros(3, 5), r"shapes \[\(3, 5\)\]: mat1 and mat2 shapes cannot be multiplied"),
        (torch.zeros(3, 4, dtype=torch.float64), "must have the same dtype"),
        ((torch.zeros(3, 4), torch.zeros(3, 4)), "positional arguments"),
        ({"images": torch.zeros(3, 4)}, "unexpected keyword argument 'images'"),
        ("a picture", "example_input is a str; give a tensor"),
        (3, "example_input is a int; give a tensor"),
        (torch.zeros(4), r"example_input of 4 samples, but not 8.*first dimension is the batch"),
        (torch.full((3, 4), torch.nan), "gives NaN on the example_input"),
        (torch.zeros(0, 4), r"shapes \[\(0, 4\)\] is an empty batch; give at least one sample"),
        (None, "example_input is a NoneType; give a tensor"),
        ((torch.zeros(3, 4), None), "input 1 of the example_input is None; leave it out"),
        ({"input": None}, "input 'input' of the example_input is None; leave it out"),
        (([torch.zeros(3, 4), None],), "input 0 of the example_input is None; leave it out"),
        (({"x": "text"},), "input 0 of the example_input is a str; give tensors and numbers"),
        ((np.zeros((3, 4)),), "input 0 of the example_input is a ndarray; give tensors"),
    ],
)
def test_wrong_example_input_is_refused(example, message):
    model = linear()
    before = state_of(model)
    with pytest.raises(TraceError, match=message):
        LivingModel(model, example)
    assert state_of(model) == before


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: None, "the model is a NoneType; give an nn.Module"),
        (lambda: F.relu, "the model is a function; give an nn.Module"),
        (lambda: nn.Linear, r"the model is the class Linear; give an instance: Linear\(\.\.\.\)"),
        (lambda: torch.jit.script(linear()), "the model is a RecursiveScriptModule.*Python module"),
        (lambda: torch.jit.trace(linear(), noise(3, 4)), "the model is a TopLevelTracedModule"),
        (
            lambda: nn.Sequential(torch.jit.script(linear()), nn.Linear(2, 2)),
            "its part '0' is a RecursiveScriptModule",
        ),
        (lambda: nn.DataParallel(linear()), r"wrapped in DataParallel.*model\.module"),
        (lambda: torch.compile(linear()), r"the model is compiled.*model\._orig_mod"),
    ],
    ids=["none", "function", "class", "script", "traced", "script_inside", "parallel", "compiled"],
)
def test_what_is_no_visible_module_is_refused(make, message):
    model = make()
    with pytest.raises(TraceError, match=message):
        LivingModel(model, noise(3, 4))


@pytest.mark.parametrize("parent", [None, F.relu, nn.Linear], ids=["none", "function", "class"])
def test_within_refuses_what_is_no_module(parent):
    with pytest.raises(TraceError, match=r"the model is .*; give an"):
        LivingModel.within(parent, "0", noise(3, 4))


def test_unknown_leaf_is_refused():
    with pytest.raises(TraceError, match=r"leaves names 'body', which is no module of Sequential"):
        LivingModel(linear(), noise(4, 4), leaves=("body",))


def test_living_model_is_refused():
    with pytest.raises(TraceError, match="living already"):
        LivingModel(LivingModel(linear(), noise(4, 4)), noise(4, 4))


def test_random_numbers_that_tracing_would_freeze_are_refused():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            return self.fc(x) + torch.randn(2)

    with pytest.raises(TraceError, match="tracing changes what Noisy computes in eval mode"):
        LivingModel(Noisy(), noise(4, 4))


class KeepsActivations(nn.Module):
    """Sets attributes in forward, old ones and new ones, and a constant."""

    def __init__(self, fails=False):
        super().__init__()
        self.fc = nn.Linear(4, 4)
        self.last = None
        self.calls = 0
        self.fails = fails

    def forward(self, x):
        self.calls += 1
        self.last = self.newest = self.fc(x) * torch.tensor(2.0)
        return self.last if not self.fails else self.last * float(self.last.sum())


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_attributes_that_forward_sets_are_as_before(nested, fails):
    model = KeepsActivations(fails)
    whole = nn.Sequential(nn.Linear(4, 4), model) if nested else model
    before = state_of(whole)
    if fails:
        with pytest.raises(TraceError, match="can't be traced"):
            LivingModel(whole, noise(4, 4))
    else:
        living = LivingModel(whole, noise(4, 4))
        assert living.groups[-1].frozen
    assert state_of(whole) == before


class Averages(nn.Module):
    """Divides by a number that no graph knows."""

    def forward(self, x):
        return x / (1.0 + float(x.abs().max()))


class Halves(nn.Module):
    """Goes one way or another by values, around a part that can't be traced either."""

    def __init__(self):
        super().__init__()
        self.part = Averages()

    def forward(self, x):
        x = self.part(x)
        return x if x.sum() > 0 else x / 2


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        ([Averages()], r"Averages at '1' .* Or keep it whole with leaves=\('1',\),"),
        ([Averages(), Averages()], r"'1' .*; so does '2'\. .*them whole with leaves=\('1', '2'\)"),
        ([Halves()], r"Averages at '1.part' .*; so does '1'\. .*it whole with leaves=\('1',\)"),
        (
            [Averages() for _ in range(6)],
            r"; so do '2', '3', '4' and 2 more\. .* whole with leaves=\(Averages,\)",
        ),
    ],
)
def test_one_error_names_all_parts_that_cannot_be_traced(parts, told):
    model = nn.Sequential(nn.Linear(4, 6), *parts, nn.Linear(6, 4))
    with pytest.raises(TraceError, match=told) as caught:
        LivingModel(model, noise(4, 4))
    assert isinstance(caught.value.__cause__, TypeError)
    (leaves,) = re.findall(r"leaves=(\(.*?,?\)), or", str(caught.value))
    LivingModel(model, noise(4, 4), leaves=eval(leaves))


def test_buffers_that_a_leaf_replaces_are_as_before():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x):
            self.count = self.count + 1
            return x

    model = nn.Sequential(nn.Linear(4, 6), Counts(), nn.Linear(6, 2))
    living = LivingModel(model, noise(4, 4), leaves=(Counts,))
    assert living.groups
    assert model[1].count == 0


# Inputs and outputs


class Optional(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 2)

    def forward(self, x, mask=None, scale=2.0, double=False):
        h = self.fc1(x).relu()
        if mask is not None:
            h = h * mask
        if double:
            h = 2 * h
        return scale * self.fc2(h)


def test_inputs_that_are_not_given_keep_their_defaults():
    model = Optional()
    living = LivingModel(model, noise(4, 4))
    assert_equal_tensors(living(noise(4, 4)), model(noise(4, 4)))
    assert living.apply(Split(group="fc1", units=(0,))).max_error <= 1e-5


@pytest.mark.parametrize("keywords", [False, True])
def test_inputs_that_are_given_stay_inputs(keywords):
    model, mask = Optional(), (noise(4, 1) > 0).float()
    example = {"x": noise(4, 4), "mask": mask} if keywords else (noise(4, 4), mask)
    living = LivingModel(model, example)
    assert_equal_tensors(living(noise(4, 4), mask=mask), model(noise(4, 4), mask))
    assert living.cost().macs == 4 * 6 + 6 * 2
    assert living.apply(Split(group="fc1", units=(0,))).max_error <= 1e-5


def test_nested_inputs_count_their_samples():
    class Batch(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(4, 6)
            self.fc2 = nn.Linear(6, 2)

        def forward(self, batch):
            return self.fc2(self.fc1(batch["x"]).relu())

    for example in (({"x": noise(3, 4)},), {"batch": {"x": noise(3, 4)}}):
        living = LivingModel(Batch(), example)
        assert living.cost().macs == 4 * 6 + 6 * 2
        assert living.apply(Split(group="fc1", units=(0,))).max_error <= 1e-5


Pair = namedtuple("Pair", "logits features")


@dataclass
class Named:
    logits: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda y, h: (y, h),
        lambda y, h: [y, {"features": h, "none": None, "number": 3}],
        Pair,
        lambda y, h: Named(y),
    ],
    ids=["tuple", "nested", "namedtuple", "dataclass"],
)
def test_outputs_keep_their_structure(wrap):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(4, 6)
            self.fc2 = nn.Linear(6, 2)

        def forward(self, x):
            h = self.fc1(x)
            return wrap(self.fc2(h), h)

    model = Two()
    ours, theirs = LivingModel(model, noise(4, 4))(noise(4, 4)), model(noise(4, 4))
    assert type(ours) is type(theirs)
    opened = (vars(ours), vars(theirs)) if isinstance(ours, Named) else (ours, theirs)
    torch.testing.assert_close(*opened, rtol=0, atol=0)


def test_infinite_outputs_are_compared():
    """Logits are masked with minus infinity: no reason to refuse the model."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc1 = nn.Linear(4, 6)
            self.fc2 = nn.Linear(6, 3)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf, 0.0]))

        def forward(self, x):
            return self.fc2(self.fc1(x).relu()) + self.mask

    living = LivingModel(Masked(), noise(4, 4))
    assert living.apply(Split(group="fc1", units=(0,))).max_error <= 1e-5


# The holder is a module


class Containers(nn.Module):
    """Bare parameters and buffers of all kinds, on the root and inside a container."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(4, 6)
        self.fc2 = nn.Linear(6, 2)
        self.register_buffer("kept", torch.ones(6))
        self.register_buffer("passing", torch.ones(6), persistent=False)
        self.inner = nn.Module()
        self.inner.scale = nn.Parameter(torch.ones(6))
        self.inner.register_buffer("kept", torch.ones(6))
        self.inner.register_buffer("passing", torch.ones(6), persistent=False)
        self.__dict__["plain"] = torch.arange(6.0)

    def forward(self, x):
        h = self.fc1(x) * self.kept * self.passing * torch.tensor(2.0)
        h = h * self.inner.scale * self.inner.kept * self.inner.passing
        return self.fc2(h + self.plain)


def test_persistence_of_buffers_is_kept_through_edits_and_copies():
    """Constants of the graph and plain tensors are in no state dict either."""
    model = Containers()
    living = LivingModel(model, noise(4, 4))
    keys = set(model.state_dict())
    assert set(living.state_dict()) == keys
    living.apply(Split(group="fc1", units=(0, 5)))
    assert set(living.state_dict()) == keys
    assert set(copy.deepcopy(living).state_dict()) == keys


def test_state_dict_has_both_names_of_a_shared_module():
    shared = nn.Linear(6, 6)
    model = nn.Sequential(nn.Linear(4, 6), shared, nn.ReLU(), shared, nn.Linear(6, 2))
    living = LivingModel(model, noise(4, 4))
    assert set(living.state_dict()) == set(model.state_dict())
    living.apply(Split(group="0", units=(0,)))
    assert set(living.state_dict()) == set(model.state_dict())
    assert living.get_parameter("1.weight") is living.get_parameter("3.weight")
    twin = copy.deepcopy(living)
    assert twin.get_parameter("1.weight") is twin.get_parameter("3.weight")


def test_modes_of_parts_are_kept():
    """A frozen norm stays in eval mode, before and after edits; new parts take the model's mode."""
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    model[1].eval()
    living = LivingModel(model, noise(4, 4))
    for _ in range(2):
        assert [m.training for m in living.modules()] == [True, True, False, True, True]
        living.apply(Split(group="0", units=(0,)))
    living.train()
    assert all(module.training for module in living.modules())
    living.eval()
    living.apply(Split(group="0", units=(0,)))
    assert not any(module.training for module in living.modules())
    assert not any(module.training for module in copy.deepcopy(living).modules())


def test_conversion_takes_the_example_along():
    living = LivingModel(linear(), noise(4, 4))
    assert living.groups
    living.to(torch.float64)
    assert {p.dtype for p in living.parameters()} == {torch.float64}
    change = living.apply(Split(group="0", units=(0,)))
    assert change.checked_in == "float64"
    assert living(noise(4, 4).double()).dtype == torch.float64


def test_reference_to_the_holder_stays_valid():
    living = LivingModel(linear(), noise(4, 4))
    whole = nn.Sequential(living, nn.Softmax(dim=1))
    before = whole(noise(4, 4))
    living.apply(Split(group="0", units=(0, 1)))
    assert relative_error([whole(noise(4, 4))], [before]) <= 1e-5
    assert whole.state_dict()["0.0.weight"].shape == (8, 4)
    assert len(list(whole.parameters())) == 4


def test_hooks_are_kept():
    """Those of layers, through edits, and the holder's own, through copies."""
    model, calls = linear(), []
    handle = model[0].register_forward_hook(lambda *_: calls.append("layer"))
    living = LivingModel(model, noise(4, 4))
    living.register_forward_hook(lambda *_: calls.append("holder"))
    living.apply(Split(group="0", units=(0,)))
    calls.clear()
    living(noise(4, 4))
    assert calls == ["layer", "holder"]
    calls.clear()
    copy.deepcopy(living)(noise(4, 4))
    assert calls == ["layer", "holder"]
    handle.remove()
    calls.clear()
    living(noise(4, 4))
    assert calls == ["holder"]


def test_function_is_applied_to_every_module():
    living = LivingModel(linear(), noise(4, 4))
    seen: list[nn.Module] = []
    living.apply(seen.append)
    assert seen[-1] is living
    assert len(seen) == 4


class Outer(nn.Module):
    """Not traceable; its backbone is."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
        self.unused = nn.Linear(4, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x, flip=False):
        h = self.backbone(-x if flip else x)
        return self.head(h) if h.sum() < 1e9 else h


def test_within_grows_a_submodule_in_place():
    model = Outer()
    keys, before = set(model.state_dict()), model(noise(4, 4))
    living = LivingModel.within(model, "backbone", noise(4, 4))
    assert model.backbone is living
    assert set(model.state_dict()) == keys
    living.apply(Split(group="0", units=(0, 2)))
    assert model.state_dict()["backbone.0.weight"].shape == (8, 4)
    assert relative_error([model(noise(4, 4))], [before]) <= 1e-5
    model.eval()
    assert not living.training
    assert not living.graph_module.training


def test_within_deeper_down():
    model = nn.Sequential(Outer(), nn.ReLU())
    living = LivingModel.within(model, "0.backbone", {"input": noise(4, 4)})
    assert model[0].backbone is living


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("body", "Outer has no submodule 'body'"),
        ("unused", "Outer never calls 'unused' on this example_input"),
    ],
)
def test_within_refuses_what_it_cannot_grow(name, message):
    model = Outer()
    before = state_of(model)
    with pytest.raises(TraceError, match=message):
        LivingModel.within(model, name, noise(4, 4))
    assert state_of(model) == before


class Untrained(nn.Module):
    """Keeps a part of itself from getting gradients."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_part_that_switches_gradients_off_stays_whole() -> None:
    model = nn.Sequential(Untrained(nn.Sequential(nn.Linear(4, 6), nn.ReLU())), nn.Linear(6, 2))
    living = LivingModel(model, torch.randn(3, 4))
    assert "0" in {str(node.target) for node in living.graph_module.graph.nodes}
    for _ in range(2):
        living(torch.randn(3, 4)).sum().backward()
        assert living.get_parameter("0.inner.0.weight").grad is None
        assert living.get_parameter("1.weight").grad is not None
        living.apply(Split(group="0.inner.0", units=(2,)))


def test_model_that_switches_gradients_off_itself_is_refused() -> None:
    with pytest.raises(TraceError, match="itself switches gradients off around parts"):
        LivingModel(Untrained(nn.Linear(4, 6)), torch.randn(3, 4))


class Autocasting(nn.Module):
    """Computes a part of itself in a type of its own, whatever is asked for around it."""

    def __init__(self, inner: nn.Module, enabled: bool) -> None:
        super().__init__()
        self.inner = inner
        self.enabled = enabled

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.enabled):
            return self.inner(x.float()).float()


@pytest.mark.parametrize("enabled", [True, False])
def test_part_that_enters_autocast_stays_whole_and_grows(enabled: bool) -> None:
    inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5))
    model = nn.Sequential(Autocasting(inner, enabled), nn.Linear(5, 2))
    living = LivingModel(copy.deepcopy(model), noise(3, 4))
    assert "0" in {str(node.target) for node in living.graph_module.graph.nodes}
    for around in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=around):
            assert torch.equal(living(noise(3, 4)), model(noise(3, 4)))
    if not enabled:
        assert living.apply(Split(group="0.inner.0", units=(2,))).max_error < 1e-6


@pytest.mark.parametrize("enabled", [True, False])
def test_model_that_enters_autocast_itself_is_refused(enabled: bool) -> None:
    with pytest.raises(TraceError, match="itself enters autocast, which a graph"):
        LivingModel(Autocasting(nn.Linear(4, 6), enabled), noise(3, 4))
    with torch.autocast("cpu", torch.bfloat16):
        assert LivingModel(nn.Linear(4, 6), noise(3, 4))(noise(3, 4)).dtype == torch.bfloat16


class Dropping(nn.Module):
    """Leaves a layer out, now and then."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.last = nn.Linear(6, 4)
        self.draw = draw

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.draw() < 0.5:
            return x
        return x + self.last(self.first(x).relu())


@pytest.mark.parametrize("draw", [random.random, np.random.rand], ids=["python", "numpy"])
def test_layers_dropped_by_other_random_numbers_go_on_being_dropped(draw) -> None:
    model = nn.Sequential(nn.Linear(3, 4), Dropping(draw), nn.Linear(4, 2))
    living, x = LivingModel(model, noise(8, 3)), noise(8, 3)
    living.train()
    assert len({living(x).sum().item() for _ in range(40)}) == 2
    assert "no rule" in living.group("0").frozen
    with pytest.raises(TraceError, match="itself draws from Python's or NumPy's random numbers"):
        LivingModel(Dropping(draw), noise(8, 4))


def test_sparse_input_is_refused() -> None:
    with pytest.raises(TraceError, match="a sparse tensor"):
        LivingModel(nn.Linear(4, 3), torch.eye(4).to_sparse())


def test_model_may_be_made_living_without_gradients() -> None:
    """What counts is what `forward` switches."""
    with torch.no_grad():
        living = LivingModel(nn.Sequential(nn.Linear(4, 6), nn.ReLU()), torch.randn(3, 4))
    living(torch.randn(3, 4)).sum().backward()


def test_what_has_no_parameters_may_be_computed_without_gradients() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                size = x.abs().mean(1, keepdim=True)
            return self.linear(x / (size + 1))

    model, x = Scaled(), torch.randn(3, 4)
    torch.testing.assert_close(LivingModel(model, x)(x), model(x))


# What checks may do with the example


class Prepared(nn.Module):
    """Prepares its inputs as not every number can be."""

    def __init__(self, prepare, features: int) -> None:
        super().__init__()
        self.prepare = prepare
        self.first = nn.Linear(features, 6)
        self.last = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(self.prepare(x)).tanh())


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bags = nn.EmbeddingBag(20, 3)
        self.tail = Prepared(lambda x: x, 3)

    def forward(self, tokens: Tensor, offsets: Tensor) -> Tensor:
        return self.tail(self.bags(tokens, offsets))


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (lambda: Prepared(torch.log1p, 3), torch.arange(24.0).view(8, 3)),
        (lambda: Prepared(torch.sqrt, 3), torch.arange(6.0).view(2, 3)),
        (
            lambda: Prepared(lambda x: F.one_hot(x[:, 0].long(), 5).float(), 5),
            torch.tensor([[0.0], [4.0], [2.0], [3.0], [1.0]]),
        ),
        (Table, (torch.arange(18), torch.arange(0, 18, 2))),
    ],
    ids=["log", "few samples", "one hot", "offsets"],
)
def test_model_that_takes_no_noise_is_checked_on_its_example(model, example) -> None:
    torch.manual_seed(0)
    living = LivingModel(model(), example)
    group = next(group.name for group in living.groups if group.name.endswith("first"))
    for of in (living, copy.deepcopy(living), pickle.loads(pickle.dumps(living))):
        assert of.apply(Split(group=group, units=(1,))).max_error < 1e-6


def test_model_that_gives_nan_on_its_example_is_refused() -> None:
    with pytest.raises(TraceError, match="gives NaN on the example_input"):
        LivingModel(Prepared(torch.log, 3), -torch.ones(8, 3))


@pytest.mark.parametrize("name", ["code", "graph", "meta", "edits"])
def test_names_that_a_living_model_needs_are_refused(name):
    model = nn.Sequential()
    model.add_module("first", nn.Linear(4, 3))
    model.add_module(name, nn.Linear(3, 2))
    with pytest.raises(TraceError, match=f"a part named '{name}'.*nn.Sequential"):
        LivingModel(model, torch.zeros(2, 4))
    living = LivingModel(nn.Sequential(model), torch.zeros(2, 4))
    assert living(torch.zeros(2, 4)).shape == (2, 2)
