"""A search: who is trained on what, when, and that it goes on as if unbroken."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from neuroexapt.errors import DataError, SearchError, TraceError
from neuroexapt.search import Decision, Mixed, aso_se, decisions, derive, probabilities
from neuroexapt.search.config import (
    AlphaConfig,
    ExpansionConfig,
    SearchConfig,
    darts,
    original,
)
from neuroexapt.search.decisions import alphas, other_parameters
from neuroexapt.search.judging import settle
from neuroexapt.search.movement import movement, normalised_entropy
from neuroexapt.search.searching import Searching
from neuroexapt.training import Recipe, evaluate, lr_factor


def batches(seed: int, count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(8, 3, 8, 8, generator=generator),
            torch.randint(10, (8,), generator=generator),
        )
        for _ in range(count)
    ]


def searching(config: SearchConfig) -> Searching:
    torch.manual_seed(0)
    network = aso_se(channels=4, num_cells=2, operations=("none", "skip_connect", "conv_3x3"))
    return Searching(network, config, batches(0)[0][0])


SHORT = SearchConfig(
    epochs=4, warmup=1, explore_every=0, alpha=AlphaConfig(lr=0.1, every=1, unit="epochs")
)


def test_alpha_rests_in_the_warm_up_and_moves_afterwards():
    found = list(searching(SHORT).run(batches(0), batches(1)))
    assert [record.alpha_steps for record in found] == [0, 4, 4, 4]
    assert found[0].movement.change == 0
    assert all(record.movement.change > 0.01 for record in found[1:])
    assert [record.phase for record in found] == ["warm-up", "search", "search", "search"]


@pytest.mark.parametrize("by_flops", [False, True])
def test_learning_rate_begins_anew_for_the_network_that_was_chosen(by_flops):
    def rates(restart: bool) -> list[float]:
        config = SearchConfig(epochs=8, warmup=1, final=4, restart=restart)
        search = searching(config)
        if by_flops:
            whole = sum(1 for _ in search.run(batches(0), batches(1)))
            assert whole == config.epochs
            search = searching(config.model_copy(update={"max_flops": float(search.flops)}))
        found: list[float] = []
        search.weights.register_step_pre_hook(
            lambda optimizer, *_: found.append(optimizer.param_groups[0]["lr"])
        )
        while not search.finished:
            search.run_epoch(batches(0), batches(1))
        if by_flops:
            assert len(set(found)) >= len(found) - restart, "it follows what is spent"
        return found[::4]

    falling, restarted = rates(restart=False), rates(restart=True)
    assert falling == sorted(falling, reverse=True)
    assert restarted[:4] == falling[:4]
    assert restarted[4] == pytest.approx(SearchConfig().recipe.lr)
    assert restarted[4:] == sorted(restarted[4:], reverse=True)
    assert restarted[-1] < falling[4]


def test_alpha_steps_leave_weights_and_weight_steps_leave_alpha():
    search = searching(SHORT)
    inputs, targets = batches(0)[0]
    before = [p.detach().clone() for p in other_parameters(search.network)]
    search._alpha_step(inputs, targets)
    after = list(other_parameters(search.network))
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))
    assert all(p.requires_grad and p.grad is None for p in after)
    kept = [alpha.detach().clone() for alpha in alphas(search.network)]
    search._train(batches(0), None, "search")
    assert all(torch.equal(b, a) for b, a in zip(kept, alphas(search.network), strict=True))
    assert not all(
        torch.equal(b, a) for b, a in zip(before, other_parameters(search.network), strict=True)
    )


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_weights_are_trained_as_the_recipe_says_and_alpha_apart(name, kind):
    config = SearchConfig(epochs=2, warmup=1, recipe=Recipe(optimizer=name, lr=0.01))
    search = searching(config)
    assert isinstance(search.weights, kind)
    held = [
        {id(p) for g in o.param_groups for p in g["params"]} for o in (search.weights, search.alpha)
    ]
    assert held[0] == {id(p) for p in other_parameters(search.network)}
    assert held[1] == {id(p) for p in alphas(search.network)}
    assert all(alpha.requires_grad for alpha in alphas(search.network))
    list(search.run(batches(0), batches(1)))
    assert search.weights.param_groups[0]["lr"] == pytest.approx(
        0.01 * lr_factor(config.recipe, 0.5)
    )


def test_half_precision_is_used_where_the_recipe_asks_for_it():
    found = []
    for amp in (False, True):
        search = searching(SearchConfig(epochs=2, warmup=1, recipe=Recipe(lr=0.01, amp=amp)))
        found.append(next(search.run(batches(0), batches(1))).train_loss)
    assert found[0] != found[1]
    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_original_takes_a_step_every_fifth_batch_on_training_data_and_cools():
    search = searching(original(epochs=20))
    train = batches(0, count=10)
    found = list(search.run(train, train))
    assert [record.alpha_steps for record in found] == [0] * 3 + [2] * 13 + [0] * 4
    phases = ["warm-up"] * 3 + ["search"] * 6 + ["growth"] * 7 + ["final"] * 4
    assert [record.phase for record in found] == phases
    assert search.temperature.value == pytest.approx(5.0 * 0.98**26)


def test_darts_runs_everything_and_steps_at_every_batch():
    search = searching(darts(epochs=2))
    (first, _) = search.run(batches(0), batches(1))
    assert first.alpha_steps == first.weight_steps == 4
    everything = search.costs.rest + sum(map(sum, search.costs.by_decision.values()))
    assert first.flops == 4 * 8 * (3 + 2) * everything, "weights rest at alpha's steps"


@pytest.mark.parametrize("config", [darts(epochs=2), SHORT, SHORT.model_copy(update={"final": 2})])
def test_derived_network_is_as_good_as_it_was_judged(config):
    """With a final phase or without: norms know the statistics of what was chosen."""
    train, held_out = batches(0), batches(1)
    search = searching(config)
    *_, last = search.run(train, held_out)
    found = evaluate(derive(search.network), held_out, search.criterion)
    assert found.loss == pytest.approx(last.val_loss, rel=1e-5)
    assert found.accuracy == last.val_accuracy


def test_norms_know_the_network_that_a_short_search_ends_with():
    """Running averages lag behind: they would still know the operations that were drawn before."""
    train = [(3 * x + 2, y) for x, y in batches(0)]
    search = searching(SHORT.model_copy(update={"final": 3}))
    list(search.run(train, batches(1)))
    found = {n: b.clone() for n, b in search.network.named_buffers() if "running" in n}
    settle(search.network, train)
    assert found
    for name, buffer in search.network.named_buffers():
        if name in found:
            torch.testing.assert_close(found[name], buffer)


def test_flops_of_a_sampled_step_are_those_of_what_was_drawn():
    search = searching(SHORT)
    first = next(search.run(batches(0), batches(1)))
    most = max(max(costs) for costs in search.costs.by_decision.values())
    places = len(decisions(search.network))
    assert 4 * 8 * 3 * search.costs.rest <= first.flops
    assert first.flops <= 4 * 8 * 3 * (search.costs.rest + places * most)


def test_search_goes_on_as_if_unbroken():
    unbroken = searching(SHORT)
    list(unbroken.run(batches(0), batches(1)))
    broken = searching(SHORT)
    running = broken.run(batches(0), batches(1))
    next(running), next(running)
    state = copy.deepcopy(broken.state_dict())
    resumed = searching(SHORT)
    resumed.network.load_state_dict(copy.deepcopy(broken.network.state_dict()))
    resumed.load_state_dict(state)
    list(resumed.run(batches(0), batches(1)))
    for name, value in unbroken.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    without = {"seconds"}
    assert [record.model_dump(exclude=without) for record in resumed.history] == [
        record.model_dump(exclude=without) for record in unbroken.history
    ]


def test_every_so_many_epochs_explore():
    config = SearchConfig(epochs=8, warmup=2, explore_every=3)
    explored = [config.explores(epoch) for epoch in range(8)]
    assert explored == [True, True, False, False, True, False, False, True]


def test_phases_out_of_order_are_refused():
    with pytest.raises(ValidationError, match="give epochs in this order"):
        SearchConfig(epochs=10, warmup=5, final=3)


def mixed(name: str) -> Mixed:
    operations = {"a": nn.Conv2d(3, 3, 1), "b": nn.Conv2d(3, 3, 3, padding=1)}
    return Mixed(operations, Decision(name, ("a", "b")))


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = mixed("used")
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.used(x))


class Idle(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.idle = mixed("idle")


class Deaf(Classifier):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


@pytest.mark.parametrize(
    ("network", "told"), [(Idle, "of the decision 'idle'"), (Deaf, "of any decision")]
)
def test_decision_that_never_enters_forward_is_named_before_the_first_step(network, told):
    search = Searching(network(), SHORT, batches(0)[0][0])
    with pytest.raises(SearchError, match=f"alpha {told} never enters"):
        next(search.run(batches(0), batches(1)))
    assert not search.flops


def test_decision_that_others_seldom_let_through_is_heard():
    """Of eight cells whose every edge is nothing or a skip, the first seldom gets to the end."""
    torch.manual_seed(0)
    network = aso_se(channels=2, num_cells=8, operations=("none", "skip_connect"))
    alpha = AlphaConfig(every=1, num_running=1, horizon=0.0)
    config = SearchConfig(epochs=1, warmup=0, explore_every=0, alpha=alpha)
    train, held_out = batches(0, 20), batches(1, 20)
    (record,) = Searching(network, config, train[0][0]).run(train, held_out)
    assert record.alpha_steps == 20


class Branching(Classifier):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if x.sum() < 1e9 else -x)


def test_network_that_cannot_be_traced_is_searched_without_growth_only():
    growing = SHORT.model_copy(update={"expansion": ExpansionConfig()})
    with pytest.raises(TraceError, match="leave growth out, by expansion=None"):
        next(Searching(Branching(), growing, batches(0)[0][0]).run(batches(0), batches(1)))
    assert (
        len(list(Searching(Branching(), SHORT, batches(0)[0][0]).run(batches(0), batches(1)))) == 4
    )


@pytest.mark.parametrize("which", [0, 1])
def test_iterator_is_refused_before_the_first_epoch(which):
    loaders = [batches(0), batches(1)]
    loaders[which] = iter(loaders[which])
    with pytest.raises(DataError, match="can't be iterated over again; it is an iterator"):
        next(searching(SHORT).run(*loaders))


def test_loaders_that_overlap_are_refused():
    data = batches(0)
    with pytest.raises(SearchError, match="32 samples of the validation loader are in the"):
        next(searching(SHORT).run(data, data))


def test_movement_by_hand():
    before = {"a": torch.tensor([0.5, 0.5]), "b": torch.tensor([0.9, 0.1])}
    after = {"a": torch.tensor([0.7, 0.3]), "b": torch.tensor([0.4, 0.6])}
    found = movement(before, after)
    assert found.change == pytest.approx((0.4 + 1.0) / 2)
    assert found.largest == pytest.approx(0.5)
    assert found.flips == 1
    assert normalised_entropy(torch.tensor([0.25] * 4)) == pytest.approx(1.0)
    assert normalised_entropy(torch.tensor([1.0, 0.0])) == pytest.approx(0.0, abs=1e-9)


def test_same_seed_finds_the_same():
    first, second = searching(SHORT), searching(SHORT)
    for search in (first, second):
        list(search.run(batches(0), batches(1)))
    for name, found in probabilities(first.network).items():
        assert torch.equal(found, probabilities(second.network)[name])


class Told:
    """A loader that keeps the epochs that it was told, at the start of each pass."""

    def __init__(self, seed: int) -> None:
        self._batches = batches(seed)
        self.epoch = -1
        self.passes: list[int] = []

    def __iter__(self):
        self.passes.append(self.epoch)
        return iter(self._batches)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


@pytest.mark.parametrize("unit", ["batches", "epochs"])
def test_loaders_are_told_a_new_epoch_for_every_pass_that_trains(unit):
    """Or each epoch would bring the same batches in the same order, varied in the same way."""
    alpha = AlphaConfig(every=1, unit=unit)
    config = SearchConfig(epochs=3, warmup=0, explore_every=0, alpha=alpha)
    train, held_out = Told(0), Told(1)
    torch.manual_seed(0)
    network = aso_se(channels=4, num_cells=1, operations=("skip_connect", "conv_3x3"))
    list(Searching(network, config, batches(0)[0][0]).run(train, held_out))
    told = [n for n in train.passes if n >= 0]
    assert told == [0, 0, 1, 1, 2, 2, 2]  # norms are calibrated, too, and at the end for good
    judged = {n for n in held_out.passes if n >= 0}  # a batch of each is tried beforehand
    assert sorted(judged) == [0, 1000, 2000]
