"""The grower grows when it is time, within its budget, and keeps a true record."""

import copy
import json
import logging
import random
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from seeding import seed_
from small import CRITERION, batches, model
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from neuroexapt import (
    Activate,
    Budget,
    Connect,
    DataError,
    EditError,
    Grower,
    Growth,
    GrowthConfig,
    LimitError,
    LivingModel,
    Prune,
    Settle,
    Split,
    TrainingError,
    Widen,
)
from neuroexapt.edits.activate import blends
from neuroexapt.growth import policies
from neuroexapt.growth.evidence import Look
from neuroexapt.growth.fitting import check_flops, one_check
from neuroexapt.growth.proposal import Proposal, Ranking

EAGER = GrowthConfig(
    policy="papers",
    every=1,
    entropy_threshold=0.0,
    split_probability=1.0,
    max_connections=0,
)


def grower(config: GrowthConfig = EAGER, budget: Budget | None = None) -> Grower:
    living = LivingModel(model(), batches()[0][0][:4])
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1, momentum=0.9)
    return Grower(living, optimizer, CRITERION, budget, config, seed=3)


def test_step_grows_every_few_epochs_only() -> None:
    growing = grower(EAGER.model_copy(update={"every": 3}))
    grown = [len(growing.step(batches(), metric=0.1)) for _ in range(7)]
    assert [count > 0 for count in grown] == [False, False, True, False, False, True, False]


def test_step_resizes_consumers_and_counts_from_the_models() -> None:
    growing = grower()
    before = sum(p.numel() for p in growing.living.parameters())
    old = growing.living.graph_module
    changes = growing.step(batches(), metric=0.1)
    after = sum(p.numel() for p in growing.living.parameters())
    assert changes[0].params_before == before == sum(p.numel() for p in old.parameters())
    assert changes[-1].params_after == after > before
    first, second = (growing.living.get_submodule(name) for name in ("0", "3"))
    assert first.weight.shape[0] == second.weight.shape[1] == 7
    growing.living(batches()[0][0])


@pytest.mark.parametrize(
    ("max_edits", "predicted", "made"),
    [
        (1, 0.01, ["activate 2 towards silu"]),
        (2, 0.01, ["activate 2 towards silu", "widen 0 by 2 (random)"]),
        (2, 0.0015, ["activate 2 towards silu"]),
    ],
)
def test_a_part_of_an_edit_comes_after_whole_ones_and_is_worth_it(
    max_edits: int, predicted: float, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pace leaves room for a part of the widening only, which may save less than the other."""
    proposals = [
        Proposal(Widen(group="0", count=4), {}, predicted=predicted),
        Proposal(Activate(node="2", to="silu"), {}, predicted=0.008),
    ]
    ranked = {"random": lambda situation: Ranking(proposals, "nothing")}
    monkeypatch.setattr(policies, "POLICIES", ranked)
    growing = grower(GrowthConfig(policy="random", every=1, max_edits=max_edits, pace=1.3))
    assert [str(change.edit) for change in growing.step(batches(), metric=0.1)] == made
    assert growing.refusals == []


def test_step_connection_is_in_forward() -> None:
    config = EAGER.model_copy(update={"max_connections": 1, "max_splits_per_layer": 0})
    growing = grower(config)
    changes = growing.step(batches(), metric=0.1)
    assert [type(change.edit) for change in changes] == [Connect]
    new = [a.new for a in changes[0].ancestry if a.old is None]
    CRITERION(growing.living(batches()[0][0]), batches()[0][1]).backward()
    assert all(parameter.grad is not None and bool(parameter.grad.any()) for parameter in new)


def test_records_hold_evidence_prediction_and_what_followed() -> None:
    growing = grower()
    growing.step(batches(), metric=0.1)
    first = list(growing.growths)
    assert first, "something grew"
    assert all(growth.followed is None and growth.saved is None for growth in first)
    assert all(growth.predicted is None for growth in first), "this policy predicts nothing"
    assert all(growth.evidence and growth.max_error <= 1e-5 for growth in first)
    growing.step(batches(), metric=0.4)
    closed = growing.growths[: len(first)]
    assert sum(growth.followed for growth in closed) == pytest.approx(0.3)
    assert all(growth.saved is None for growth in closed), "the held-out loss wasn't told"
    assert all(Growth.model_validate_json(g.model_dump_json()) == g for g in growing.growths)


@pytest.mark.parametrize("budget", [Budget(params=650), Budget(macs=26_000)])
def test_budget_is_never_passed_and_ends_growth(budget: Budget) -> None:
    growing = grower(budget=budget)
    for _ in range(12):
        growing.step(batches(), metric=0.1)
        assert budget.exceeded(growing.living.cost()) is None
    assert growing.stopped is not None
    assert "budget" in growing.stopped
    assert growing.growths, "what fits was grown"


@pytest.mark.parametrize("budget", [Budget(params=650), Budget(macs=26_000)])
def test_refusals_over_the_budget_are_kept(budget: Budget) -> None:
    growing = grower(budget=budget)
    while growing.stopped is None:
        growing.step(batches(), metric=0.1)
    last = growing.refusals[-1]
    assert last.cause == "budget"
    assert last.reason.startswith("it would pass the budget: ")
    assert isinstance(last.edit, Split)
    one = last.edit.model_copy(update={"units": last.edit.units[:1]})
    with pytest.raises(LimitError) as caught:
        growing.living.apply(one, limit=budget.exceeded)
    assert caught.value.excess in last.reason
    resumed = grower()
    resumed.load_state_dict(json.loads(json.dumps(growing.state_dict())))
    assert resumed.refusals == growing.refusals


def test_latency_over_the_budget_is_refused_and_told() -> None:
    growing = grower(budget=Budget(latency_ms=1e-6))
    before = growing.living.cost()
    while growing.stopped is None:
        growing.step(batches(), metric=0.1)
    assert growing.living.cost() == before
    assert growing.refusals[0].cause == "budget"
    assert re.search(r"[\d.e+]+ ms a sample, budget 1e-06 ms", growing.refusals[0].reason)
    assert "no proposal is possible any more" in growing.stopped


def test_slow_model_may_become_smaller() -> None:
    living = LivingModel(model(), batches()[0][0][:4])
    with pytest.raises(LimitError, match="ms a sample, budget 1e-06 ms"):
        living.apply(Widen(group="0", count=1), max_latency_ms=1e-6)
    living.apply(Prune(group="0", units=(1,), preserving=False), max_latency_ms=1e-6)


def test_latency_within_the_budget_lets_grow() -> None:
    assert grower(budget=Budget(latency_ms=1e6)).step(batches(), metric=0.1)


@pytest.mark.parametrize("policy", ["random", "breakthrough", "papers", "uniform"])
def test_blends_that_have_settled_are_ended_under_any_policy(policy: str) -> None:
    living = LivingModel(model(), batches()[0][0][:4])
    living.apply(Activate(node="4", to="silu"))
    (blend,) = blends(living).values()
    with torch.no_grad():
        blend.amount.fill_(1.0)
    growing = Grower(living, None, CRITERION, config={"policy": policy, "every": 1})
    first = growing.step(batches(), metric=0.1)[0]
    assert first.edit == Settle(blend="edit0.blend", keep="second", preserving=False)


def test_blend_that_growth_has_just_made_is_given_time() -> None:
    growing = grower({"policy": "breakthrough", "every": 1})
    kinds = [[change.edit.kind for change in growing.step(batches(), metric=0.1)] for _ in range(3)]
    assert "activate" in kinds[0]
    assert not any("settle" in of for of in kinds)


class Fickle(nn.Module):
    """Draws from the system's random numbers: something else at each call, whatever the seeds."""

    spread = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return x * random.SystemRandom().uniform(1, 1 + self.spread)


def test_refusal_of_an_edit_that_would_change_the_function_is_visible(
    caplog: pytest.LogCaptureFixture,
) -> None:
    living = LivingModel(nn.Sequential(model(), Fickle()), batches()[0][0], leaves=(Fickle,))
    living.get_submodule("1").spread = 0.5  # only now, for else it would be no model to edit
    growing = Grower(living, None, CRITERION, config=EAGER)
    with caplog.at_level(logging.WARNING):
        assert growing.step(batches(), metric=0.1) == []
    assert {refusal.cause for refusal in growing.refusals} == {"preservation"}
    macs = growing.living.cost().macs
    assert growing.flops == 2 * 2 * macs * 64 + len(growing.refusals) * one_check(growing.living)
    for refusal in growing.refusals:
        assert refusal.max_error > 1e-4
        assert f"would change the model's output by {refusal.max_error:.1e}" in refusal.reason
        assert f"refused: {refusal.edit}" in caplog.text
    assert "would change the model's output" in growing.stopped
    assert living.edits == ()


@pytest.mark.parametrize("policy", ["papers", "entropy", "arbiter"])
@pytest.mark.parametrize("left", [1e3, 2e7, 1e8])
def test_budget_of_flops_is_not_passed_by_sensing(policy: str, left: float) -> None:
    """Though by its share of the training, sensing could take much more."""
    config = {"policy": policy, "every": 1, "sensing_share": 0.5}
    growing = grower(GrowthConfig(**config), Budget(train_flops=1e10))
    growing._sampling.flops_a_mac = 150.0  # the first guess may be off
    growing.step(batches(), metric=0.1, train_flops=1e10 - left)
    assert growing.flops <= left
    if left < 1e4:
        assert growing.stopped == "the budget of training FLOPs leaves too little to sense with"


@pytest.mark.parametrize("size", [2, 32])
def test_checks_count_the_samples_of_their_probe(size: int) -> None:
    """An example of more than eight samples is looked at whole."""
    living = LivingModel(model(), batches()[0][0][:size])
    growing = Grower(living, None, CRITERION, config=EAGER.model_copy(update={"bins": 16}))
    changes = growing.step(batches(), metric=0.1)
    sensing = 2 * 2 * changes[0].macs_before * 64
    macs = sum(change.macs_before + change.macs_after for change in changes)
    assert growing.flops == sensing + 4 * max(size, 8) * macs


def test_model_over_its_budget_may_become_smaller() -> None:
    growing = grower({"kinds": ("prune",), "every": 1}, Budget(params=50))
    with torch.no_grad():
        growing.living.get_submodule("3").weight[[1, 2]] = 0
        growing.living.get_submodule("3").bias[[1, 2]] = -1.0  # behind it is a ReLU
    (change,) = growing.step(batches(8), metric=0.1)
    assert isinstance(change.edit, Prune)
    assert change.params_after > 50
    assert growing.stopped is None


def test_blends_that_came_with_another_network_are_given_time() -> None:
    growing = grower({"policy": "random", "kinds": ("widen",), "every": 1})
    changes = [
        growing.living.apply(edit, growing.optimizer)
        for edit in (Activate(node="2", to="silu"), Widen(group="0", count=1))
    ]
    growing.give_way(changes, metric=0.1)
    kinds = [[change.edit.kind for change in growing.step(batches(), metric=0.1)] for _ in range(8)]
    assert "settle" in kinds[-1] + kinds[-2] + kinds[-3] + kinds[-4], "at last"
    assert not any("settle" in of for of in kinds[:4])


def test_refused_call_counts_no_epoch() -> None:
    growing = grower(budget=Budget(train_flops=1e6))
    before = growing.state_dict()
    with pytest.raises(ValueError, match="give train_flops"):
        growing.step(batches(), metric=0.1)
    assert growing.state_dict() == before


def test_budget_of_flops_ends_growth() -> None:
    growing = grower(budget=Budget(train_flops=1e6))
    assert growing.step(batches(), metric=0.1, train_flops=2e6) == []
    assert growing.stopped == "the budget of training FLOPs is spent"


def test_growth_ends_when_nothing_is_proposed() -> None:
    growing = grower(EAGER.model_copy(update={"entropy_threshold": 1.0, "patience": 2}))
    assert [growing.step(batches(), metric=0.1) for _ in range(3)] == [[], [], []]
    assert growing.stopped is not None
    assert growing.stopped.startswith("no unit above the entropy threshold divided")
    assert growing.stopped.endswith("(2 times in a row)")


def test_growth_ends_towards_the_end_of_training() -> None:
    growing = grower()
    assert growing.step(batches(), metric=0.1, progress=0.9) == []
    assert growing.stopped is not None


def test_why_nothing_has_grown_is_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    config = EAGER.model_copy(update={"entropy_threshold": 1.0, "patience": 5})
    growing = grower(config)
    with caplog.at_level("INFO"):
        growing.step(batches(), metric=0.1)
    assert "nothing grows now: no unit above the entropy threshold" in caplog.text
    again = grower(config)
    again.load_state_dict(json.loads(json.dumps(growing.state_dict())))
    for of in (growing, again):
        of.step(batches(), metric=0.1, progress=0.9)
        assert of.stopped is not None
        assert of.stopped.startswith(
            "90% of the training is done; nothing has grown, since no unit above"
        )


def test_flops_are_those_of_sensing_and_checks() -> None:
    growing = grower()
    macs = growing.living.cost().macs
    changes = growing.step(batches(), metric=0.1)
    sensing = 2 * 2 * macs * 64
    assert growing.flops == sensing + sum(check_flops(change, 8) for change in changes)
    assert check_flops(changes[0], 8) == 4 * 8 * (changes[0].macs_before + changes[0].macs_after)


@pytest.mark.parametrize("policy", ["papers", "entropy"])
def test_flops_never_pass_their_share_of_the_training(policy: str) -> None:
    growing = grower(EAGER.model_copy(update={"policy": policy, "max_connections": 1}))
    spent, grown = 0, 0
    for _ in range(6):
        spent += 6 * growing.living.cost().macs * 1024
        grown += len(growing.step(batches(), metric=0.1, train_flops=spent))
        assert growing.flops <= growing.config.sensing_share * spent
    assert grown >= 3


def test_sensing_takes_more_of_its_share_early_and_keeps_to_it_in_all() -> None:
    """Of 100 equal epochs; of what is trained by the third, the share alone would be too little."""
    config = EAGER.model_copy(update={"policy": "entropy", "until": 0.5, "patience": 100})
    growing = grower(config)
    epoch = 6.0 * growing.living.cost().macs * 256
    looked = []
    for number in range(1, 101):
        growing.step(batches(), 0.1, progress=number / 100, train_flops=number * epoch)
        looked.append(growing.flops)
        assert growing.flops <= config.sensing_share * 100 * epoch
    assert looked[2] > config.sensing_share * 3 * epoch
    assert looked[2] <= config.sensing_share * 100 * epoch * (0.03 / 0.5) ** 0.5


def test_optimizer_goes_on_with_the_new_parameters() -> None:
    growing = grower()
    optimizer = growing.optimizer
    assert isinstance(optimizer, torch.optim.SGD)
    CRITERION(growing.living(batches()[0][0]), batches()[0][1]).backward()
    optimizer.step()
    growing.step(batches(), metric=0.1)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in growing.living.parameters()}
    for parameter, state in optimizer.state.items():
        assert state["momentum_buffer"].shape == parameter.shape


def test_state_goes_on_as_if_unbroken() -> None:
    unbroken, broken = grower(), grower()
    for each in (unbroken, broken):
        each.step(batches(), metric=0.1)
    resumed = grower()
    resumed.living = copy.deepcopy(broken.living)
    resumed.optimizer = None
    resumed.load_state_dict(broken.state_dict())
    unbroken.step(batches(), metric=0.3)
    resumed.step(batches(), metric=0.3)
    without_times = [
        [growth.model_copy(update={"seconds": 0.0}) for growth in each.growths]
        for each in (unbroken, resumed)
    ]
    assert without_times[0] == without_times[1]
    assert resumed.flops == unbroken.flops
    for ours, theirs in zip(unbroken.living.parameters(), resumed.living.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_copy_that_follows_the_changes_gets_the_same_newborns() -> None:
    growing = grower(EAGER.model_copy(update={"max_connections": 1}))
    twin = copy.deepcopy(growing.living)
    for _ in range(2):
        for change in growing.step(batches(), metric=0.1):
            twin.apply(change.edit, seed=change.seed)
    assert {edit.kind for edit in twin.edits} == {"connect", "split"}
    for name, tensor in growing.living.state_dict().items():
        assert torch.equal(twin.state_dict()[name], tensor)
    assert [growth.seed for growth in growing.growths] == [
        growing.seed + growth.epoch for growth in growing.growths
    ]


def test_average_that_follows_the_changes_keeps_its_function() -> None:
    growing = grower()
    inputs, targets = batches()[0]
    averaged = AveragedModel(growing.living, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    CRITERION(growing.living(inputs), targets).backward()
    growing.optimizer.step()
    averaged.update_parameters(growing.living)
    expected = averaged.eval()(inputs)
    for change in growing.step(batches(), metric=0.1):
        averaged.module.apply(change.edit, seed=change.seed)
    torch.testing.assert_close(averaged(inputs), expected)
    averaged.update_parameters(growing.living)


def test_same_seed_same_growth_another_seed_another() -> None:
    config = EAGER.model_copy(update={"split_probability": 0.5})

    def splits(seed: int) -> list[Split]:
        growing = grower(config)
        growing.seed = seed
        return [change.edit for change in growing.step(batches(), metric=0.1)]

    assert splits(1) == splits(1)
    assert len({str([edit.model_dump() for edit in splits(seed)]) for seed in range(4)}) > 1


def test_loader_without_batches_is_refused() -> None:
    growing = grower()
    before = copy.deepcopy(growing.living.state_dict())
    with pytest.raises(DataError, match="yields nothing"):
        growing.step([], metric=0.1)
    assert all(torch.equal(t, before[n]) for n, t in growing.living.state_dict().items())


def test_broken_activations_are_named_and_nothing_changes() -> None:
    growing = grower()
    with torch.no_grad():
        growing.living.get_parameter("3.weight")[0] = float("nan")
    with pytest.raises(TrainingError, match="`3`"):
        growing.step(batches(), metric=0.1)
    assert growing.living.edits == ()


def test_step_takes_any_iterable() -> None:
    def stream() -> Iterator[tuple[Tensor, Tensor]]:
        yield from batches(8)

    assert grower().step(stream(), metric=0.1)


IMAGES, CLASSES = batches()[0]


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        (5, "a int is no loader; a loader yields pairs"),
        (
            [(IMAGES.repeat(1, 2, 1, 1), CLASSES)],
            r"inputs of shape \(32, 2, 6, 6\) .*like its example_input, .* \(4, 1, 6, 6\)",
        ),
        ([(IMAGES.flatten(1), CLASSES)], r"doesn't run on .* shape \(32, 36\)"),
        (
            [(IMAGES, CLASSES + 1)],
            r"targets of shape \(32,\) \(Target 3 is out of bounds.*below the number of outputs",
        ),
        ([(IMAGES, CLASSES[:5])], r"outputs of shape \(32, 3\) with targets of shape \(5,\)"),
        ([(IMAGES, None)], "the criterion takes no outputs"),
    ],
)
def test_batches_that_do_not_fit_are_refused(loader: object, message: str) -> None:
    growing = grower()
    with pytest.raises(DataError, match=message):
        growing.step(loader, metric=0.1)
    assert growing.living.edits == ()


def test_iterator_that_is_used_up_is_said_to_be() -> None:
    growing = grower()
    stream = iter(batches())
    assert growing.step(stream, metric=0.1)
    with pytest.raises(DataError, match=r"yields nothing; it is an iterator .* one pass uses up"):
        growing.step(stream, metric=0.1)


@pytest.mark.parametrize("num_batches", [1, 3])
def test_step_looks_at_as_many_batches_as_configured(num_batches: int) -> None:
    growing = grower(EAGER.model_copy(update={"num_batches": num_batches}))
    growing.step(batches(5), metric=0.1)
    assert {growth.evidence["num_samples"] for growth in growing.growths} == {32 * num_batches}


def test_plain_module_is_refused_with_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"a Sequential .*LivingModel\(model, example_input\)"):
        Grower(model(), None, CRITERION)


def test_what_is_no_optimizer_is_refused_at_once() -> None:
    living = LivingModel(model(), batches()[0][0])
    with pytest.raises(EditError, match="'adam' is no optimizer"):
        Grower(living, "adam", CRITERION)


def test_optimizers_from_a_generator_are_carried_every_time() -> None:
    living = LivingModel(model(), batches()[0][0])
    parts = [[p for p in living.parameters() if p.ndim == ndim] for ndim in (1, 2, 4)]
    both = [torch.optim.SGD(part, lr=0.1) for part in parts]
    growing = Grower(living, (optimizer for optimizer in both), CRITERION, config=EAGER)
    for _ in range(2):
        assert growing.step(batches(), metric=0.1)
    held = {id(p) for o in both for group in o.param_groups for p in group["params"]}
    assert held == {id(p) for p in living.parameters()}


@pytest.mark.parametrize("metric", [None, "good", float("nan")])
def test_metric_that_is_no_number_is_refused_before_anything_changes(metric: object) -> None:
    growing = grower()
    with pytest.raises(ValueError, match="metric is"):
        growing.step(batches(), metric=metric)
    assert growing.living.edits == ()


def test_foreign_optimizer_is_refused_and_not_called_the_end_of_growth() -> None:
    growing = grower()
    growing.optimizer = torch.optim.SGD(model().parameters(), lr=0.1)
    with pytest.raises(EditError, match="none of this model"):
        growing.step(batches(), metric=0.1)
    assert growing.stopped is None


def arbitrated(**settings: Any) -> Grower:
    torch.manual_seed(0)
    living = LivingModel(model(), batches()[0][0][:4])
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1, momentum=0.9)
    config = GrowthConfig(policy="arbiter", every=3, **settings)
    return Grower(living, optimizer, CRITERION, Budget(params=3000), config, seed=3)


def trained(growing: Grower, epochs: range) -> None:
    for epoch in epochs:
        for inputs, targets in batches(6):
            growing.optimizer.zero_grad()
            CRITERION(growing.living(inputs), targets).backward()
            growing.optimizer.step()
        growing.step(batches(6), 0.1 * epoch, loss=1 / (1 + epoch), train_flops=1e10 * (epoch + 1))


@pytest.fixture(scope="module")
def unbroken() -> Grower:
    """The arbiter's after nine epochs; not to be changed."""
    growing = arbitrated()
    trained(growing, range(9))
    return growing


def test_arbiter_records_what_it_predicted_and_what_followed_beyond_the_trend(
    unbroken: Grower,
) -> None:
    growing = unbroken
    first = [growth for growth in growing.growths if growth.epoch == 3]
    assert first, "few samples speak for growth as they speak against it"
    assert all(growth.predicted > 0 and growth.scale == 1 for growth in first)
    assert all(growth.saved is not None and growth.trend is not None for growth in first)
    shares = [growth.saved / growth.predicted for growth in first]
    assert shares == pytest.approx([shares[0]] * len(first)), "shared as predicted"
    later = [growth for growth in growing.growths if growth.epoch == 6]
    assert later
    assert all(growth.scale != 1 for growth in later), "what followed was learnt from"


def test_arbiter_resumes_as_if_unbroken(unbroken: Grower) -> None:
    broken = arbitrated()
    trained(broken, range(4))
    state = json.loads(json.dumps(broken.state_dict()))
    again = Grower(broken.living, broken.optimizer, CRITERION, broken.budget, broken.config, seed=3)
    # The first grower's hooks go on with the same optimiser, which one of them must not.
    broken.nursery.broods = []
    again.load_state_dict(state)
    trained(again, range(4, 9))
    assert [g.edit for g in again.growths] == [g.edit for g in unbroken.growths]
    for (name, left), right in zip(
        again.living.state_dict().items(), unbroken.living.state_dict().values(), strict=True
    ):
        assert torch.equal(left, right), name
    assert again.state_dict()["looks"] == unbroken.state_dict()["looks"]


def test_growth_ends_when_looks_show_nothing_to_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Look(2000, whole=-1.0, beyond=-1.0, alone=False)
    monkeypatch.setattr(Look, "of", classmethod(lambda cls, gains: nothing))
    growing = arbitrated(patience=2, kinds=("widen",))
    trained(growing, range(6))
    assert growing.growths == []
    assert "the network is large enough, as far as the samples show" in growing.stopped
    assert growing.stopped.endswith("(2 times in a row)")


def test_newborns_are_warmed_up_by_default() -> None:
    growing = grower()
    growing.step(batches(), metric=0.1)
    assert growing.nursery.broods
    assert growing.nursery.policy.factor(0) == pytest.approx(0.1)
    assert growing.nursery.policy.factor(100) == 1


@pytest.mark.parametrize("number", [np.float32(0.5), torch.tensor(0.5)])
def test_numbers_of_numpy_and_torch_are_numbers(number: Any) -> None:
    growing = grower()
    assert growing.step(batches(), metric=number, loss=number)
    assert json.loads(json.dumps(growing.state_dict()))


@pytest.mark.parametrize("progress", [5, -0.1, float("nan")])
def test_progress_that_is_no_share_is_refused(progress: float) -> None:
    growing = grower()
    with pytest.raises(ValueError, match="give the share that is done, from 0 to 1"):
        growing.step(batches(), metric=0.1, progress=progress)
    assert growing.stopped is None


def test_budget_of_flops_that_nobody_tells_of_is_refused() -> None:
    growing = grower(budget=Budget(train_flops=1e9))
    with pytest.raises(ValueError, match="none are told; give train_flops"):
        growing.step(batches(), metric=0.1)
    assert growing.living.edits == ()


def test_config_may_be_a_mapping() -> None:
    living = LivingModel(model(), batches()[0][0][:4])
    growing = Grower(living, None, CRITERION, config={"every": 1, "policy": "entropy"})
    assert growing.step(batches(), metric=0.1)


def test_budget_may_be_a_mapping() -> None:
    living = LivingModel(model(), batches()[0][0][:4])
    assert Grower(living, None, CRITERION, {"params": 99}).budget == Budget(params=99)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"budget": GrowthConfig()}, "the budget: GrowthConfig was given; give Budget,"),
        ({"budget": 1000}, "the budget: int was given; give Budget,"),
        ({"budget": {"params": 0}}, "the budget: params: .*greater than 0, not 0"),
        ({"config": Budget()}, "the config: Budget was given; give GrowthConfig,"),
        ({"config": {"evry": 2}}, "the config: there is no setting 'evry'; is 'every' meant"),
    ],
)
def test_settings_that_are_none_are_refused(settings: dict[str, Any], told: str) -> None:
    living = LivingModel(model(), batches()[0][0][:4])
    with pytest.raises(ValueError, match=told):
        Grower(living, None, CRITERION, **settings)


def test_state_is_written_after_edits_of_others() -> None:
    growing = grower()
    growing.step(batches(), metric=0.1)
    growing.living.apply(Widen(group="0", count=2), growing.optimizer)
    names = {name for name, _ in growing.living.named_parameters()}
    written = json.loads(json.dumps(growing.state_dict()))["nursery"]
    assert {brood["parameter"] for brood in written} <= names


ANYTHING = GrowthConfig(every=1, min_saving=0, exchange=0)


@pytest.mark.parametrize("config", [EAGER, ANYTHING], ids=["papers", "arbiter"])
def test_single_samples_are_sensed(config: GrowthConfig) -> None:
    singles = [(x[None], y[None]) for x, y in zip(*batches(1)[0], strict=True)]
    assert grower(config).step(singles, metric=0.1)


class Averaged(nn.Module):
    """A sequence whose positions the head has averaged: nothing before connects to behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.second(torch.relu(self.first(x))))
        x = x.mean(1)
        return self.last(torch.relu(self.third(x)))


def test_what_the_arbiter_finds_impossible_is_kept() -> None:
    seed_(0)
    data = [(torch.randn(64, 5, 3), torch.randint(2, (64,))) for _ in range(4)]
    living = LivingModel(Averaged(), data[0][0][:4])
    config = GrowthConfig(every=1, policy="arbiter", kinds=("connect",))
    growing = Grower(living, None, CRITERION, config=config)
    for _ in range(4):
        assert not growing.step(data, metric=0.1)
    assert {refusal.cause for refusal in growing.refusals} == {"fit"}
    assert growing.stopped is not None
    assert "nothing can be proposed" not in growing.stopped


def test_candidates_that_do_not_fit_end_no_growth_by_gain() -> None:
    """They were considered and never proposed: that nothing is worth its cost yet is the reason."""
    seed_(0)
    data = [(torch.randn(64, 5, 3), torch.randint(2, (64,))) for _ in range(4)]
    config = GrowthConfig(every=1, timing="gain", kinds=("widen", "connect"), min_saving=0.9)
    growing = Grower(LivingModel(Averaged(), data[0][0][:4]), None, CRITERION, config=config)
    for _ in range(config.patience + 2):
        assert not growing.step(data, metric=0.1)
    assert {refusal.cause for refusal in growing.refusals} == {"fit"}
    assert growing.stopped is None


@pytest.mark.parametrize("loss", [float("nan"), "low"])
def test_loss_that_is_no_number_is_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match=r"loss is .*the mean loss on held-out data"):
        grower().step(batches(), metric=0.1, loss=loss)


def test_growth_gives_way_to_weights_from_elsewhere() -> None:
    """Newborns stay the model's own, and what came from elsewhere isn't put down to them."""
    growing = grower()
    growing.step(batches(), metric=0.5, loss=1.0)
    born = len(growing.nursery.broods)
    changes = [growing.living.apply(Widen(group="0", count=1), growing.optimizer)]
    growing.give_way(changes, metric=0.6)
    known = {id(parameter) for parameter in growing.living.parameters()}
    assert all(id(brood.parameter) in known for brood in growing.nursery.broods)
    assert len(growing.nursery.broods) > born > 0
    total = sum(growth.followed or 0.0 for growth in growing.growths)
    growing.step(batches(), metric=0.9, loss=0.1)
    assert total == pytest.approx(0.1)
    assert sum(g.followed or 0.0 for g in growing.growths if g.epoch == 1) == pytest.approx(0.1)
