"""Growth within a search: exact, chosen by gain, and new decisions change nothing at first."""

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.search import (
    AlphaConfig,
    ExpansionConfig,
    Mixed,
    SearchConfig,
    Searching,
    aso_se,
    commit,
    decisions,
    derive,
    explore,
    searchable,
)
from neuroexapt.search.expand import choose_place, expand, places
from neuroexapt.search.growing import is_stuck, join
from neuroexapt.training import Recipe, build_optimizer, set_lr

OPERATIONS = ("none", "skip_connect", "conv_3x3")


def network() -> nn.Module:
    torch.manual_seed(0)
    found = aso_se(channels=4, num_cells=2, operations=OPERATIONS)
    for decision in decisions(found).values():
        decision.alpha.data[OPERATIONS.index("conv_3x3")] += 1.0  # nothing is dead
    commit(found)
    return found


def learnable(seed: int, count: int = 4, size: int = 16) -> list[tuple[Tensor, Tensor]]:
    """Images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        targets = torch.randint(2, (size,), generator=generator)
        images = torch.randn(size, 3, 8, 8, generator=generator)
        images[torch.arange(size), :, targets * 4] += 3.0
        found.append((images, targets))
    return found


def outputs(found: nn.Module, x: Tensor, training: bool) -> Tensor:
    found.train(training)
    with torch.no_grad():
        result: Tensor = found(x)
    return result


def test_expand_keeps_the_function_at_every_place():
    x = torch.randn(8, 3, 8, 8)
    names = list(places(LivingModel(network(), x, leaves=(Mixed,))))
    assert "add" in names
    for name in names:
        grown, opened, error = expand(network(), x, name, seed=1)
        assert error < 1e-6
        for training in (False, True):  # which changes running statistics
            before = outputs(network(), x, training)
            torch.testing.assert_close(outputs(grown, x, training), before)
        assert set(opened) < decisions(grown).keys()


def test_whatever_is_drawn_of_a_new_block_changes_nothing_at_first():
    x = torch.randn(8, 3, 8, 8)
    first = network()
    before = outputs(first, x, training=False)
    grown, opened, _ = expand(first, x, "add", seed=1)
    generator = torch.Generator().manual_seed(0)
    ways = set()
    for _ in range(20):
        explore(grown, generator)
        ways.add(tuple(decisions(grown)[name].active for name in opened))
        for name, decision in decisions(grown).items():
            if name not in opened:
                decision.active = (decision.operations.index(decision.chosen),)
        torch.testing.assert_close(outputs(grown, x, training=False), before)
    assert len(ways) > 5


def test_every_new_operation_gets_a_gradient():
    x, y = learnable(0, 1, 32)[0]
    grown, opened, _ = expand(network(), x, "add", seed=1)
    last = next(name for name in opened if name.endswith("last"))
    mixed = grown.get_submodule(last)
    for index, (name, operation) in enumerate(mixed.operations.items()):
        mixed.decision.active = (index,)
        grown.zero_grad()
        nn.functional.cross_entropy(grown.train()(x), y).backward()
        gradients = [p.grad for p in operation.parameters() if p.grad is not None]
        assert any(gradient.abs().max() > 0 for gradient in gradients), name


def test_expand_twice_and_derive():
    x = torch.randn(8, 3, 8, 8)
    before = outputs(network(), x, training=False)
    grown, first, _ = expand(network(), x, "add", seed=1)
    grown, second, _ = expand(grown, x, "norm.1", seed=2)
    assert len({*first, *second}) == 4
    found = derive(grown)
    torch.testing.assert_close(outputs(found, x, training=False), before)
    assert not any(isinstance(module, Mixed) for module in found.modules())


def test_derived_graph_leaves_sums_with_nothing_out():
    x = torch.randn(8, 3, 8, 8)
    start = network()
    for name, decision in decisions(start).items():
        wanted = "none" if name.endswith("0->2") else "conv_3x3"
        decision.alpha.data[OPERATIONS.index(wanted)] = 5.0
    grown, _, _ = expand(start, x, "norm.1", seed=1)
    before = outputs(grown, x, training=False)
    found = derive(grown)
    torch.testing.assert_close(outputs(found, x, training=False), before)
    assert "add" not in [node.name for node in found.graph.nodes]
    assert not [name for name, _ in found.named_modules() if name.endswith("0->2")]


def test_expand_at_an_unknown_node_is_refused():
    with pytest.raises(EditError, match="there is no node 'nowhere'"):
        expand(network(), torch.randn(8, 3, 8, 8), "nowhere", seed=0)


def test_place_is_chosen_where_the_loss_can_fall():
    found = network()
    batches = learnable(0, 4, 64)
    choice = choose_place(found, batches[0][0][:8], batches, nn.CrossEntropyLoss())
    assert choice.after is not None
    assert choice.gain > 0
    assert choice.flops > 0
    expand(found, batches[0][0][:8], choice.after, seed=0)


def test_no_place_where_there_is_only_noise():
    """Labels that have nothing to do with the images: the gain is noise, most often below it."""
    generator = torch.Generator().manual_seed(3)
    batches = [
        (torch.randn(64, 3, 8, 8, generator=generator), torch.arange(64) % 2) for _ in range(4)
    ]
    found = aso_se(2, channels=4, num_cells=1, operations=("skip_connect", "conv_3x3"))
    found.fc.weight.data.zero_()  # the loss is at its least: nothing to be had
    found.fc.bias.data.zero_()
    choice = choose_place(found, batches[0][0][:8], batches, nn.CrossEntropyLoss())
    assert choice.after is None
    assert choice.flops > 0


STUCK = SearchConfig(
    epochs=9,
    warmup=0,
    explore_every=0,
    alpha=AlphaConfig(every=1),
    expansion=ExpansionConfig(patience=5, most=1, num_samples=64),
)


def test_search_grows_on_a_plateau_and_reheats(monkeypatch):
    monkeypatch.setattr("neuroexapt.search.growing.is_plateau", lambda values, window: True)
    search = Searching(network(), STUCK, learnable(0)[0][0])
    search.temperature.value = 0.4
    params = sum(p.numel() for p in search.network.parameters())
    train, held_out = learnable(0, 4, 32), learnable(1, 4, 32)
    record = search.run_epoch(train, held_out)
    (growth,) = search.expansions
    assert record.expansions == 1
    assert growth.max_error < 1e-5
    assert search.temperature.value == pytest.approx(0.6 * 2.0)
    assert set(growth.opened) < record.choices.keys()
    assert sum(p.numel() for p in search.network.parameters()) > params
    trained = [p for group in search.weights.param_groups for p in group["params"]]
    alphas = {id(d.alpha) for d in decisions(search.network).values()}
    own = {id(p) for p in search.network.parameters()} - alphas
    assert {id(p) for p in trained} == own
    assert len(trained) == len(own)
    assert {id(p) for p in search.alpha.param_groups[0]["params"]} == alphas
    before = [p.detach().clone() for p in trained]
    assert search.run_epoch(train, held_out).expansions == 1  # no more than most
    moved = [not torch.equal(b, p) for b, p in zip(before, trained, strict=True)]
    assert sum(moved) > len(moved) / 2


def test_looking_for_a_place_in_vain_is_paid_for(monkeypatch):
    monkeypatch.setattr("neuroexapt.search.growing.is_plateau", lambda values, window: True)
    monkeypatch.setattr(
        "neuroexapt.search.growing.choose_place",
        lambda *given: dataclasses.replace(choose_place(*given), after=None),
    )
    train, held_out = learnable(0, 2, 32), learnable(1, 2, 32)
    spent = []
    for expansion in (None, STUCK.expansion):
        config = STUCK.model_copy(update={"expansion": expansion})
        search = Searching(network(), config, train[0][0])
        record = search.run_epoch(train, held_out)
        assert record.expansions == 0
        spent.append(record.flops)
    assert spent[1] > spent[0]


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 10))


def over_sequences() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 10),
    )


@pytest.mark.parametrize(("build", "shape"), [(plain, (6,)), (over_sequences, (2, 9))])
def test_search_grows_where_there_are_no_pictures(build, shape, monkeypatch):
    monkeypatch.setattr("neuroexapt.search.growing.is_plateau", lambda values, window: True)
    torch.manual_seed(0)
    inputs = torch.randn(4096, *shape)
    targets = (inputs.flatten(1)[:, :3].abs().sum(1) > 2.3).long()  # which no last layer can tell
    train, held_out = (
        list(zip(x.split(128), y.split(128), strict=True))
        for x, y in ((inputs[:2048], targets[:2048]), (inputs[2048:], targets[2048:]))
    )
    expansion = STUCK.expansion.model_copy(update={"num_samples": 2048})
    config = STUCK.model_copy(update={"expansion": expansion})
    search = Searching(searchable(build(), inputs[:4]), config, inputs[:4])
    record = search.run_epoch(train, held_out)
    (growth,) = search.expansions
    assert record.expansions == 1
    assert growth.max_error < 1e-5
    assert set(growth.opened) < record.choices.keys()


def test_search_grows_only_where_accuracy_has_stopped_rising():
    search = Searching(network(), STUCK, learnable(0)[0][0])
    assert not is_stuck(STUCK, search.history, search.expansions, 0.5)
    found = list(search.run(learnable(0, 2, 32), learnable(1, 2, 32)))
    for number, record in enumerate(found):
        search.history[number] = record.model_copy(update={"val_accuracy": 0.1 * number})
    assert not is_stuck(STUCK, search.history, (), 0.95)
    for number, record in enumerate(found):
        search.history[number] = record.model_copy(update={"val_accuracy": 0.5})
    assert is_stuck(STUCK, search.history, (), 0.5)


def test_searchable_layer_of_zeros_has_silent_alternatives():
    layer = nn.Conv2d(4, 4, 3, padding=1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    x = torch.randn(2, 4, 6, 6)
    found = searchable(nn.Sequential(layer), x)
    (mixed,) = (module for module in found.modules() if isinstance(module, Mixed))
    assert "skip_connect" not in mixed.decision.operations
    assert all(not operation(x).any() for operation in mixed.operations.values())


@pytest.mark.parametrize("optimizer", ["sgd", "muon"])
def test_expansion_joins_the_groups_that_the_recipe_makes(optimizer: str) -> None:
    """Also such as the network before had no parameters for: here vectors, and matrices."""
    recipe = Recipe(optimizer=optimizer, lr=0.1, weight_decay=0.01)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False))
    grown = nn.Sequential(network[0], nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    weights = build_optimizer(network, recipe)
    set_lr(weights, recipe, 0.5)
    join(weights, grown, [*grown[1].parameters(), *grown[3].parameters()], recipe)
    fresh = build_optimizer(grown, recipe)

    def told(of: torch.optim.Optimizer) -> dict[int, tuple[Any, ...]]:
        names = ("weight_decay", "initial_lr", "rule", "per_input")
        groups = of.param_groups
        return {id(p): tuple(g.get(n) for n in names) for g in groups for p in g["params"]}

    assert told(weights) == told(fresh)
    shares = [group["lr"] / group["initial_lr"] for group in weights.param_groups]
    assert shares == pytest.approx([shares[0]] * len(fresh.param_groups))
