"""What each policy would do, and in which order."""

import copy
import math
import re
from functools import cache
from types import MappingProxyType
from typing import Any

import pytest
import torch
from seeding import seed_
from small import CRITERION, batches, model
from torch import nn

from neuroexapt import (
    Activate,
    Budget,
    Deepen,
    EditError,
    Grower,
    GrowthConfig,
    LivingModel,
    Prune,
    Split,
    Widen,
    sense,
)
from neuroexapt.edits.activate import blends
from neuroexapt.growth import POLICIES, arbiter, pruning, worth
from neuroexapt.growth.arbiter import candidates, one_a_place, place_of, rank_by_worth, thinned
from neuroexapt.growth.nominate import nominate_settling, nominate_widening
from neuroexapt.growth.prior import Prior
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.situation import ALIKE, Situation

ROWS = torch.zeros(2, 2)
EVEN = Prior(
    horizon=300,
    kinds=dict.fromkeys(
        (
            "split",
            "widen",
            "deepen",
            "deepen-inverted",
            "connect",
            "attend-channels",
            "attend-positions",
            "activate",
            "prune",
        ),
        math.log(0.01),
    ),
    exponents={"grow": {"gain": 0.5}, "prune": {"saliency": 1.0}},
    source="by hand",
)


def task(count: int = 4, noise: float = 0.0) -> list[Any]:
    """Batches of pictures whose class is where they are bright; or, with noise 1, by chance."""
    generator = torch.Generator().manual_seed(5)
    found = []
    for _ in range(count):
        x = torch.randn(64, 1, 6, 6, generator=generator)
        classes = x[:, 0].reshape(64, 3, -1).mean(2).argmax(1)
        drawn = torch.randint(3, (64,), generator=generator)
        by_chance = torch.rand(64, generator=generator) < noise
        found.append((x, torch.where(by_chance, drawn, classes)))
    return found


@cache
def _trained(noise: float) -> LivingModel:
    # In float64, so that rounding doesn't make another network of it on another machine.
    network = model().double()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for x, classes in task(250, noise):
        optimizer.zero_grad()
        CRITERION(network(x.double()), classes).backward()
        optimizer.step()
    return LivingModel(network.float(), batches()[0][0][:4])


def trained(noise: float = 0.0) -> LivingModel:
    """The small network after some steps on the task, when it is short of something."""
    return copy.deepcopy(_trained(noise))


def situation(
    living: LivingModel | None = None,
    data: list[Any] | None = None,
    config: GrowthConfig | None = None,
    criterion: Any = CRITERION,
    **given: Any,
) -> Situation:
    living = living or trained()
    data = data or task()
    defaults = {
        "criterion": criterion,
        "config": config or GrowthConfig(policy="arbiter"),
        "budget": Budget(),
        "generator": torch.Generator().manual_seed(0),
        "scales": MappingProxyType({"other": 1.0}),
        "elasticity": None,
    }
    readings = sense(living, data, criterion, num_batches=len(data))
    return Situation(living, readings, data, **(defaults | given))


@pytest.fixture
def even(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prior that goes by the gain alone."""
    monkeypatch.setattr(worth, "shipped_prior", lambda: EVEN)


@pytest.mark.parametrize("name", POLICIES)
def test_policy_proposes_what_fits_and_leaves_the_model_alone(name):
    config = GrowthConfig(policy=name, entropy_threshold=0.1, split_probability=1.0)
    given = situation(config=config)
    before = {k: v.clone() for k, v in given.living.state_dict().items()}
    ranking = POLICIES[name](given)
    assert ranking.proposals
    assert ranking.otherwise
    for key, value in given.living.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=0)
    change = given.living.apply(ranking.proposals[0].edit)
    assert change.max_error <= 1e-5 or isinstance(change.edit, Prune)


def test_arbiter_orders_by_saving_for_compute(even):
    given = situation()
    ranking = rank_by_worth(given)
    worth = [p.predicted / (p.evidence["compute"] + arbiter.FIXED_COST) for p in ranking.proposals]
    assert worth == sorted(worth, reverse=True)
    assert all(p.predicted > p.evidence["price"] for p in ranking.proposals)
    assert ranking.flops > 0


def test_arbiter_looks_at_another_part_of_the_additions_each_time(even):
    everything = candidates(situation())
    looked = []
    for seed in range(2):
        given = situation(part=0.3, generator=torch.Generator().manual_seed(seed))
        looked.append({repr(p.edit) for p in thinned(candidates(given), given)})
    widening = {repr(p.edit) for p in everything if isinstance(p.edit, Widen)}
    rest = len(everything) - len(widening)
    assert looked[0] != looked[1]
    for part in looked:
        assert widening < part
        assert len(part) - len(widening) == math.ceil(0.3 * rest)
    assert rank_by_worth(given).flops < rank_by_worth(situation()).flops


def test_arbiter_predicts_by_the_prior_and_the_scale_of_the_kind(even):
    plain = {repr(p.edit): p for p in rank_by_worth(situation()).proposals}
    scales = MappingProxyType({"widen": 0.5, "other": 2.0})
    scaled = rank_by_worth(situation(scales=scales)).proposals
    assert scaled
    for proposal in scaled:
        scale = scales.get(proposal.edit.kind, 2.0)
        assert proposal.scale == scale
        if repr(proposal.edit) in plain:
            expected = scale * plain[repr(proposal.edit)].predicted
            assert proposal.predicted == pytest.approx(expected, rel=1e-5)


def test_arbiter_finds_nothing_where_labels_are_chance(even):
    """There is nothing to learn, so no gain can stand out; many candidates don't change that."""
    living = trained(noise=1.0)
    found = [
        rank_by_worth(situation(living, task(16, noise=1.0), generator=generator(seed)))
        for seed in range(3)
    ]
    assert sum(p.edit.kind != "prune" for ranking in found for p in ranking.proposals) <= 1


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_arbiter_says_why_nothing_pays(even):
    config = GrowthConfig(policy="arbiter", min_saving=0.9, kinds=("widen",))
    ranking = rank_by_worth(situation(config=config))
    assert not ranking.proposals
    assert "nothing is worth its cost: the best of" in ranking.otherwise
    assert "under min_saving" in ranking.otherwise


def test_arbiter_waits_while_training_on_saves_more(even):
    config = GrowthConfig(policy="arbiter", timing="gain")
    assert rank_by_worth(situation(config=config, elasticity=0.0)).proposals
    steep = rank_by_worth(situation(config=config, elasticity=100.0))
    dear = [p for p in steep.proposals if p.evidence["compute"] > 0.01]
    assert not dear


def test_compute_is_worth_nothing_where_training_on_saves_nothing(even):
    dear = GrowthConfig(policy="arbiter", exchange=100.0, kinds=("widen", "deepen"))
    assert not rank_by_worth(situation(config=dear, elasticity=None)).proposals
    assert not rank_by_worth(situation(config=dear, elasticity=100.0)).proposals
    assert rank_by_worth(situation(config=dear, elasticity=-0.1)).proposals


def test_arbiter_prefers_what_fits_the_rest_of_the_budget(even):
    """Of two equal gains the one that leaves more of the budget comes first."""
    living = trained()
    free = rank_by_worth(situation(living)).proposals
    tight = Budget(params=living.cost().params + 20)
    bound = rank_by_worth(situation(living, budget=tight)).proposals
    size = {repr(p.edit): p.edit.num_added(living) for p in free}
    assert size[repr(bound[0].edit)] <= size[repr(free[0].edit)]


def test_arbiter_prunes_only_when_no_growth_pays(even):
    growing = rank_by_worth(situation())
    assert not [p for p in growing.proposals if p.edit.kind == "prune"]
    config = GrowthConfig(policy="arbiter", min_saving=0.9, exchange=5.0)
    level = rank_by_worth(situation(config=config))
    assert {p.edit.kind for p in level.proposals} == {"prune"}
    assert all(p.evidence["compute"] < 0 for p in level.proposals)
    assert all(p.predicted <= 0 for p in level.proposals)


def test_arbiter_removes_dead_units_even_while_growth_pays(even):
    living = trained()
    with torch.no_grad():
        living.get_submodule("3").bias[[1, 4]] = -1e6  # behind it is a ReLU
    found = rank_by_worth(situation(living)).proposals
    assert found[0].edit == Prune(group="3", units=(1, 4), preserving=False)
    assert any(p.edit.kind != "prune" for p in found)
    outputs = living.eval()(task()[0][0])
    change = living.apply(found[0].edit)
    torch.testing.assert_close(living.eval()(task()[0][0]), outputs, rtol=1e-4, atol=1e-5)
    assert change.macs_after < change.macs_before


def test_arbiter_keeps_constant_units_that_have_a_say(even):
    """Behind a tanh, or with a shift behind a norm, a unit may be constant and needed."""
    seed_(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        net[0].bias[3], net[0].weight[3] = 30.0, 0.0
        net[2].weight[:, 3] = torch.tensor([4.0, -4.0, 0.0])
    data = [(torch.randn(256, 4), torch.randint(3, (256,)))]
    given = situation(LivingModel(net, data[0][0][:4]), data, GrowthConfig(kinds=("prune",)))
    assert given.readings.dead["0"].tolist() == [False] * 3 + [True] + [False] * 2
    assert all(3 not in proposal.edit.units for proposal in rank_by_worth(given).proposals)


def test_arbiter_takes_a_loss_of_nothing_and_refuses_one_below(even):
    living = LivingModel(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2)), ROWS)
    data = [(torch.randn(256, 2), torch.zeros(256, dtype=torch.int64))]
    for given, criterion in ((0.0, 0.0), (-1.0, -1.0)):
        found = situation(
            living, data, criterion=lambda outputs, _y, c=criterion: 0 * outputs.sum() + c
        )
        assert found.readings.loss == given
        if given < 0:
            with pytest.raises(ValueError, match=r"the loss is -1, .*add a constant"):
                rank_by_worth(found)
        else:
            assert all(p.edit.kind == "prune" for p in rank_by_worth(found).proposals)


def test_nothing_is_widened_for_frozen_readers():
    """New units' outgoing weights begin at zero, and would stay there."""
    living = trained()
    living.get_submodule("9").requires_grad_(False)
    named = {p.edit.group for p in nominate_widening(situation(living).readings, living, 0.5)}
    assert named == {"0", "3"}


def test_blends_at_their_ends_are_ended(even):
    living = trained()
    living.apply(Activate(node="4", to="silu"))
    (blend,) = blends(living).values()
    for amount in (0.0, 1.0):
        with torch.no_grad():
            blend.amount.fill_(amount)
        assert [p.edit.kind for p in nominate_settling(living)] == ["settle"]


def test_blends_are_given_time_before_they_are_ended(even):
    """A blend's amounts begin at 0, and so look settled at the first look."""
    living = trained()
    living.apply(Activate(node="4", to="silu"))
    (blend,) = blends(living).values()
    with torch.no_grad():
        blend.amount.fill_(0.01)
    young = rank_by_worth(situation(living, num_young=1)).proposals
    assert not [p for p in young if p.edit.kind == "settle"]
    old = rank_by_worth(situation(living)).proposals
    assert [p.edit.kind for p in old].count("settle") == 1
    assert old[-1].edit.kind == "settle", "what grows comes first"
    for proposal in old:
        living.apply(proposal.edit)
    assert not blends(living)


def test_arbiter_prunes_where_nothing_else_is_asked_for(even):
    config = GrowthConfig(policy="arbiter", exchange=5.0, kinds=("prune",))
    found = rank_by_worth(situation(config=config)).proposals
    assert found
    assert {p.edit.kind for p in found} == {"prune"}


def test_arbiter_prunes_on_a_plateau_too(even):
    """Where training gains nothing by compute, whoever runs the network still pays for it."""
    config = GrowthConfig(policy="arbiter", exchange=5.0, kinds=("prune",))
    level = rank_by_worth(situation(config=config, elasticity=0.0)).proposals
    falling = rank_by_worth(situation(config=config)).proposals
    assert [p.edit for p in level] == [p.edit for p in falling]


def test_arbiter_predicts_less_where_the_network_knows_its_data_by_heart(even):
    """Half of the held-out loss, on a scale of its own, can't be saved by fitting better."""
    plain = situation()
    loss, scaled = 64 * plain.readings.loss, {"scale": 1 / 64}
    gap = situation(plain.living, held_out_loss=2 / ALIKE * loss, **scaled)
    assert gap.learnable == pytest.approx(0.5)
    assert situation(plain.living, held_out_loss=1.2 * loss, **scaled).learnable == 1.0
    told, less = (
        {repr(p.edit): p.predicted for p in rank_by_worth(given).proposals}
        for given in (plain, gap)
    )
    shared = told.keys() & less.keys()
    assert shared
    for edit in shared:
        assert less[edit] == pytest.approx(told[edit] / 2, rel=1e-5)


@pytest.mark.parametrize("held_out", [None, 0.0])
def test_all_of_the_loss_can_be_learnt_where_none_is_told(held_out):
    assert situation(held_out_loss=held_out).learnable == 1.0


def test_arbiter_adds_nothing_to_a_network_that_overfits(even):
    given = situation()
    loss = given.readings.loss
    config = GrowthConfig(policy="arbiter", kinds=("widen", "deepen"))
    risen = {"held_out_loss": 2 * loss, "lowest_loss": 1.5 * loss, "scale": 1.0}
    ranking = rank_by_worth(situation(given.living, config=config, **risen))
    assert not ranking.proposals
    assert "the network overfits: its held-out loss has risen from" in ranking.otherwise


def test_a_loss_that_rises_everywhere_is_no_overfitting(even):
    """Where the training loss rises, too, the network isn't too large for its data."""
    given = situation()
    loss = given.readings.loss
    risen = {"held_out_loss": 1.1 * loss, "lowest_loss": 0.5 * loss, "scale": 1.0}
    assert not situation(given.living, **risen).overfits
    assert rank_by_worth(situation(given.living, **risen)).proposals


def sure_of_itself() -> tuple[LivingModel, list[Any]]:
    """A network whose outputs are so far apart that gradients tell nothing of what units matter."""
    seed_(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [-1.0, 0.0]] * 4))
        net[0].bias.zero_()
        net[2].weight.copy_(torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(1, 4) * 100)
        net[2].bias.copy_(torch.tensor([-700.0, 700.0]))
    inputs = torch.randn(512, 2)
    inputs[:, 0] = inputs[:, 0].sign() * (2 + inputs[:, 0].abs())
    return LivingModel(net, inputs[:2]), [(inputs, (inputs[:, 0] < 0).long())]


def test_arbiter_keeps_units_that_are_missed_though_gradients_say_nothing_of_them(even):
    living, data = sure_of_itself()
    given = situation(living, data, GrowthConfig(kinds=("prune",), exchange=5.0))
    (found,), flops = pruning.on_pruning(given)
    assert sum(found.proposal.evidence["saliency"]) < 1e-6
    assert found.proposal.evidence["at_once"] > 1
    assert not found.pays
    assert flops > 0
    assert not rank_by_worth(given).proposals


def test_a_pruning_that_the_model_refuses_is_left_to_whoever_makes_it(even, monkeypatch):
    def refuse(*_args: Any, **_options: Any) -> None:
        raise EditError("no")

    monkeypatch.setattr(Prune, "apply_to", refuse)
    config = GrowthConfig(policy="arbiter", exchange=5.0, kinds=("prune",))
    found = rank_by_worth(situation(config=config)).proposals
    assert found
    assert all(proposal.evidence["at_once"] is None for proposal in found)


def test_what_pruning_costs_at_once_is_the_share_by_which_the_loss_rises(even):
    living = trained()
    config = GrowthConfig(policy="arbiter", exchange=5.0, kinds=("prune",))
    given = situation(living, config=config)
    tried = [v.proposal for v in pruning.on_pruning(given)[0] if "at_once" in v.proposal.evidence]
    assert tried
    for proposal in tried:
        copied = copy.deepcopy(living)
        copied.apply(proposal.edit)
        after = sense(copied, given.data, CRITERION, num_batches=len(given.data)).loss
        expected = after / given.readings.loss - 1
        assert proposal.evidence["at_once"] == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_arbiter_leaves_out_what_the_budget_has_no_room_for(even):
    living = trained()
    full = Budget(params=living.cost().params)
    config = GrowthConfig(policy="arbiter", kinds=("widen", "deepen"))
    ranking = rank_by_worth(situation(living, config=config, budget=full))
    assert not ranking.proposals
    assert ranking.otherwise.startswith("the budget leaves no room for any of")


def test_arbiter_does_not_prune_on_few_samples(even):
    config = GrowthConfig(policy="arbiter", min_saving=0.9, exchange=5.0)
    assert not rank_by_worth(situation(data=task(2), config=config)).proposals


def test_arbiter_considers_only_the_kinds_that_are_asked_for():
    config = GrowthConfig(policy="arbiter", kinds=("split", "attend"))
    assert {p.edit.kind for p in candidates(situation(config=config))} == {"split", "attend"}


def test_one_place_is_taken_once():
    proposals = [
        Proposal(Widen(group="0", count=2), {}),
        Proposal(Split(group="0", units=(1,)), {}),
        Proposal(Widen(group="3", count=2), {}),
    ]
    assert list(one_a_place(proposals)) == [proposals[0], proposals[2]]
    assert place_of(proposals[2].edit) == "3"


def test_entropy_policy_takes_the_fullest_group_first():
    given = situation(config=GrowthConfig(policy="entropy"))
    found = POLICIES["entropy"](given).proposals
    means = [float(given.readings.entropy[p.edit.group].mean()) for p in found]
    assert means == sorted(means, reverse=True)
    assert {p.edit.kind for p in found} == {"split"}


def test_correlation_policy_takes_the_strongest_first_and_none_under_the_floor():
    given = situation(config=GrowthConfig(policy="correlation"))
    found = POLICIES["correlation"](given).proposals
    strengths = [abs(p.evidence["correlation"]) for p in found]
    assert strengths == sorted(strengths, reverse=True)
    assert all(s > given.readings.noise_floor for s in strengths)
    assert {p.edit.kind for p in found} == {"connect"}


def test_random_policy_depends_on_the_generator_only():
    config = GrowthConfig(policy="random")
    living = trained()
    orders = [
        [
            p.edit
            for p in POLICIES["random"](situation(living, config=config, generator=g)).proposals
        ]
        for g in (generator(1), generator(1), generator(2))
    ]
    assert orders[0] == orders[1] != orders[2]


def test_random_policy_connects_any_layers(monkeypatch):
    """Not only those that the arbiter looks at, whose gradients correlate most."""
    monkeypatch.setattr(arbiter, "MOST_CONNECTIONS", 1)
    config = GrowthConfig(policy="random", kinds=("connect",))
    network = LivingModel(
        nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(4, 4), nn.ReLU()))),
        torch.zeros(2, 4),
    )
    data = [
        (torch.randn(64, 4, generator=generator(seed)), torch.zeros(64).long()) for seed in (0, 1)
    ]
    found = set()
    for seed in range(8):
        at = situation(network, data, config, generator=generator(seed))
        (proposal,) = POLICIES["random"](at).proposals
        found.add(proposal.edit)
        assert len(candidates(at)) == 1
    assert len(found) > 1


def proportional() -> LivingModel:
    """Groups of 4, 8 and 16 channels."""
    seed_(0)
    layers = [
        nn.Conv2d(3, 4, 3, padding=1),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    ]
    return LivingModel(nn.Sequential(*layers), torch.randn(2, 3, 6, 6))


def widened(living: LivingModel, **given: Any) -> dict[str, int]:
    """What the uniform policy adds to each group."""
    config = GrowthConfig(policy="uniform", **given.pop("config", {}))
    data = [(torch.randn(8, 3, 6, 6), torch.randint(3, (8,)))]
    at = situation(living, data, config, **given)
    return {p.edit.group: p.edit.count for p in POLICIES["uniform"](at).proposals}


def test_uniform_policy_keeps_proportions_and_the_pace():
    living = proportional()
    before = living.cost().macs
    added = widened(living, config={"pace": 2.25})
    assert added == {"0": 2, "1": 4, "2": 8}
    for group, count in added.items():
        living.apply(Widen(group=group, count=count))
    assert 1.9 * before < living.cost().macs < 2.25 * before
    assert widened(living, config={"pace": 1.01}) == {}


def test_uniform_policy_widens_by_no_more_than_the_budget_and_the_share_allow():
    living = proportional()
    cost = living.cost()
    close = {"budget": Budget(macs=int(1.6 * cost.macs)), "config": {"pace": 9.0}}
    assert widened(living, **close) == {"0": 1, "1": 2, "2": 4}
    assert widened(living, config={"pace": 9.0, "share": 0.25}) == {"0": 1, "1": 2, "2": 4}
    assert widened(living, budget=Budget(params=cost.params)) == {}
    assert widened(living, budget=Budget(params=cost.params // 2)) == {}


def test_uniform_policy_lets_groups_that_fell_behind_catch_up():
    living = proportional()
    for group, count in {"0": 2, "1": 4}.items():  # and then sensing had spent its share
        living.apply(Widen(group=group, count=count))
    added = widened(living, config={"pace": 2.25, "share": 1.0})
    assert next(iter(added)) == "2"
    for group, count in added.items():
        living.apply(Widen(group=group, count=count))
    first, second, third = (living.group(name).size for name in ("0", "1", "2"))
    assert second == 2 * first and third == pytest.approx(4 * first, abs=2)


def test_uniform_policy_takes_no_group_for_behind_that_an_edit_brought():
    living = proportional()
    for group, count in {"0": 2, "1": 4, "2": 8}.items():
        living.apply(Widen(group=group, count=count))
    living.apply(Deepen(after="1"))
    born = living.group("edit3.first").size
    added = widened(living, config={"pace": 2.25})
    assert added == {"0": 3, "1": 6, "2": 12, "edit3.first": round(born / 2)}


def test_uniform_growth_goes_up_to_the_budget():
    living = proportional()
    budget = Budget(macs=5 * living.cost().macs)
    data = [(torch.randn(16, 3, 6, 6), torch.randint(3, (16,))) for _ in range(4)]
    settings = {"policy": "uniform", "every": 1, "pace": 1.6, "until": 1.0, "sensing_share": 1.0}
    growing = Grower(living, None, CRITERION, budget, settings)
    for epoch in range(12):
        growing.step(data, 0.5, epoch / 12, 1e9)
    assert re.search(r"let all groups be widened by \d\.\d%, .* \(3 times", growing.stopped or "")
    sizes = [living.group(name).size for name in ("0", "1", "2")]
    assert sizes[1:] == [2 * sizes[0], 4 * sizes[0]]
    assert 0.75 * budget.macs < living.cost().macs <= budget.macs


def test_breakthrough_policy_follows_its_strategies_in_order():
    config = GrowthConfig(policy="breakthrough", entropy_threshold=0.1)
    kinds = [p.edit.kind for p in POLICIES["breakthrough"](situation(config=config)).proposals]
    assert list(dict.fromkeys(kinds)) == ["split", "deepen", "attend", "activate"]


def test_gain_timing_needs_the_arbiter():
    with pytest.raises(ValueError, match="the policy 'random' predicts no gains"):
        GrowthConfig(policy="random", timing="gain")


def test_ranking_of_a_model_without_places_says_so():
    living = LivingModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), batches()[0][0][:4])
    config = GrowthConfig(policy="arbiter", kinds=("widen",))
    ranking = rank_by_worth(situation(living, config=config))
    assert not ranking.proposals
    assert ranking.otherwise == "nothing can be proposed for this model"
