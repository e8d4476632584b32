"""Mutations: drawn from the ranking, within limits, the function kept unless units go."""

import copy
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from grown_nets import net, relative_error
from torch import nn

from neuroexapt.evolution.mutation import Sensed, grow, shrink
from neuroexapt.graph import Cost, LivingModel
from neuroexapt.growth import Budget, GrowthConfig, Newborns
from neuroexapt.growth.nominate import growable

CRITERION = nn.CrossEntropyLoss()


def loader() -> list[Any]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(128, 3, 8, 8, generator=generator)
    return list(zip(inputs.split(64), (inputs.mean((1, 2, 3)) > 0).long().split(64), strict=True))


def sensed(policy: str = "random", **settings: Any) -> Sensed:
    config = GrowthConfig(policy=policy, exchange=0.0, min_saving=0.0, **settings)
    return Sensed.of(net(), loader(), CRITERION, config, Budget(), 128)


def none(cost: Cost) -> str | None:
    return None


def drawn_from(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("policy", ["arbiter", "random", "uniform", "entropy"])
def test_grow_keeps_the_function_and_tells_what_it_did(policy: str) -> None:
    on = sensed(policy)
    x = torch.randn(4, 3, 8, 8)
    before = on.living.eval()(x)
    done = grow(on, 2, drawn_from(1), none)
    assert 1 <= len(done.changes) <= 2
    assert relative_error(on.living.eval()(x), before) < 1e-5
    assert on.living.edits == tuple(change.edit for change in done.changes)
    assert done.flops > on.readings.flops


def test_grow_goes_by_gradients_where_newborns_are_to() -> None:
    on = sensed("random", kinds=("widen",), newborns=Newborns(init="gradmax"))
    done = grow(on, 1, drawn_from(1), none)
    assert done.changes[0].edit.init == "gradmax"
    usual = grow(sensed("random", kinds=("widen",)), 1, drawn_from(1), none)
    assert done.flops > usual.flops


def test_grow_repeats_under_a_seed_and_varies_between_seeds() -> None:
    def edits(seed: int) -> list[str]:
        return [str(change.edit) for change in grow(sensed(), 2, drawn_from(seed), none).changes]

    assert edits(1) == edits(1)
    assert len({tuple(edits(seed)) for seed in range(5)}) > 1


def test_grow_draws_better_proposals_more_often() -> None:
    """The first of the ranking by entropy is drawn first with probability 0.3 at least."""
    first = sensed("entropy")
    best = max(first.readings.entropy, key=lambda name: float(first.readings.entropy[name].mean()))
    groups = []
    for seed in range(12):
        groups.append(grow(sensed("entropy"), 1, drawn_from(seed), none).changes[0].edit.group)
    assert groups.count(best) > len(groups) / len(set(groups))


def test_grow_makes_an_edit_smaller_until_it_fits() -> None:
    on = sensed("random", kinds=("widen",), share=1.0)
    most = on.living.cost().params + 40

    def limit(cost: Cost) -> str | None:
        return "too many" if cost.params > most else None

    done = grow(on, 1, drawn_from(0), limit)
    assert len(done.changes) == 1
    assert done.changes[0].params_after <= most
    assert done.changes[0].edit.count < 4


def test_grow_without_room_says_why() -> None:
    on = sensed()
    done = grow(on, 2, drawn_from(0), lambda cost: "nothing is allowed")
    assert not done.changes
    assert "nothing is allowed" in done.why
    assert not on.living.edits


def test_shrink_takes_units_away() -> None:
    on = sensed(share=0.5)
    before = on.living.cost()
    done = shrink(on, 1, drawn_from(0), none)
    assert [change.edit.kind for change in done.changes] == ["prune"]
    assert on.living.cost().params < before.params
    assert on.living.cost().macs < before.macs


def test_shrink_takes_from_so_many_groups_once_each() -> None:
    on = sensed(share=0.5)
    groups = [change.edit.group for change in shrink(on, 9, drawn_from(0), none).changes]
    assert len(groups) > 1
    assert sorted(groups) == sorted(group.name for group in growable(on.living))


@pytest.mark.parametrize(("policy", "preferred"), [("arbiter", True), ("random", False)])
def test_shrink_prefers_what_saves_most_for_the_loss(policy: str, preferred: bool) -> None:
    """Of three groups with units of no use, those of the first are used at most positions."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, stride=2)
    layers = [first, nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(32, 8), nn.ReLU()]
    net = nn.Sequential(*layers, nn.Linear(8, 3))
    with torch.no_grad():
        for layer in (net[0], net[2], net[5]):
            layer.weight[:4].zero_()
            layer.bias[:4].zero_()
    data = [(torch.randn(64, 1, 8, 8), torch.randint(3, (64,)))]
    config = GrowthConfig(policy=policy, share=0.5)
    pruned: Counter[str] = Counter()
    useless = 0
    living = LivingModel(net, data[0][0][:2])
    on = Sensed.of(living, data, CRITERION, config, Budget(), 64)
    for seed in range(40):
        (change,) = shrink(
            replace(on, living=copy.deepcopy(living)), 1, drawn_from(seed), none
        ).changes
        pruned[change.edit.group] += 1
        useless += set(change.edit.units) <= set(range(4))
    assert set(pruned) == {"0", "2", "5"}
    # Of 40, drawn evenly 13 are expected; by their rank 18.
    assert (pruned["0"] >= 18) is preferred
    assert (useless == 40) is preferred


def test_shrink_of_what_has_one_unit_everywhere_says_why() -> None:
    tiny = nn.Sequential(nn.Linear(3, 1), nn.ReLU(), nn.Linear(1, 2))
    x = torch.randn(64, 3)
    on = Sensed.of(
        LivingModel(tiny, x[:2]),
        [(x, (x[:, 0] > 0).long())],
        CRITERION,
        GrowthConfig(policy="random"),
        Budget(),
        64,
    )
    done = shrink(on, 1, drawn_from(0), none)
    assert not done.changes
    assert "no group of units can be pruned" in done.why
