"""Lists of choices: nothing is scored twice, children are near, the more is known the further."""

from collections.abc import Sequence

import numpy as np
import pytest

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution import Choices, Individual, Selection, hypervolume, renewed
from neuroexapt.evolution.choices import Chosen

PLACES, OPTIONS = 5, ("a", "b", "c")
NAMES = ("first", "second")


def score(chosen: Chosen) -> dict[str, float]:
    """A table with two ends: many "a", or many "b"; "c" never helps."""
    bad = chosen.count("c")
    return {"first": PLACES - chosen.count("a") + bad, "second": PLACES - chosen.count("b") + bad}


def breeding(**settings: object) -> Choices:
    return Choices([OPTIONS] * PLACES, score, **settings)  # type: ignore[arg-type]


def distance(one: Chosen, other: Chosen) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


def couple(member: Individual[Chosen]) -> tuple[Individual[Chosen], Individual[Chosen]]:
    return member, member


def test_first_population_is_scored_and_of_different_structures() -> None:
    of = breeding()
    first = of.drawn(20, seed=3)
    assert len({member.genome for member in first}) == 20
    assert all(member.scores == score(member.genome) for member in first)
    assert of.tried == first


def test_children_are_one_change_away_until_all_of_those_were_tried() -> None:
    of = breeding(distant=0.0)
    (parent,) = of.drawn(1, seed=0)
    away = [
        distance(of.bear([couple(parent)], [seed])[0].genome, parent.genome) for seed in range(30)
    ]
    near = PLACES * (len(OPTIONS) - 1)
    assert away == [1] * near + [2] * (30 - near)


def test_distant_children_are_two_changes_away() -> None:
    of = breeding(distant=1.0)
    (parent,) = of.drawn(1, seed=0)
    (child,) = of.bear([couple(parent)], [1])
    assert distance(child.genome, parent.genome) == 2


def test_every_structure_comes_once_and_then_there_is_no_child() -> None:
    of = breeding()
    (parent,) = of.drawn(1, seed=0)
    born = [child for seed in range(300) for child in of.bear([couple(parent)], [seed])]
    assert len({child.genome for child in born}) == len(born) == len(OPTIONS) ** PLACES - 1
    with pytest.raises(EvolutionError, match="after 0 of 1; ask for fewer"):
        of.drawn(1, seed=1)


def test_crossover_takes_each_place_from_either_parent() -> None:
    of = breeding(crossover=1.0)
    mother, father = (
        Individual(name, tuple(name * PLACES), name).scored(score(tuple(name * PLACES)))
        for name in "ab"
    )
    child, *_ = of.bear([(mother, father)] * 4, range(4))
    assert child.origin == "crossover"
    assert child.parents == ("a", "b")
    assert set(child.genome) == {"a", "b"}


def test_what_does_the_same_is_one_structure_and_the_simplest_is_scored() -> None:
    """Here only the first place has an effect, unless it is "c"."""

    def simplest(chosen: Chosen) -> Chosen:
        return chosen if chosen[0] == "c" else (chosen[0], *("a" * (PLACES - 1)))

    of = breeding(simplest=simplest)
    every = of.drawn(2 + len(OPTIONS) ** (PLACES - 1), seed=0)
    assert sum(member.genome[0] != "c" for member in every) == 2
    assert all(simplest(member.genome) == member.genome for member in every)


def evolved(num_scored: int, seed: int, **settings: object) -> Choices:
    of = breeding()
    population: Sequence[Individual[Chosen]] = of.drawn(10, seed)
    number = 0
    while len(of.tried) < num_scored:
        selection = Selection(objectives=NAMES, size=10, num_children=4, **settings)  # type: ignore[arg-type]
        population, _ = renewed(population, of, selection, seed + number)
        number += 1
    return of


def dominated(members: Sequence[Individual[Chosen]]) -> float:
    points = np.array([[member.scores[name] for name in NAMES] for member in members])
    return hypervolume(points, (0, 0), (2 * PLACES, 2 * PLACES))


@pytest.mark.parametrize("parents", ["population", "front"])
def test_evolution_finds_more_than_as_many_random_draws(parents: str) -> None:
    """Each scores 60 of the 243 lists, in the mean over seeds."""
    found = [dominated(evolved(60, seed, parents=parents).tried[:60]) for seed in range(4)]
    drawn = [dominated(breeding().drawn(60, seed)) for seed in range(4)]
    assert sum(found) > sum(drawn)


def test_evolution_from_the_front_finds_the_whole_front() -> None:
    """Its points have errors that sum to 5, and dominate 50 + 35 of the 100 squares."""
    for seed in range(4):
        assert dominated(evolved(60, seed, parents="front").tried) == pytest.approx(0.85)


def test_evolution_repeats_under_a_seed() -> None:
    one, other = (evolved(40, 7, parents="front") for _ in range(2))
    assert [member.genome for member in one.tried] == [member.genome for member in other.tried]
