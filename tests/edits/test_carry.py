"""Optimisers, schedulers, scalers and averages go on across edits as if nothing had happened."""

import copy
import json
from collections.abc import Callable, Iterable

import pytest
import torch
from families import FAMILIES, tensors
from seeding import seed_
from tolerance import assert_equal_tensors, assert_same_outputs, built, example_of, outputs
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Muon, Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neuroexapt import (
    Change,
    Connect,
    Deepen,
    Edit,
    EditError,
    LivingModel,
    Prune,
    Split,
    Widen,
    carry_optimizer,
    replay,
)
from neuroexapt.edits import dump_edits, load_edits
from neuroexapt.graph import Role
from neuroexapt.training import Recipe, build_optimizer

FAMILY = {family.name: family for family in FAMILIES}


def loss_of(living: nn.Module, inputs: tuple[Tensor, ...], seed: int) -> Tensor:
    """A loss without symmetries, with dropout from a seed."""
    seed_(seed)
    return sum((t * torch.randn_like(t)).sum() + t.square().sum() for t in tensors(living(*inputs)))


def train(living: LivingModel, inputs, optimizers: Iterable[Optimizer], num_steps: int = 1) -> None:
    living.train()
    for step in range(num_steps):
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss_of(living, inputs, seed=step).backward()
        for optimizer in optimizers:
            optimizer.step()


KINDS = ("split", "widen", "paired", "residual", "identity", "connect")


def edit_of(living: LivingModel, kind: str) -> Edit | None:
    """An edit of this kind, in the first place that has it."""
    name = next(g.name for g in living.groups if g.frozen is None and g.size > 2)
    nodes = list(dict.fromkeys(living.nodes))
    candidates: dict[str, list[Edit]] = {
        "split": [Split(group=name, units=(2, 0))],
        "widen": [Widen(group=name, count=2)],
        "paired": [Widen(group=name, count=2, init="paired")],
        "residual": [Deepen(after=node) for node in nodes],
        "identity": [Deepen(after=node, form="identity") for node in nodes],
        "connect": [Connect(source=a, target=b) for a in nodes[1:] for b in nodes[3:]],
    }
    for edit in candidates[kind]:
        try:
            copy.deepcopy(living).apply(edit, check=False)
        except EditError:
            continue
        return edit
    return None


# The law: an inherited parameter's next step is the one that it would have made without the edit


def comparable(living: LivingModel, edit: Edit) -> dict[str, Tensor]:
    """By name, where the gradient after an edit is that before it.

    A split unit shares its gradient with its twin in what makes it (rows of producers, its norm);
    everywhere else, and after every other edit, gradients are the same.
    """
    everywhere = {
        name: torch.ones(p.shape, dtype=torch.bool) for name, p in living.named_parameters()
    }
    if isinstance(edit, Split):
        for member in living.group(edit.group).members:
            if member.role is not Role.CONSUMER and member.tensor in everywhere:
                split = torch.isin(torch.from_numpy(member.units), torch.tensor(edit.units))
                places = everywhere[member.tensor].movedim(member.dim, 0)
                places[split] = False
    return everywhere


def inherited(change: Change, name: str, new: Tensor, old: Tensor) -> Tensor:
    """The part of a new tensor that continues an old one, in the old one's order."""
    for item in change.ancestry:
        if item.name == name:
            for dim, source in item.layouts.items():
                places = torch.tensor([source.tolist().index(i) for i in range(old.shape[dim])])
                new = new.index_select(dim, places)
    return new


WITHOUT = {("gated", "identity")}
"""Where a kind of edit has no place: that family has no rectifier."""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda ps: SGD(ps, lr=1e-3, momentum=0.9, nesterov=True),
        lambda ps: AdamW(ps, lr=1e-3, weight_decay=0.0),
    ],
    ids=["sgd", "adamw"],
)
@pytest.mark.parametrize(
    "name", ["mlp", "resnext", "mobilenet_v3", "densenet", "gated", "called_twice"]
)
def test_step_of_inherited_parameters_is_the_ungrown_models(name, make, kind):
    inputs = example_of(FAMILY[name])
    living = LivingModel(built(FAMILY[name]), inputs)
    edit = edit_of(living, kind)
    if edit is None:
        assert (name, kind) in WITHOUT
        return
    optimizer = make(living.parameters())
    train(living, inputs, [optimizer], num_steps=3)
    ungrown, its_optimizer = copy.deepcopy((living, optimizer))
    places = comparable(ungrown, edit)

    change = living.apply(edit, optimizer)
    before = {name: p.detach().clone() for name, p in living.named_parameters()}
    its_before = {name: p.detach().clone() for name, p in ungrown.named_parameters()}
    train(living, inputs, [optimizer])
    train(ungrown, inputs, [its_optimizer])

    compared = 0
    for name_, parameter in ungrown.named_parameters():
        step = living.get_parameter(name_) - before[name_]
        step = inherited(change, name_, step, parameter)[places[name_]]
        expected = (parameter - its_before[name_])[places[name_]]
        torch.testing.assert_close(step, expected, rtol=1e-5, atol=1e-10)
        compared += len(step)
    assert compared > 0.5 * sum(p.numel() for p in ungrown.parameters())
    assert any((p - before[n]).abs().max() > 0 for n, p in living.named_parameters())


def test_step_with_weight_decay_is_the_ungrown_models_but_for_divided_weights():
    """Decay pulls at the weight itself: columns a/2 + d are pulled by their own share."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = AdamW(living.parameters(), lr=1e-3, weight_decay=0.1)
    train(living, inputs, [optimizer], num_steps=3)
    ungrown, its_optimizer = copy.deepcopy((living, optimizer))
    living.apply(Split(group="0", units=(0,)), optimizer)
    before = living.get_parameter("4.weight").detach().clone()
    its_before = ungrown.get_parameter("4.weight").detach().clone()
    train(living, inputs, [optimizer])
    train(ungrown, inputs, [its_optimizer])
    step = living.get_parameter("4.weight") - before
    expected = ungrown.get_parameter("4.weight") - its_before
    torch.testing.assert_close(step[:, 1:10], expected[:, 1:])
    pull = -1e-3 * 0.1 * (before[:, 0] - its_before[:, 0])
    torch.testing.assert_close(step[:, 0], expected[:, 0] + pull)


def test_momentum_of_newborns_starts_at_zero():
    """The first step of a twin's outgoing weights is plain gradient descent, its parent's isn't."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = SGD(living.parameters(), lr=0.01, momentum=0.9)
    train(living, inputs, [optimizer], num_steps=3)
    old = optimizer.state[living.get_parameter("4.weight")]["momentum_buffer"].clone()
    living.apply(Split(group="0", units=(3,)), optimizer)
    weight = living.get_parameter("4.weight")
    momentum = optimizer.state[weight]["momentum_buffer"]
    assert_equal_tensors(momentum[:, :10], old)
    assert_equal_tensors(momentum[:, 10], torch.zeros_like(old[:, 3]))
    before = weight.detach().clone()
    train(living, inputs, [optimizer])
    torch.testing.assert_close(weight[:, 10] - before[:, 10], -0.01 * weight.grad[:, 10])
    moved = -0.01 * (weight.grad[:, 3] + 0.9 * old[:, 3])
    torch.testing.assert_close(weight[:, 3] - before[:, 3], moved)


# A gradient that is pending goes on as well


@pytest.mark.parametrize("kind", [*KINDS, "prune"])
@pytest.mark.parametrize("name", ["mlp", "mobilenet_v3", "densenet", "gated", "called_twice"])
def test_step_of_inherited_parameters_after_backward_is_the_ungrown_models(name, kind):
    """With an edit between backward and step, the gradient of before is stepped with."""
    inputs = example_of(FAMILY[name])
    living = LivingModel(built(FAMILY[name]), inputs)
    group = next(g.name for g in living.groups if g.frozen is None and g.size > 2)
    pruning = Prune(group=group, units=(1,), preserving=False)
    edit = pruning if kind == "prune" else edit_of(living, kind)
    if edit is None:
        assert (name, kind) in WITHOUT
        return
    optimizer = SGD(living.parameters(), lr=1e-3, momentum=0.9)
    train(living, inputs, [optimizer], num_steps=2)
    optimizer.zero_grad()
    loss_of(living, inputs, seed=2).backward()
    next(living.parameters()).grad = None
    gradients = {name: p.grad for name, p in living.named_parameters()}
    change = living.apply(edit, optimizer)
    by_name = {item.name: item for item in change.ancestry}
    for name_, parameter in living.named_parameters():
        item = by_name.get(name_)
        old = gradients.get(name_)
        if old is None:
            assert parameter.grad is None
        elif item is None:
            assert parameter.grad is old
        else:
            assert_equal_tensors(parameter.grad, inherited_by_hand(item.layouts, old))
    optimizer.step()


def inherited_by_hand(layouts, old: Tensor) -> Tensor:
    """Slice by slice: an old one, or zeros."""
    for dim, source in layouts.items():
        slices = [old.select(dim, int(i)) * (i >= 0) for i in source]
        old = torch.stack(slices, dim)
    return old


def test_gradient_accumulates_across_an_edit():
    """Half the batch before a widening and half after it: the gradient is the whole batch's."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    living.eval()  # batch norm would not see the halves as one
    (x,) = inputs
    whole = copy.deepcopy(living)
    whole(x).square().sum().backward()
    living(x[: len(x) // 2]).square().sum().backward()
    living.apply(Widen(group="0", count=2))
    living(x[len(x) // 2 :]).square().sum().backward()
    for name in ("0.weight", "0.bias", "4.bias", "6.weight"):
        expected = whole.get_parameter(name).grad
        torch.testing.assert_close(living.get_parameter(name).grad[: len(expected)], expected)


def test_sparse_gradient_stays_sparse():
    model = nn.Sequential(nn.Embedding(9, 4, sparse=True), nn.Flatten(), nn.Linear(8, 2))
    tokens = torch.tensor([[1, 2], [2, 5]])
    living = LivingModel(model, tokens)
    optimizer = torch.optim.SparseAdam([living.get_parameter("0.weight")])
    living(tokens).square().sum().backward()
    old = living.get_parameter("0.weight").grad.to_dense()
    living.apply(Split(group="0", units=(3,)), optimizer)
    new = living.get_parameter("0.weight")
    assert new.grad.is_sparse
    assert_equal_tensors(new.grad.to_dense(), torch.cat([old, torch.zeros(9, 1)], 1))
    optimizer.step()


# Every optimiser goes on

OPTIMIZERS: dict[str, Callable[[Iterable[Tensor]], Optimizer]] = {
    "sgd": lambda ps: SGD(ps, lr=1e-3, momentum=0.9, weight_decay=0.01),
    "plain sgd": lambda ps: SGD(ps, lr=1e-3),
    "adam": lambda ps: torch.optim.Adam(ps, amsgrad=True),
    "adamw": lambda ps: AdamW(ps),
    "adamw without foreach": lambda ps: AdamW(ps, foreach=False),
    "fused adamw": lambda ps: AdamW(ps, fused=True),
    "nadam": lambda ps: torch.optim.NAdam(ps),
    "radam": lambda ps: torch.optim.RAdam(ps),
    "adamax": lambda ps: torch.optim.Adamax(ps),
    "rmsprop": lambda ps: torch.optim.RMSprop(ps, lr=1e-3, momentum=0.9, centered=True),
    "adagrad": lambda ps: torch.optim.Adagrad(ps),
    "adadelta": lambda ps: torch.optim.Adadelta(ps),
    "rprop": lambda ps: torch.optim.Rprop(ps, lr=1e-4),
    "asgd": lambda ps: torch.optim.ASGD(ps, lr=1e-4),
}


def apply_all(living: LivingModel, optimizers: Iterable[Optimizer]) -> list[Change]:
    """An edit of every kind, each checked by the model itself."""
    changes = [living.apply(edit_of(living, kind), optimizers) for kind in KINDS]
    name = changes[0].edit.group
    last = living.group(name).size - 1
    return [*changes, living.apply(Prune(group=name, units=(last,), preserving=False), optimizers)]


def assert_follows(optimizer: Optimizer, parameters: Iterable[Tensor]) -> None:
    """It holds these parameters once each, and state of their shapes for no others."""
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in held}) == len(held)
    assert {id(p) for p in held} == {id(p) for p in parameters}
    assert {id(p) for p in optimizer.state} <= {id(p) for p in held}
    for parameter, state in optimizer.state.items():
        for value in state.values():
            if isinstance(value, Tensor) and value.ndim:
                assert value.shape == parameter.shape
                assert value.isfinite().all()


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_optimizer_follows_through_every_edit(name):
    inputs = example_of(FAMILY["resnet_basic"])
    living = LivingModel(built(FAMILY["resnet_basic"]), inputs)
    optimizer = OPTIMIZERS[name](living.parameters())
    group = optimizer.param_groups[0]
    train(living, inputs, [optimizer], num_steps=2)
    steps = {float(s["step"]) for s in optimizer.state.values() if "step" in s}
    apply_all(living, [optimizer])
    assert optimizer.param_groups[0] is group
    assert_follows(optimizer, living.parameters())
    assert {float(s["step"]) for s in optimizer.state.values() if "step" in s} <= steps | {0.0}
    train(living, inputs, [optimizer], num_steps=2)
    assert_follows(optimizer, living.parameters())


@pytest.mark.parametrize("name", ["sgd", "adamw", "adagrad"])
def test_optimizer_state_is_restored_after_replay(name):
    """Parameters come in one order, so that a saved optimiser state fits the rebuilt model."""
    inputs = example_of(FAMILY["resnet_basic"])
    living = LivingModel(built(FAMILY["resnet_basic"]), inputs)
    optimizer = OPTIMIZERS[name](living.parameters())
    train(living, inputs, [optimizer], num_steps=2)
    apply_all(living, [optimizer])
    train(living, inputs, [optimizer])

    seed_model = built(FAMILY["resnet_basic"], seed=1)
    its_optimizer = OPTIMIZERS[name](seed_model.parameters())
    edits = load_edits(json.loads(json.dumps(dump_edits(living.edits))))
    twin = replay(seed_model, inputs, edits, optimizer=its_optimizer)
    twin.load_state_dict(living.state_dict())
    its_optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, optim in ((living, optimizer), (twin, its_optimizer)):
        train(model, inputs, [optim], num_steps=2)
    for key, value in living.state_dict().items():
        assert_equal_tensors(twin.state_dict()[key], value)


def test_carry_by_hand_is_the_same():
    """An optimiser that `apply` wasn't given can be carried afterwards."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = AdamW(living.parameters())
    train(living, inputs, [optimizer], num_steps=2)
    twin, its_optimizer = copy.deepcopy((living, optimizer))
    living.apply(Split(group="0", units=(0, 1)), optimizer)
    carry_optimizer(its_optimizer, twin.apply(Split(group="0", units=(0, 1))).ancestry)
    assert_follows(its_optimizer, twin.parameters())
    for model, optim in ((living, optimizer), (twin, its_optimizer)):
        train(model, inputs, [optim])
    assert_same_outputs(outputs(twin, inputs), outputs(living, inputs), tolerance=0.0)


def test_muon_and_adamw_share_the_model():
    """Muon takes matrices only: kernels and vectors that edits add must go to the other."""
    inputs = example_of(FAMILY["text_cnn"])
    living = LivingModel(built(FAMILY["text_cnn"]), inputs)
    muon = Muon([p for p in living.parameters() if p.ndim == 2], lr=1e-3)
    rest = AdamW([p for p in living.parameters() if p.ndim != 2], lr=1e-3)
    both = [muon, rest]
    train(living, inputs, both, num_steps=2)
    for edit in (
        Split(group="embedding", units=(0,)),
        Deepen(after="embedding"),
        Deepen(after="convs.0"),
        Connect(source="convs.0", target="convs.1"),
        Deepen(after="dropout"),
    ):
        living.apply(edit, both)
    assert_follows(muon, [p for p in living.parameters() if p.ndim == 2])
    assert_follows(rest, [p for p in living.parameters() if p.ndim != 2])
    train(living, inputs, both, num_steps=2)


def test_muon_on_filters_is_carried_across_edits():
    """Filters keep their momentum, newborn ones have none; what is new joins its like."""
    inputs = example_of(FAMILY["resnet_basic"])
    living = LivingModel(built(FAMILY["resnet_basic"]), inputs)
    optimizer = build_optimizer(living, Recipe(optimizer="muon", lr=0.01))
    train(living, inputs, [optimizer], num_steps=2)
    group = next(g for g in living.groups if g.frozen is None and g.size > 3)
    names = [m.tensor for m in group.producers + group.consumers]
    names = [name for name in names if living.get_parameter(name).ndim == 4]
    old = {name: optimizer.state[living.get_parameter(name)] for name in names}
    change = living.apply(Split(group=group.name, units=(2, 0)), optimizer)
    layouts = {item.name: item.layouts for item in change.ancestry}
    assert len(names) > 1
    for name in names:
        state = optimizer.state[living.get_parameter(name)]
        expected = inherited_by_hand(layouts[name], old[name]["momentum_buffer"])
        assert_equal_tensors(state["momentum_buffer"], expected)
        assert state["kept"] == old[name]["kept"]
    place = next(node for node in dict.fromkeys(living.nodes) if node.startswith("layer"))
    living.apply(Deepen(after=place), optimizer)
    filters, matrices, vectors = (group["params"] for group in optimizer.param_groups)
    assert {p.ndim for p in filters} == {4}
    assert {p.ndim for p in matrices} == {2}
    assert {p.ndim for p in vectors} == {1}
    assert_follows(optimizer, living.parameters())
    train(living, inputs, [optimizer], num_steps=2)


def test_factored_state_is_reset_with_a_warning():
    """Adafactor keeps row and column means of a matrix: there is no part of them to inherit."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = torch.optim.Adafactor(living.parameters())
    train(living, inputs, [optimizer], num_steps=2)
    untouched = living.get_parameter("6.weight")
    with pytest.warns(UserWarning, match=r"Adafactor.*reset for 0.weight, 4.weight"):
        living.apply(Split(group="0", units=(0,)), optimizer)
    assert optimizer.state[untouched]["step"] == 2
    assert living.get_parameter("0.weight") not in optimizer.state
    assert optimizer.state[living.get_parameter("0.bias")]["variance"].shape == (11,)
    train(living, inputs, [optimizer], num_steps=2)


def test_factored_state_of_a_single_row_is_reset_too():
    """Its row means are one number, which is no step count."""
    model = nn.Sequential(nn.Linear(4, 1), nn.Tanh(), nn.Linear(1, 2)).double()
    inputs = (torch.randn(8, 4, dtype=torch.float64),)
    living = LivingModel(model, inputs)
    optimizer = torch.optim.Adafactor(living.parameters())
    train(living, inputs, [optimizer])
    with pytest.warns(UserWarning, match="reset for"):
        living.apply(Split(group="0", units=(0,)), optimizer)
    train(living, inputs, [optimizer])


def test_lbfgs_is_refused():
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = torch.optim.LBFGS(living.parameters())
    with pytest.raises(EditError, match="LBFGS keeps all parameters' history in one vector"):
        living.apply(Split(group="0", units=(0,)), optimizer)
    assert living.edits == ()


# In the right group


def test_new_parameters_join_the_group_of_their_kind():
    """Vectors that aren't decayed stay so, whatever brings them."""
    inputs = example_of(FAMILY["resnet_basic"])
    living = LivingModel(built(FAMILY["resnet_basic"]), inputs)
    vectors = [p for p in living.parameters() if p.ndim < 2]
    matrices = [p for p in living.parameters() if p.ndim >= 2]
    optimizer = AdamW([{"params": vectors, "weight_decay": 0.0}, {"params": matrices}])
    apply_all(living, [optimizer])
    kept, decayed = (group["params"] for group in optimizer.param_groups)
    assert {p.ndim for p in kept} == {1}
    assert {p.ndim for p in decayed} == {2, 4}
    assert_follows(optimizer, living.parameters())


def test_new_parameters_join_the_nearest_layers_group():
    """With a learning rate for each layer, a new one takes that of the layer before it."""
    model = nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(5, 5), nn.ReLU())])
    living = LivingModel(model, torch.randn(8, 5))
    rates = {"0": 0.1, "2": 0.2, "4": 0.3}
    optimizer = SGD(
        [
            {"params": list(living.get_submodule(name).parameters()), "lr": lr}
            for name, lr in rates.items()
        ],
        lr=1.0,
    )
    change = living.apply(Deepen(after="3"), optimizer)
    new = {id(item.new) for item in change.ancestry}
    assert new <= {id(p) for p in optimizer.param_groups[1]["params"]}
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.2, 0.3]


def test_named_parameters_keep_their_names():
    living = LivingModel(built(FAMILY["mlp"]), example_of(FAMILY["mlp"]))
    optimizer = SGD(living.named_parameters(), lr=0.1)
    living.apply(Split(group="0", units=(0,)), optimizer)
    living.apply(Deepen(after="2"), optimizer)
    (group,) = optimizer.param_groups
    named = zip(group["param_names"], group["params"], strict=True)
    assert all(living.get_parameter(name) is parameter for name, parameter in named)


def test_frozen_neighbours_are_no_model_for_new_parameters():
    """A frozen backbone isn't in the optimiser; what grows in it is trained all the same."""
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    model[0].requires_grad_(False)
    living = LivingModel(model, torch.randn(8, 4))
    optimizer = SGD([p for p in living.parameters() if p.requires_grad], lr=0.1)
    living.apply(Deepen(after="1"), optimizer)
    assert_follows(optimizer, [p for p in living.parameters() if p.requires_grad])
    living.apply(Split(group="0", units=(0,)), optimizer)
    assert [p.requires_grad for p in living.get_submodule("0").parameters()] == [False, False]
    assert_follows(optimizer, [p for p in living.parameters() if p.requires_grad])


def test_new_parameters_that_no_optimizer_holds_are_told():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    living = LivingModel(model, torch.randn(8, 4))
    optimizer = SGD([living.get_parameter("2.bias")], lr=0.1)
    with pytest.warns(UserWarning, match=r"no given optimiser trains edit0\.first\.weight"):
        living.apply(Deepen(after="1"), optimizer)


# What goes along with an optimiser


@pytest.mark.parametrize(
    "schedule",
    [
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10),
        lambda optimizer: torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1),
    ],
    ids=["cosine", "one cycle", "plateau"],
)
def test_scheduler_goes_on(schedule):
    inputs = example_of(FAMILY["mlp"])
    histories = []
    for edits in ((), (Split(group="0", units=(0,)), Deepen(after="2"))):
        living = LivingModel(built(FAMILY["mlp"]), inputs)
        optimizer = SGD(living.parameters(), lr=1e-3, momentum=0.9)
        scheduler = schedule(optimizer)
        history = []
        for step in range(8):
            train(living, inputs, [optimizer])
            plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
            scheduler.step(*([1.0] if plateau else []))
            history.append([optimizer.param_groups[0][k] for k in ("lr", "momentum")])
            if step == 3:
                for edit in edits:
                    living.apply(edit, optimizer)
        histories.append(history)
    assert histories[0] == histories[1]


def test_gradient_scaler_goes_on():
    """What it unscales after an edit are the new parameters; an overflow is still skipped."""
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = SGD(living.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)

    def step(factor: float = 1.0) -> None:
        optimizer.zero_grad()
        scaler.scale(factor * loss_of(living, inputs, seed=0)).backward()
        scaler.step(optimizer)
        scaler.update()

    step()
    living.apply(Split(group="0", units=(0,)), optimizer)
    weight = living.get_parameter("0.weight")
    before = weight.detach().clone()
    step()
    torch.testing.assert_close(weight - before, -0.1 * weight.grad)
    assert scaler.get_scale() == 8.0
    before = weight.detach().clone()
    step(torch.inf)
    assert_equal_tensors(weight.detach(), before)
    assert scaler.get_scale() == 4.0


@pytest.mark.parametrize("kind", KINDS)
def test_average_goes_on(kind):
    """The same edit with the same seed keeps the average's function, and averaging goes on."""
    decay = 0.9
    inputs = example_of(FAMILY["mlp"])
    living = LivingModel(built(FAMILY["mlp"]), inputs)
    optimizer = SGD(living.parameters(), lr=0.01)
    averaged = AveragedModel(living, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    for _ in range(3):
        train(living, inputs, [optimizer])
        averaged.update_parameters(living)
    expected = outputs(averaged, inputs)
    edit = edit_of(living, kind)
    living.apply(edit, optimizer, seed=3)
    averaged.module.apply(edit, seed=3)
    assert_same_outputs(outputs(averaged, inputs), expected)

    train(living, inputs, [optimizer])
    before = copy.deepcopy(averaged.module).state_dict()
    averaged.update_parameters(living)
    for name, parameter in living.named_parameters():
        mean = decay * before[name] + (1 - decay) * parameter
        torch.testing.assert_close(averaged.module.get_parameter(name), mean)
