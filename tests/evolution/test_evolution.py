"""Evolution of networks: inheritance, independence, limits, budget, repeatability, errors."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

from neuroexapt.edits import Deepen, Widen
from neuroexapt.errors import DataError, EvolutionError, TraceError
from neuroexapt.evolution import (
    EvolutionConfig,
    Limits,
    MultiObjectiveArchitectureEvolution,
    networks,
)
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.networks import Network, most_error
from neuroexapt.evolution.polish import finalists
from neuroexapt.graph import LivingModel
from neuroexapt.training import training_flops

SMALL: dict[str, Any] = {
    "objectives": ("error", "macs"),
    "size": 4,
    "num_children": 3,
    "rungs": (1.0, 1.0),
    "num_samples": 64,
    "recipe": {"lr": 0.05, "batch_size": 32},
}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def batches(count: int = 4, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Is the left half of the picture brighter than the right one?"""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(32 * count, 1, 6, 6, generator=generator)
    inputs[:, :, :, :3] += torch.randn(len(inputs), 1, 1, 1, generator=generator)
    targets = (inputs[..., :3].mean((1, 2, 3)) > inputs[..., 3:].mean((1, 2, 3))).long()
    return list(zip(inputs.split(32), targets.split(32), strict=True))


def evolution(**settings: Any) -> MultiObjectiveArchitectureEvolution:
    return MultiObjectiveArchitectureEvolution(
        model(), batches(), batches(2, seed=9), SMALL | settings
    )


@cache
def evolved(generations: int, **settings: Any) -> tuple[Any, list[list[Network]]]:
    of = evolution(**settings)
    populations = [of.found()]
    for _ in range(generations):
        populations.append(of.evolve_generation(populations[-1]))
    return of, populations


def some() -> tuple[Any, list[list[Network]]]:
    """Generations with births of every origin, for all who only look."""
    return evolved(4, crossover=0.5, pruning=0.2)


def children(of: MultiObjectiveArchitectureEvolution) -> list[Any]:
    return [child for record in of.history[1:] for child in record.children]


def weights(population: Sequence[Network]) -> list[dict[str, Tensor]]:
    return [{k: v.clone() for k, v in member.genome.weights.items()} for member in population]


def same(one: Sequence[Network], other: Sequence[Network]) -> bool:
    return [m.name for m in one] == [m.name for m in other] and all(
        a.scores == b.scores
        and a.genome.edits == b.genome.edits
        and all(torch.equal(v, b.genome.weights[k]) for k, v in a.genome.weights.items())
        for a, b in zip(one, other, strict=True)
    )


def test_children_start_with_what_their_parent_has_learnt() -> None:
    of, _ = some()
    kept = [child for child in children(of) if child.origin != "pruning"]
    assert {child.origin for child in kept} == {"mutation", "crossover"}
    for child in kept:
        told = child.told
        assert told["accuracy_at_birth"] == pytest.approx(told["accuracy_of_parent"], abs=1e-6)


def test_a_generation_changes_nothing_of_the_one_before() -> None:
    of = evolution()
    parents = of.evolve_generation(of.found())
    before, names = weights(parents), [member.name for member in parents]
    of.evolve_generation(parents)
    assert names == [member.name for member in parents]
    for member, kept in zip(parents, before, strict=True):
        assert all(torch.equal(value, kept[key]) for key, value in member.genome.weights.items())


def test_no_two_networks_share_memory() -> None:
    of, populations = some()
    tensors = [value for m in populations[-1] for value in m.genome.weights.values()]
    tensors += list(of.seed.state_dict().values())
    places = [tensor.data_ptr() for tensor in tensors if tensor.numel()]
    assert len(places) == len(set(places))


def test_a_population_holds_no_structure_twice() -> None:
    for population in some()[1]:
        keys = [member.key for member in population]
        assert len(keys) == len(set(keys))


def test_networks_learn_over_generations() -> None:
    of, populations = some()
    first = populations[0][0].scores["error"]
    assert min(member.scores["error"] for member in populations[-1]) < first
    assert of.front(populations[-1])[0].scores["error"] < first


def test_scores_are_those_of_the_network() -> None:
    of, populations = some()
    for member in populations[-1]:
        living = of.model(member)
        assert living.cost().macs == member.scores["macs"]
        assert living.cost().params == member.scores["params"]
        with torch.no_grad():
            right = [(living(x).argmax(1) == y).float().mean() for x, y in batches(2, seed=9)]
        assert 1 - float(torch.stack(right).mean()) == pytest.approx(member.scores["error"])


def test_limits_are_kept() -> None:
    most = int(1.3 * evolution().seed.cost().macs)
    of, _ = evolved(3, limits=Limits(macs=most))
    assert len(children(of)) > 3
    assert all(child.scores["macs"] <= most for child in children(of))


def test_a_network_over_its_latency_comes_last() -> None:
    of = evolution(objectives=("error", "latency_ms"), limits={"latency_ms": 1000.0})
    (founder,) = of.found()
    assert founder.scores["latency_ms"] > 0
    assert founder.excess == 0
    slow = founder.scored({**founder.scores, "latency_ms": 2000.0}, excess=1.0)
    assert of.front([slow, founder]) == [founder]


def test_a_network_that_errs_too_much_counts_as_beyond_the_limits() -> None:
    of = evolution(error_ratio=1.5, size=3, num_children=2, trained=0)
    (founder,) = of.found()
    error = founder.scores["error"]
    ruined = replace(
        founder, name="ruined", key="ruined", scores={"error": 1.6 * error, "macs": 1.0}
    )
    fair = replace(ruined, name="fair", key="fair", scores={"error": 1.4 * error, "macs": 2.0})
    assert len(of.front([founder, fair, ruined])) == 3
    survivors = {member.name: member for member in of.evolve_generation([founder, fair, ruined])}
    assert {founder.name, "fair"} <= survivors.keys()
    assert all(m.excess == 0 for m in survivors.values() if m.name != "ruined")
    if "ruined" in survivors:
        assert survivors["ruined"].excess == pytest.approx(1.6 / 1.5 - 1)


def test_a_network_that_errs_too_much_is_not_polished() -> None:
    of = evolution(error_ratio=1.5, max_flops=1e9)
    (founder,) = of.found()
    scores = {"error": 1.6 * founder.scores["error"], "macs": 1.0}
    ruined = replace(founder, name="ruined", key="ruined", scores=scores)
    assert [member.name for member in of.polish([founder, ruined])] == [founder.name]


def test_a_population_without_a_limited_score_is_refused() -> None:
    of = evolution(limits={"latency_ms": 1000.0})
    (founder,) = evolution().found()
    with pytest.raises(EvolutionError, match="no scores of this evolution"):
        of.evolve_generation([founder])


def test_the_largest_error_goes_by_the_best_that_keeps_the_limits() -> None:
    def scored(error: float, macs: float) -> Network:
        return Individual(
            "m", Genome.of(evolution().seed), "", scores={"error": error, "macs": macs}
        )

    config = EvolutionConfig(error_ratio=2.0, limits=Limits(macs=10))
    population = [scored(0.3, 5.0), scored(0.2, 7.0), scored(0.1, 11.0)]
    assert most_error(population, config) == pytest.approx(0.4)
    assert most_error([scored(0.0, 5.0)], config) > 0
    assert most_error([scored(0.1, 11.0)], config) == math.inf
    assert most_error(population, EvolutionConfig()) == math.inf


def test_equal_seeds_give_equal_fronts_and_others_do_not() -> None:
    last = evolved(1)[1][-1]
    assert same(last, evolved.__wrapped__(1)[1][-1])
    assert not same(last, evolved(1, seed=1)[1][-1])


def test_random_numbers_of_the_caller_stay() -> None:
    of = evolution()
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    of.evolve_generation(of.found())
    assert torch.equal(torch.rand(1), expected)


@pytest.fixture(scope="module")
def whole() -> tuple[MultiObjectiveArchitectureEvolution, list[Any], list[list[Network]]]:
    """A run to its end, with the state after each generation."""
    of = evolution(max_flops=3e8, polish=0.3)
    states, populations = [], []
    for population in of.run():
        populations.append(population)
        states.append(of.state_dict())
    return of, states, populations


def test_run_spends_its_budget_and_not_more(whole: Any) -> None:
    of, _, _ = whole
    assert 0.9 * 3e8 < of.flops <= 3e8
    assert [record.flops for record in of.history] == sorted(r.flops for r in of.history)
    assert of.finished


def test_run_has_all_phases_in_order(whole: Any) -> None:
    phases = [record.phase for record in whole[0].history]
    assert phases == sorted(phases, key=["founding", "evolving", "polishing"].index)
    assert set(phases) == {"founding", "evolving", "polishing"}


def test_pick_is_of_the_front(whole: Any) -> None:
    of, _, populations = whole
    front = of.front(populations[-1])
    assert of.pick(populations[-1], "accurate") is front[0]
    smallest = min(member.scores["params"] for member in front)
    assert of.pick(populations[-1], "small").scores["params"] == smallest
    assert of.pick(populations[-1]) in front


def test_polish_trains_what_stands_apart_in_the_front(whole: Any) -> None:
    of, _, populations = whole
    records = of.history
    begin = next(i for i, record in enumerate(records) if record.phase == "polishing")
    before = {m.name: m for m in of.front(populations[begin - 1])}
    after = {m.name: m for m in populations[-1]}
    config = of.config
    chosen = finalists(list(before.values()), config.objectives, config.finalists, config.limits)
    assert sorted(after) == sorted(member.name for member in chosen)
    assert all(after[name].told["epochs"] > before[name].told["epochs"] for name in after)


def test_flops_are_those_of_training_and_a_little_sensing(whole: Any) -> None:
    of, _, _ = whole
    x, y = batches()[0]
    founder = training_flops(model(), (x, y), nn.CrossEntropyLoss()) * 128
    assert of.history[0].flops == founder


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_run_goes_on_from_any_generation_to_the_same_front(whole: Any, share: float) -> None:
    of, states, populations = whole
    at = int(share * (len(states) - 1))
    resumed = evolution(max_flops=3e8, polish=0.3)
    resumed.load_state_dict(states[at])
    *_, last = resumed.run(populations[at])
    assert same(last, populations[-1])
    ours, theirs = resumed.history, of.history
    assert [record.population for record in ours] == [record.population for record in theirs]


class Explodes(nn.Module):
    """A loss that is never finite."""

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.cross_entropy(outputs, targets) * math.inf


def test_a_seed_that_is_lost_is_told() -> None:
    of = MultiObjectiveArchitectureEvolution(
        model(), batches(), batches(2), SMALL, criterion=Explodes()
    )
    with pytest.raises(EvolutionError, match="the seed network is lost: TrainingError"):
        of.found()


def test_a_child_out_of_memory_costs_that_child_only(monkeypatch: pytest.MonkeyPatch) -> None:
    real, failed = networks.train, []

    def train(world: Any, genome: Any, stint: Any) -> Any:
        if genome.edits and not failed:
            failed.append(genome)
            raise torch.OutOfMemoryError("nothing left")
        return real(world, genome, stint)

    of = evolution(trained=0)
    founder = of.found()
    monkeypatch.setattr(networks, "train", train)
    population = of.evolve_generation(founder)
    assert len(failed) == 1
    (lost,) = of.history[-1].lost.items()
    assert "nothing left" in lost[1]
    assert lost[0] not in {member.name for member in population}
    assert len(of.history[-1].children) == 2


def test_a_member_that_is_lost_in_polishing_stays_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = evolution(max_flops=3e8, polish=0.3)
    population = of.evolve_generation(of.found())
    front = of.front(population)

    def train(world: Any, genome: Any, stint: Any) -> Any:
        raise torch.OutOfMemoryError("nothing left")

    monkeypatch.setattr(networks, "train", train)
    polished = of.polish(population)
    assert sorted(member.name for member in polished) == sorted(member.name for member in front)
    assert all(member in front for member in polished)
    assert of.history[-1].lost.keys() == {member.name for member in front}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 1}, "size"),
        ({"objectives": ("error", "error")}, "name one twice"),
        ({"objectives": ("accuracy",)}, "objectives"),
        ({"objectives": ()}, "objectives"),
        ({"rungs": (0.5, 0.0)}, "rungs"),
        ({"colour": 1}, "colour"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evolution(**settings)


def test_limits_that_the_seed_exceeds_are_told() -> None:
    with pytest.raises(EvolutionError, match=r"seed network has .* parameters, at most 10"):
        evolution(limits={"params": 10}).found()
    with pytest.raises(EvolutionError, match=r"seed network has .* ms a sample, at most 1e-06 ms"):
        evolution(limits={"latency_ms": 1e-6}).found()


def test_a_budget_that_founding_spends_is_told() -> None:
    with pytest.raises(EvolutionError, match=r"only .* are for evolving"):
        evolution(max_flops=1e5)


def test_a_budget_without_a_generation_is_told_with_the_one_that_has_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    founding = evolution(founding=1.0)
    founding.found()
    of = evolution(founding=1.0, max_flops=3.4 * founding.flops, polish=0.4)
    list(of.run())
    assert not any(record.phase == "evolving" for record in of.history)
    (told,) = [m for m in caplog.messages if m.startswith("no generation is evolved")]
    enough = float(told.removesuffix(" or more").rpartition(" ")[2])
    caplog.clear()
    of = evolution(founding=1.0, max_flops=1.05 * enough, polish=0.4)
    phases = [of.history[-1].phase for _, _ in zip(of.run(), range(2), strict=False)]
    assert phases == ["founding", "evolving"]
    assert not any(m.startswith("no generation is evolved") for m in caplog.messages)


@pytest.mark.parametrize("times", [3.4, 5.0, 8.0])
def test_a_budget_that_has_no_room_for_a_generation_is_kept(times: float) -> None:
    """The first generation is foreseen, as it costs many times what founding does."""
    founding = evolution(founding=1.0)
    founding.found()
    most = times * founding.flops
    of = evolution(founding=1.0, max_flops=most, polish=0.4)
    list(of.run())
    assert of.flops <= 1.15 * most


def test_a_budget_is_kept_where_children_become_much_larger() -> None:
    """Mutations of several edits each; by the generation before, nobody could foresee it."""
    growth = {"policy": "random", "share": 1.0, "pace": 8.0}
    founding = evolution(founding=1.0)
    founding.found()
    most = 12 * founding.flops
    of = evolution(seed=1, num_edits=6, growth=growth, max_flops=most, polish=0.1)
    list(of.run())
    assert of.flops <= 1.1 * most


def test_what_training_a_lost_network_took_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is about what the same generation takes of which nobody is lost."""
    spent = []
    for are_lost in (False, True):
        of = evolution(trained=0, rungs=(1.0,))
        founder = of.found()
        before = of.flops
        if are_lost:

            def train(world: Any, genome: Any, stint: Any) -> Any:
                raise torch.OutOfMemoryError("nothing left")

            monkeypatch.setattr(networks, "train", train)
        of.evolve_generation(founder)
        assert bool(of.history[-1].lost) == are_lost
        spent.append(of.flops - before)
    assert spent[1] == pytest.approx(spent[0], rel=0.1)


def test_an_evolution_that_comes_to_nothing_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child is ever born, as where workers are lost again and again: nothing is spent."""
    monkeypatch.setattr(networks.Networks, "bear", lambda *_: [])
    of = evolution(max_flops=1e9, trained=0, polish=0.1)
    *_, last = of.run()
    assert of.finished
    assert sum(record.phase == "evolving" for record in of.history) == 3
    assert of.front(last)


def test_run_goes_on_from_members_of_another_evolution() -> None:
    _, populations = evolved(1)
    of = evolution(max_flops=5e7, polish=0.3)
    *_, last = of.run(populations[-1])
    assert of.finished
    assert of.front(last)


def test_members_taken_from_elsewhere_share_nothing_and_no_structure() -> None:
    _, populations = evolved(1)
    given = populations[-1][0]
    (taken,) = evolution(seed=1).population([given])
    theirs = {value.data_ptr() for value in given.genome.weights.values()}
    assert not theirs & {value.data_ptr() for value in taken.genome.weights.values()}
    worse, better = model(), model()
    with torch.no_grad():
        worse[-1].bias[0] = 100.0
    of = evolution()
    errors = [of.population([one])[0].scores["error"] for one in (worse, better)]
    (kept,) = of.population([worse, better])
    assert kept.scores["error"] == min(errors) < max(errors)
    (why,) = of.history[-1].lost.values()
    assert "has the same structure" in why


def test_no_generation_leaves_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    _, populations = evolved(2)
    of = evolution(size=2, trained=0)
    population = of.population(populations[-1])
    assert len(population) > 2
    monkeypatch.setattr(networks.Networks, "bear", lambda *_: [])
    assert len(of.evolve_generation(population)) == 2


@pytest.mark.parametrize("count", [7, 8])
def test_parts_of_an_epoch_go_on_where_the_last_one_ended(count: int) -> None:
    """Or lists of batches, which always come in the same order, were never seen to their end."""
    seen: list[int] = []
    data = batches(count)

    class Watching(list):
        def __iter__(self) -> Any:
            for index, batch in enumerate(data):
                seen.append(index)
                yield batch

    settings = SMALL | {"founding": 1.0, "calibration": 0, "rungs": (0.5, 0.5), "trained": 0}
    of = MultiObjectiveArchitectureEvolution(model(), Watching(data), batches(2, 9), settings)
    seen.clear()
    founder = of.found()
    of.evolve_generation(founder)
    assert founder[0].told["batches"] == 2 * (count // 2)
    assert set(range(count)) <= set(seen)


def test_a_loader_that_runs_dry_is_told() -> None:
    class Dry(list):
        passes = 0

        def __iter__(self) -> Any:
            Dry.passes += 1
            return iter(batches() if Dry.passes < 5 else [])

    of = MultiObjectiveArchitectureEvolution(model(), Dry(batches()), batches(2), SMALL)
    with pytest.raises(DataError, match="Dry, gave no batch in a pass"):
        for _ in range(5):
            of.found()


def test_run_without_an_end_is_told() -> None:
    with pytest.raises(EvolutionError, match="no max_flops"):
        next(evolution().run())


@pytest.mark.parametrize("population", [[], [nn.Linear(1, 1)]])
def test_a_population_that_is_none_is_told(population: list[Any]) -> None:
    with pytest.raises(EvolutionError, match="found"):
        evolution().evolve_generation(population)


def test_a_model_that_is_none_is_told() -> None:
    with pytest.raises(ValueError, match="a str is no model"):
        MultiObjectiveArchitectureEvolution("resnet", batches(), batches())  # type: ignore[arg-type]


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_traced_is_told() -> None:
    with pytest.raises(TraceError):
        MultiObjectiveArchitectureEvolution(Branches(), batches(), batches(), SMALL)


def test_a_loader_without_a_length_is_told() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(batches())

    with pytest.raises(EvolutionError, match="Endless, has no length"):
        MultiObjectiveArchitectureEvolution(
            model(), Endless(), batches(), SMALL | {"max_flops": 1e9}
        )


def grown_by_hand() -> list[LivingModel]:
    """Two networks that a user has grown from the seed network."""
    x = batches()[0][0][:4]
    wide, deep = LivingModel(model(), x), LivingModel(model(), x)
    wide.apply(Widen(group="0", count=2))
    deep.apply(Deepen(after="2"))
    return [wide, deep]


def test_evolution_goes_on_from_networks_of_ones_own() -> None:
    of, mine = evolution(), grown_by_hand()
    population = of.population([*mine, model()])
    for member, living in zip(population, mine, strict=False):
        assert of.model(member).edits == living.edits
        assert member.scores["params"] == living.cost().params
        with torch.no_grad():
            right = [(living.eval()(x).argmax(1) == y).float().mean() for x, y in batches(2, 9)]
        assert 1 - float(torch.stack(right).mean()) == pytest.approx(member.scores["error"])
    assert of.flops == 0
    before = [value.clone() for living in mine for value in living.state_dict().values()]
    evolved = of.evolve_generation(population)
    names = [member.name for member in (*population, *of.history[-1].children)]
    assert len(set(names)) == len(names)
    assert evolved
    after = [value for living in mine for value in living.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def test_members_of_another_evolution_go_on() -> None:
    _, populations = evolved(1)
    of = evolution(seed=1)
    population = of.population(populations[-1])
    for mine, theirs in zip(population, populations[-1], strict=True):
        assert mine.scores == theirs.scores
        assert mine.told["epochs"] == theirs.told["epochs"]
    assert of.evolve_generation(population)


def drawing(kind: str) -> DataLoader[Any]:
    """A loader whose order is drawn by chance, in one of the ways there are."""
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    data, generator = TensorDataset(inputs, targets), torch.Generator().manual_seed(5)
    if kind == "global":
        return DataLoader(data, 32, shuffle=True)
    if kind == "generator":
        return DataLoader(data, 32, shuffle=True, generator=generator)
    samples = RandomSampler(data, generator=generator)
    return DataLoader(data, batch_sampler=BatchSampler(samples, 32, drop_last=False))


@pytest.mark.parametrize("kind", ["global", "generator", "batch sampler"])
def test_what_is_known_of_a_network_changes_nothing_of_its_training(kind: str) -> None:
    """A process counts a structure's FLOPs only when it meets it first, and draws a batch then."""
    first, second = (
        MultiObjectiveArchitectureEvolution(model(), drawing(kind), batches(2, seed=9), SMALL)
        for _ in range(2)
    )
    population = first.evolve_generation(first.found())
    second.load_state_dict(first.state_dict())
    torch.manual_seed(77)
    assert same(first.evolve_generation(population), second.evolve_generation(population))


def test_names_of_children_are_new_where_members_come_from_further_on() -> None:
    _, populations = evolved(1)
    of = evolution(seed=1)
    going = of.evolve_generation(populations[-1])
    born = {child.name for child in of.history[-1].children}
    assert not born & {member.name for member in populations[-1]}
    assert len({member.name for member in going}) == len(going)
    with pytest.raises(EvolutionError, match=r"the population holds 0\.0 twice"):
        of.evolve_generation([populations[0][0], *populations[0]])


def test_members_grown_from_another_network_are_told() -> None:
    _, populations = evolved(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, 2))
    of = MultiObjectiveArchitectureEvolution(other, batches(), batches(2, seed=9), SMALL)
    with pytest.raises(EvolutionError, match="grown from another network than this evolution's"):
        of.model(populations[0][0])


def test_a_first_generation_that_sensing_makes_too_dear_is_not_begun() -> None:
    limit = 2e8
    of = evolution(max_flops=limit, polish=0.3)
    list(of.run())
    assert of.flops <= 1.05 * limit


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(36, 2)).requires_grad_(False), "is trainable"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36)), "takes no matrix product"),
    ],
)
def test_what_cannot_be_trained_or_counted_is_refused(net: nn.Module, told: str) -> None:
    with pytest.raises(EvolutionError, match=told):
        MultiObjectiveArchitectureEvolution(net, batches(), batches(), SMALL | {"max_flops": 1e9})


def test_only_the_front_has_children_where_it_is_asked_for() -> None:
    of = evolution(parents="front")
    population = of.evolve_generation(of.found())
    best = {member.name for member in of.front(population)}
    of.evolve_generation(population)
    assert {name for child in of.history[-1].children for name in child.parents} <= best


def test_a_population_of_none_has_no_front() -> None:
    for asked in (evolution().front, evolution().pick, evolution().evolve_generation):
        with pytest.raises(EvolutionError, match="the population is empty"):
            asked([])
    with pytest.raises(EvolutionError, match="the population is a NoneType"):
        evolution().evolve_generation(None)  # type: ignore[arg-type]


def test_run_goes_on_from_networks_of_ones_own() -> None:
    of = evolution(max_flops=6e8, polish=0.3)
    *_, last = of.run(of.population(grown_by_hand()))
    assert of.finished
    assert {record.phase for record in of.history} == {"founding", "evolving", "polishing"}
    assert of.front(last)


def test_networks_of_another_seed_are_told() -> None:
    of, x = evolution(), batches()[0][0][:4]
    wide = LivingModel(nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), x)
    with pytest.raises(EvolutionError, match=r"network 0.0 isn't grown from the seed network"):
        of.population([wide])
    seed = grown_by_hand()[0]
    grown = MultiObjectiveArchitectureEvolution(seed, batches(), batches(2), SMALL)
    with pytest.raises(EvolutionError, match=r"network 0.0 hasn't had the edits"):
        grown.population([model()])
    with pytest.raises(EvolutionError, match="none was given"):
        of.population([])
    with pytest.raises(ValueError, match="a str is no model"):
        of.population(["resnet"])  # type: ignore[list-item]


def test_members_without_scores_are_told() -> None:
    of = evolution()
    (member,) = of.population([model()])
    with pytest.raises(EvolutionError, match=r"0.0 has no scores of this evolution"):
        of.evolve_generation([replace(member, scores={})])
