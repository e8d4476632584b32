"""Sharing out what is left of a budget."""

from dataclasses import replace

import pytest
import torch

from neuroexapt.evolution.hypervolume import hypervolume_of
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.objectives import Limits
from neuroexapt.evolution.polish import (
    APART,
    BEYOND,
    ROUNDS,
    WORST,
    Polish,
    coverage,
    finalists,
    hunger,
)
from neuroexapt.evolution.selection import fronts


def test_all_of_it_is_shared_out_but_for_what_is_no_whole_step() -> None:
    costs = {"a": 7, "b": 40, "c": 300}
    polish = Polish.sharing(1e6, costs, {"a": 0.2, "b": 0.1, "c": 0.7})
    spent = sum(costs[name] * steps for name, steps in polish.steps.items())
    assert 1e6 - sum(costs.values()) < spent <= 1e6


def test_networks_that_cover_as_much_are_left_equally_hungry() -> None:
    costs = {"a": 10, "b": 10_000}
    steps = Polish.sharing(1e12, costs, {"a": 0.3, "b": 0.3}).steps
    hungers = [hunger(steps[name], cost) for name, cost in costs.items()]
    assert hungers[0] == pytest.approx(hungers[1], rel=1e-3)


def test_no_other_shares_raise_the_hypervolume_more() -> None:
    """Where training takes n^-1/2 off every error; moving compute from any to any loses."""
    costs, covered = {"a": 7, "b": 40, "c": 300}, {"a": 0.1, "b": 0.05, "c": 0.7}
    best = Polish.sharing(1e12, costs, covered).steps

    def lost(steps: dict[str, float]) -> float:
        return sum(covered[name] * count**-0.5 for name, count in steps.items())

    for source in costs:
        for target in costs.keys() - {source}:
            moved = 0.01 * best[source] * costs[source]
            other = best | {
                source: best[source] - moved / costs[source],
                target: best[target] + moved / costs[target],
            }
            assert lost(other) > lost(best)


def test_rounds_take_every_step_once_and_in_order() -> None:
    polish = Polish(steps={"a": 3, "b": 100})
    taken: dict[str, list[int]] = {"a": [], "b": []}
    while not polish.finished:
        for name, steps in taken.items():
            steps.extend(polish.next_steps(name))
        polish = polish.after_round()
    assert polish.done == ROUNDS
    assert taken == {"a": list(range(3)), "b": list(range(100))}


def test_of_networks_that_cost_the_same_the_most_accurate_is_polished() -> None:
    generator = torch.Generator().manual_seed(0)
    costs = ("macs", "params")
    for _ in range(50):
        scores = (1 + 3 * torch.rand(8, 3, generator=generator)).tolist()
        front = [
            Individual(str(i), i, str(i), scores=dict(zip(("error", *costs), row, strict=True)))
            for i, row in enumerate(scores)
        ]
        kept = finalists(front, ("error", *costs), 8, Limits())
        near = {
            member.name: [
                k
                for k in kept
                if all(1 / APART <= member.scores[c] / k.scores[c] <= APART for c in costs)
            ]
            for member in front
        }
        for member in front:
            if member in kept:
                assert near[member.name] == [member]
            else:
                assert any(k.scores["error"] < member.scores["error"] for k in near[member.name])
    assert finalists([], ("error", *costs), 8, Limits()) == []


def of_scores(name: str, error: float, macs: float) -> Individual[str]:
    return Individual(name, name, name, scores={"error": error, "macs": macs})


@pytest.mark.parametrize(
    ("most", "expected"),
    [(9, ["a", "b", "c", "d"]), (3, ["a", "b", "c"]), (2, ["a", "c"]), (1, ["a"])],
)
def test_no_more_networks_are_polished_than_asked_for(most: int, expected: list[str]) -> None:
    sizes = {"a": 8.0, "b": 4.0, "c": 2.2, "d": 1.3}
    front = [of_scores(name, 1 / size, size) for name, size in sizes.items()]
    assert [
        member.name for member in finalists(front, ("error", "macs"), most, Limits())
    ] == expected


def test_of_many_those_are_polished_that_cover_most() -> None:
    generator = torch.Generator().manual_seed(0)
    objectives = ("error", "macs")
    for _ in range(30):
        macs = (1 + 9 * torch.rand(7, generator=generator)).tolist()
        front = [of_scores(str(i), 1 / (1 + size), size) for i, size in enumerate(macs)]
        kept = finalists(front, objectives, 2, Limits())
        apart = finalists(front, objectives, len(front), Limits())
        best = min(front, key=lambda member: member.scores["error"])
        areas = {
            one.name: (best.scores["macs"] - one.scores["macs"]) * (1 - one.scores["error"])
            for one in apart
            if one is not best
        }
        assert {m.name for m in kept} == {best.name, max(areas, key=areas.__getitem__)}


def test_what_costs_nothing_is_a_size_like_any_other() -> None:
    front = [of_scores("a", 0.1, 5.0), of_scores("b", 0.2, 0.0), of_scores("c", 0.3, 0.0)]
    assert finalists(front, ("error", "macs"), 2, Limits()) == front[:2]
    assert finalists(front, ("error", "macs"), 1, Limits()) == front[:1]


@pytest.mark.parametrize("costs", [("macs",), ("macs", "params"), ("macs", "params", "latency_ms")])
@pytest.mark.parametrize("limits", [Limits(), Limits(macs=90), Limits(macs=2)])
def test_coverage_is_what_the_hypervolume_gains_by_an_error_less(
    costs: tuple[str, ...], limits: Limits
) -> None:
    objectives = ("error", *costs)
    generator = torch.Generator().manual_seed(len(costs))
    for _ in range(20):
        scores = torch.rand(9, len(objectives), generator=generator, dtype=torch.float64)
        scores[:, 1:] *= 30
        every = [
            Individual(str(i), i, str(i), scores=dict(zip(objectives, row, strict=True)))
            for i, row in enumerate(scores.tolist())
        ]
        front = fronts(every, objectives)[0]
        most = [
            max(limits.given.get(c, 0), BEYOND * max(m.scores[c] for m in front)) for c in costs
        ]

        def volume(members: list[Individual[int]], most: list[float] = most) -> float:
            return hypervolume_of(members, objectives, [0.0] * len(objectives), [WORST, *most])

        found, less = coverage(front, objectives, limits), 1e-6
        for member in front:
            better = replace(
                member, scores=member.scores | {"error": member.scores["error"] - less}
            )
            gain = volume([better if m is member else m for m in front]) - volume(front)
            assert found[member.name] == pytest.approx(gain / less, rel=1e-4, abs=1e-8)


def test_a_network_at_its_limit_is_polished_too() -> None:
    front = [of_scores("a", 0.1, 10.0), of_scores("b", 0.2, 5.0)]
    found = coverage(front, ("error", "macs"), Limits(macs=10))
    assert found == pytest.approx({"a": 20 / 30, "b": 5 / 30})


def test_without_costs_the_most_accurate_covers_all() -> None:
    front = finalists(
        [of_scores("a", 0.2, 10.0), of_scores("b", 0.1, 5.0)], ("error",), 3, Limits()
    )
    assert coverage(front, ("error",), Limits()) == {"b": 1.0}
