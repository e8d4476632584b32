"""Newborn weights under a policy, against plain optimisers on plain parameters."""

import copy
import json

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import Connect, LivingModel, Prune, Split, Widen
from neuroexapt.growth import Budget, Grower, GrowthConfig, Newborns, Nursery
from neuroexapt.training import Muon

X = torch.randn(32, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Y = torch.randn(32, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def living() -> LivingModel:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    return LivingModel(net, X[:2])


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    nn.functional.mse_loss(model(X), Y).backward()
    optimizer.step()


def outgoing(model: LivingModel) -> Tensor:
    return model.graph_module.get_parameter("2.weight")


def grown(
    policy: Newborns, make, steps: int = 50
) -> tuple[LivingModel, torch.optim.Optimizer, Nursery]:
    """Trained for some steps, then widened by two units, the newborns watched over."""
    model = living()
    optimizer = make(model.parameters())
    nursery = Nursery(policy, optimizer)
    for _ in range(steps):
        step(model, optimizer)
    nursery.admit(model.apply(Widen(group="0", count=2), optimizer))
    return model, optimizer, nursery


def sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def adamw(parameters):
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def muon(parameters):
    filters, rest = [], []
    for parameter in parameters:
        (filters if parameter.ndim > 1 else rest).append(parameter)
    return Muon([{"params": filters}, {"params": rest, "rule": "adamw"}], lr=0.01, weight_decay=0.1)


@pytest.mark.parametrize("make", [sgd, adamw, muon])
def test_newborns_learn_at_their_own_rate_and_others_at_the_usual_one(make):
    neutral = Newborns(lr=1, bias_correction=False)
    eager = Newborns(lr=3, steps=10, bias_correction=False)
    steps = {}
    for policy in (neutral, eager):
        model, optimizer, _ = grown(policy, make)
        before = outgoing(model).detach().clone()
        step(model, optimizer)
        steps[policy] = outgoing(model).detach() - before
    torch.testing.assert_close(steps[eager][:, :3], steps[neutral][:, :3])
    torch.testing.assert_close(steps[eager][:, 3:], 3 * steps[neutral][:, 3:])
    assert steps[eager][:, 3:].abs().min() > 0


def test_newborns_under_muon_shrink_with_all_of_a_weight_that_has_outgrown_its_norm():
    """The limit scales the whole weight, newborns too, whatever their learning rate: behind a norm
    the function stays."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1, bias=False))
    net = nn.Sequential(*net, nn.BatchNorm2d(4)).double()
    with torch.no_grad():
        net[2].weight.mul_(10)
    images = torch.randn(6, 2, 5, 5, dtype=torch.float64)
    model = LivingModel(net, images)
    optimizer = Muon(model.parameters(), lr=0.0)
    nursery = Nursery(Newborns(lr=0.1), optimizer)
    nursery.admit(model.apply(Split(group="0", units=(1, 2)), optimizer))
    weight = model.graph_module.get_parameter("2.weight")
    before, outputs = weight.detach().clone(), model(images)
    outputs.square().sum().backward()
    optimizer.step()
    assert weight.norm() < 0.5 * before.norm()
    torch.testing.assert_close(weight.detach() / weight.norm(), before / before.norm())
    torch.testing.assert_close(model(images), outputs, rtol=1e-3, atol=1e-3)


def test_newborns_rate_comes_down_to_the_usual_one():
    """Under SGD without momentum every step is rate times gradient."""
    policy = Newborns(lr=5, steps=4)
    model, optimizer, nursery = grown(policy, lambda ps: torch.optim.SGD(ps, lr=0.1))
    factors = []
    for _ in range(5):
        before = outgoing(model).detach().clone()
        step(model, optimizer)
        moved = (outgoing(model).detach() - before) / (-0.1 * outgoing(model).grad)
        factors.append(float(moved[0, 4]))
        assert float(moved[0, 0]) == pytest.approx(1)
    assert factors == pytest.approx([5, 4, 3, 2, 1])
    assert nursery.broods == []


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_newborns_under_adam_move_as_with_an_optimizer_of_their_own_age(steps):
    """A fresh Adam that sees the same gradients for the newborn columns is the oracle."""
    make = lambda ps: torch.optim.Adam(ps, lr=0.01, betas=(0.9, 0.99), eps=1e-12)  # noqa: E731
    model, optimizer, _ = grown(Newborns(lr=1), make)
    twin = nn.Parameter(outgoing(model).detach()[:, 3:].clone())
    fresh = make([twin])
    for _ in range(steps):
        step(model, optimizer)
        twin.grad = outgoing(model).grad[:, 3:].clone()
        fresh.step()
    torch.testing.assert_close(outgoing(model).detach()[:, 3:], twin.detach(), rtol=1e-6, atol=1e-9)


def test_newborns_under_adam_rush_without_the_correction():
    moved = []
    for policy in (Newborns(lr=1), Newborns(lr=1, bias_correction=False)):
        model, optimizer, _ = grown(policy, lambda ps: torch.optim.Adam(ps, lr=0.001), 2000)
        for _ in range(10):
            step(model, optimizer)
        moved.append(float(outgoing(model).detach()[:, 3:].abs().mean()))
    assert moved[1] > 2 * moved[0]


@pytest.mark.parametrize("make", [lambda ps: torch.optim.SGD(ps, lr=0.1, weight_decay=0.5), adamw])
def test_newborns_can_be_spared_weight_decay(make):
    """Without gradients, decay is all there is."""
    spared = Newborns(lr=1, weight_decay=0, steps=10, bias_correction=False)
    model, optimizer, _ = grown(spared, make)
    weight = model.graph_module.get_parameter("0.weight")
    before = weight.detach().clone()
    optimizer.zero_grad(set_to_none=False)
    optimizer.state.clear()
    optimizer.step()
    torch.testing.assert_close(weight.detach()[3:], before[3:], rtol=0, atol=0)
    assert (weight.detach()[:3].abs() < before[:3].abs()).all()


def test_nursery_follows_its_broods_through_later_edits():
    model, optimizer, nursery = grown(Newborns(lr=2, steps=50), sgd)
    step(model, optimizer)
    nursery.admit(model.apply(Split(group="0", units=(0, 4)), optimizer))
    nursery.admit(model.apply(Connect(source="1", target="2"), optimizer))
    by_age = {
        brood.age: brood.positions.tolist()
        for brood in nursery.broods
        if brood.parameter is outgoing(model)
    }
    assert by_age == {1: [3, 4], 0: [5, 6]}
    held = {id(parameter) for parameter in model.parameters()}
    assert all(id(brood.parameter) in held for brood in nursery.broods)
    whole = [brood for brood in nursery.broods if brood.dim is None]
    assert len(whole) == 1
    nursery.admit(model.apply(Split(group="0", units=(1,)), optimizer))
    assert all(
        id(brood.parameter) in {id(p) for p in model.parameters()} for brood in nursery.broods
    )


def test_nursery_goes_on_from_its_state():
    found = []
    for resumed in (False, True):
        model, optimizer, nursery = grown(Newborns(lr=4, steps=20), adamw)
        step(model, optimizer)
        if resumed:
            state = json.loads(json.dumps(nursery.state_dict(model)))
            nursery.broods = []
            nursery.load_state_dict(state, model)
        for _ in range(5):
            step(model, optimizer)
        found.append(outgoing(model).detach())
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_newborns_of_one_optimizer_stay_when_another_steps():
    """Adam's correction takes thousands of steps; plain SGD beside it needs none."""
    model = LivingModel(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.zeros(2, 4)
    )
    first, second = model.get_submodule("0"), model.get_submodule("2")
    optimizers = [
        torch.optim.AdamW(first.parameters(), lr=0.001),
        torch.optim.SGD(second.parameters(), lr=0.01),
    ]
    nursery = Nursery(Newborns(steps=3), optimizers)
    nursery.admit(model.apply(Widen(group="0", count=2), optimizers))
    for _ in range(6):
        model(torch.randn(8, 4)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    assert {brood.parameter.shape[0] for brood in nursery.broods} == {5}


def grower(net: LivingModel, newborns: Newborns, seed: int = 0) -> Grower:
    config = GrowthConfig(
        policy="random",
        every=1,
        kinds=("widen",),
        max_edits=1,
        share=0.3,
        sensing_share=1.0,
        newborns=newborns,
    )
    optimizer = sgd(net.parameters())
    step(net, optimizer)
    return Grower(net, optimizer, nn.functional.mse_loss, config=config, seed=seed)


def outgoing_gradient(net: LivingModel) -> float:
    """Squared gradient of the weights that lead from new units."""
    net.zero_grad()
    nn.functional.mse_loss(net(X), Y).backward()
    gradient = outgoing(net).grad
    assert gradient is not None
    return float(gradient[:, 3:].square().sum())


def test_newborns_by_gradients_leave_more_to_be_learnt_than_random_ones() -> None:
    found: dict[str, list[float]] = {"random": [], "gradmax": []}
    flops = {}
    for init, gradients in found.items():
        for seed in range(5):
            net = living()
            growing = grower(net, Newborns(init=init), seed)
            before = net(X)
            (change,) = growing.step([(X, Y)], metric=0.0)
            assert change.edit == Widen(group="0", count=1, init=init)
            torch.testing.assert_close(net(X), before)
            gradients.append(outgoing_gradient(net))
            flops[init] = growing.flops
    assert all(more > less for more, less in zip(found["gradmax"], found["random"], strict=True))
    assert sum(found["gradmax"]) > 1.5 * sum(found["random"])
    passes = flops["gradmax"] - flops["random"]
    assert passes == 6 * 6 * change.macs_after * len(X), "six passes, of six FLOPs a MAC"


def test_newborns_by_gradients_come_through_batch_norms_whose_averages_stay() -> None:
    torch.manual_seed(0)
    net = LivingModel(
        nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Tanh(), nn.Linear(3, 2)).double(),
        X[:2],
    )
    config = GrowthConfig(
        policy="random", every=1, kinds=("widen",), newborns=Newborns(init="gradmax")
    )
    growing = Grower(net, None, nn.functional.mse_loss, config=config)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    (change,) = growing.step([(X, Y)], metric=0.0)
    assert change.edit == Widen(group="0", count=2, init="gradmax")
    for name, buffer in net.named_buffers():
        torch.testing.assert_close(buffer[:3] if buffer.ndim else buffer, before[name])


def test_passes_for_sizes_that_are_refused_are_counted() -> None:
    def spent(budget: Budget) -> tuple[int, int]:
        torch.manual_seed(0)
        calls = 0

        def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            return nn.functional.mse_loss(outputs, targets)

        net = LivingModel(
            nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double(), X[:2]
        )
        config = GrowthConfig(
            policy="random",
            every=1,
            kinds=("widen",),
            share=1.0,
            sensing_share=1.0,
            newborns=Newborns(init="gradmax"),
        )
        growing = Grower(net, None, criterion, budget, config)
        growing.step([(X, Y)], metric=0.0)
        return calls, growing.flops

    macs = 4 * 8 + 8 * 2
    some, taken = spent(Budget(macs=macs + 2 * 6))
    none, refused = spent(Budget(macs=macs))
    one_pass = 6 * len(X)
    assert min(some, none) > 6, "several sizes were tried, each by six passes"
    assert refused > 0.9 * one_pass * macs * none
    assert taken > 0.9 * one_pass * macs * some


def test_momentum_outlives_a_change_without_newborns() -> None:
    net = living()
    optimizer = sgd(net.parameters())
    nursery = Nursery(Newborns(momentum="reset"), optimizer)
    step(net, optimizer)
    prune = Prune(group="0", units=(1,), preserving=False)
    nursery.admit(net.apply(prune, optimizer))
    assert all("momentum_buffer" in optimizer.state[each] for each in net.parameters())


@pytest.mark.parametrize("momentum", ["kept", "reset"])
def test_momentum_of_the_others_is_kept_or_reset(momentum) -> None:
    net = living()
    growing = grower(net, Newborns(momentum=momentum))
    optimizer = growing.optimizer
    bias = net.graph_module.get_parameter("2.bias")  # resized by no edit
    before = optimizer.state[bias]["momentum_buffer"].clone()
    assert growing.step([(X, Y)], metric=0.0)
    if momentum == "reset":
        assert not optimizer.state
    else:
        assert torch.equal(optimizer.state[bias]["momentum_buffer"], before)
    step(net, optimizer)
    assert all("momentum_buffer" in optimizer.state[each] for each in net.parameters())


@pytest.mark.parametrize("make", [adamw, muon])
def test_optimisers_go_on_after_their_memory_is_reset(make) -> None:
    net, optimizer, _ = grown(Newborns(lr=1.0, momentum="reset"), make)
    assert not optimizer.state
    fresh = copy.deepcopy(net)
    other = make(fresh.parameters())
    for _ in range(3):
        step(net, optimizer)
        step(fresh, other)
    for one, two in zip(net.parameters(), fresh.parameters(), strict=True):
        torch.testing.assert_close(one, two)
