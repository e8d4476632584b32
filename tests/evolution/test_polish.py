"""Sharing out what is left of a budget."""

import pytest
import torch

from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.polish import APART, ROUNDS, Polish, finalists, hunger


def test_all_of_it_is_shared_out_but_for_what_is_no_whole_step() -> None:
    costs = {"a": 7, "b": 40, "c": 300}
    polish = Polish.sharing(1e6, costs)
    spent = sum(costs[name] * steps for name, steps in polish.steps.items())
    assert 1e6 - sum(costs.values()) < spent <= 1e6


def test_shares_leave_every_network_equally_hungry() -> None:
    costs = {"a": 10, "b": 10_000}
    steps = Polish.sharing(1e12, costs).steps
    hungers = [hunger(steps[name], cost) for name, cost in costs.items()]
    assert hungers[0] == pytest.approx(hungers[1], rel=1e-3)


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
        kept = finalists(front, ("error", *costs), most=8)
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
    assert finalists([], ("error", *costs), most=8) == []


def of_scores(name: str, error: float, macs: float) -> Individual[str]:
    return Individual(name, name, name, scores={"error": error, "macs": macs})


@pytest.mark.parametrize(
    ("most", "expected"),
    [(9, ["a", "b", "c", "d"]), (3, ["a", "b", "c"]), (2, ["a", "c"]), (1, ["a"])],
)
def test_no_more_networks_are_polished_than_asked_for(most: int, expected: list[str]) -> None:
    sizes = {"a": 8.0, "b": 4.0, "c": 2.2, "d": 1.3}
    front = [of_scores(name, 1 / size, size) for name, size in sizes.items()]
    assert [member.name for member in finalists(front, ("error", "macs"), most)] == expected


def test_of_many_those_are_polished_that_cover_most() -> None:
    generator = torch.Generator().manual_seed(0)
    objectives = ("error", "macs")
    for _ in range(30):
        macs = (1 + 9 * torch.rand(7, generator=generator)).tolist()
        front = [of_scores(str(i), 1 / (1 + size), size) for i, size in enumerate(macs)]
        kept = finalists(front, objectives, most=2)
        apart = finalists(front, objectives, most=len(front))
        best = min(front, key=lambda member: member.scores["error"])
        areas = {
            one.name: (best.scores["macs"] - one.scores["macs"]) * (1 - one.scores["error"])
            for one in apart
            if one is not best
        }
        assert {m.name for m in kept} == {best.name, max(areas, key=areas.__getitem__)}


def test_what_costs_nothing_is_a_size_like_any_other() -> None:
    front = [of_scores("a", 0.1, 5.0), of_scores("b", 0.2, 0.0), of_scores("c", 0.3, 0.0)]
    assert finalists(front, ("error", "macs"), most=2) == front[:2]
    assert finalists(front, ("error", "macs"), most=1) == front[:1]
