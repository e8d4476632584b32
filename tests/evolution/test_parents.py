"""Who may have children."""

from collections.abc import Sequence

import pytest

from neuroexapt.evolution import Individual, Selection, fronts, renewed
from neuroexapt.evolution.selection import Couple

NAMES = ("error", "macs")


def member(name: str, error: float, macs: float, excess: float = 0.0) -> Individual[None]:
    return Individual(name, None, name).scored({"error": error, "macs": macs}, excess)


class Register:
    """Bears children that are dominated by all, and takes down their parents."""

    def __init__(self) -> None:
        self.parents: set[str] = set()

    def bear(self, couples: Sequence[Couple[None]], seeds: Sequence[int]) -> list[Individual[None]]:
        self.parents |= {parent.name for couple in couples for parent in couple}
        return [Individual(f"child {seed}", None, f"child {seed}") for seed in seeds]

    def rear(self, children: Sequence[Individual[None]], seed: int) -> list[Individual[None]]:
        return [child.scored({"error": 9.0, "macs": 9.0 + seed}) for child in children]


def parents(population: Sequence[Individual[None]], who: str) -> set[str]:
    register = Register()
    for seed in range(5):
        selection = Selection(objectives=NAMES, size=4, num_children=20, parents=who)  # type: ignore[arg-type]
        renewed(population, register, selection, seed)
    return register.parents


POPULATION = [
    member("small", 3.0, 1.0),
    member("middle", 2.0, 2.0),
    member("large", 1.0, 3.0),
    member("behind", 3.0, 3.0),
    member("beyond", 0.0, 0.0, excess=0.5),
]


def test_parents_of_the_front_are_all_of_it_and_nobody_else() -> None:
    assert parents(POPULATION, "front") == {m.name for m in fronts(POPULATION, NAMES)[0]}
    assert parents(POPULATION, "front") == {"small", "middle", "large"}


def test_parents_of_the_population_are_others_too() -> None:
    assert parents(POPULATION, "population") >= {"small", "middle", "large", "behind"}


@pytest.mark.parametrize("last", [0.1, 0.7])
def test_where_none_keeps_the_limits_the_nearest_to_them_is_the_parent(last: float) -> None:
    beyond = [member("one", 1.0, 1.0, 0.5), member("other", 2.0, 2.0, last)]
    assert parents(beyond, "front") == {"other" if last < 0.5 else "one"}
