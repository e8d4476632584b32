"""Who has children and who survives: NSGA-II, by pymoo."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding, binary_tournament
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.individual import Individual as Member
from pymoo.core.infill import InfillCriterion
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.operators.selection.tournament import TournamentSelection

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.individual import G, Individual

Couple: TypeAlias = tuple[Individual[G], Individual[G]]
Array: TypeAlias = NDArray[np.float64]
Parents: TypeAlias = Literal["population", "front"]


class Breeding(Protocol[G]):
    """What an evolution needs to know of the kind that evolves."""

    def bear(self, couples: Sequence[Couple[G]], seeds: Sequence[int]) -> list[Individual[G]]:
        """Children, unscored: at most one for each couple, from its own seed."""
        ...

    def rear(self, children: Sequence[Individual[G]], seed: int) -> list[Individual[G]]:
        """The same children with their scores; without those that were lost."""
        ...


class Selection(BaseModel):
    """How a population is renewed.

    Attributes:
        objectives: names of scores that are to become small.
        size: of the population.
        num_children: that are born in a generation.
        tries: how often children are born anew for those that were of a structure that is there.
        parents: who may have children: all members, or those of the first front only. With the
            front an evolution is a local search around the best so far; it went further in
            `benchmarks/evolution_nasbench201.py`, where children differ from their parents by as
            little as nobody tried yet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objectives: tuple[str, ...] = Field(min_length=1)
    size: int = Field(default=12, ge=2)
    num_children: int = Field(default=6, ge=1)
    tries: int = Field(default=5, ge=1)
    parents: Parents = "population"


def renewed(
    population: Sequence[Individual[G]],
    breeding: Breeding[G],
    selection: Selection,
    seed: int,
) -> tuple[list[Individual[G]], list[Individual[G]]]:
    """One generation: parents by tournament, children without doubles, survivors by rank.

    Args:
        population: scored, at least one.
        breeding: makes and scores children.
        selection: how many, and by which scores.
        seed: the only source of randomness, with the population's order.

    Returns:
        Who survives, the fittest front first; and the children, whether they survive or not.

    Raises:
        EvolutionError: if the population is empty, or a score is missing or not finite.

    Source: NSGA-II, Deb et al. 2002.
    """
    problem = Problem(n_var=1, n_obj=len(selection.objectives), n_ieq_constr=1)
    algorithm = NSGA2(
        pop_size=selection.size,
        n_offsprings=selection.num_children,
        sampling=_members(population, selection.objectives),
        mating=_Mating(breeding, selection.tries, selection.parents),
        eliminate_duplicates=_Doubles(),
    )
    algorithm.setup(problem, seed=seed)
    algorithm.tell(infills=algorithm.ask())
    born = algorithm.ask()
    if born is None or not len(born):
        return fittest(population, selection.objectives, selection.size), []
    children = breeding.rear(_individuals(born), seed)
    algorithm.tell(infills=_members(children, selection.objectives))
    return _individuals(algorithm.pop), children


def fronts(
    population: Sequence[Individual[G]], objectives: Sequence[str]
) -> list[list[Individual[G]]]:
    """The population cut into fronts, of which each is dominated only by those before it.

    Those that pass the limits come last, each a front of its own, by how far they pass them.
    """
    feasible = [member for member in population if member.excess <= 0]
    beyond = sorted((m for m in population if m.excess > 0), key=lambda member: member.excess)
    found: list[list[Individual[G]]] = []
    if feasible:
        ranks = RankAndCrowding().nds.do(values(feasible, objectives))
        found = [[feasible[index] for index in front] for front in ranks]
    return found + [[member] for member in beyond]


def fittest(
    population: Sequence[Individual[G]], objectives: Sequence[str], count: int
) -> list[Individual[G]]:
    """So many members: whole fronts as long as they fit, and of the next one those apart."""
    survival = RankAndCrowding(crowding_func="cd")
    problem = Problem(n_var=1, n_obj=len(objectives), n_ieq_constr=1)
    members = _members(population, objectives)
    return _individuals(
        survival.do(problem, members, n_survive=count, random_state=np.random.default_rng(0))
    )


def values(population: Sequence[Individual[Any]], objectives: Sequence[str]) -> Array:
    """Scores of a population, shape (members, objectives).

    Raises:
        EvolutionError: if one is missing or not finite.
    """
    for member in population:
        for name in objectives:
            score = member.scores.get(name)
            if score is None or not np.isfinite(score):
                known = ", ".join(member.scores) or "none"
                raise EvolutionError(
                    f"{member.name} has {score!r} for the objective {name!r}; give each member a "
                    f"finite number for each objective (it has scores for: {known})"
                )
    return np.array([[member.scores[name] for name in objectives] for member in population])


class _Mating(InfillCriterion):  # type: ignore[misc]
    """Tournaments, and children of the winners."""

    def __init__(self, breeding: Breeding[Any], tries: int, parents: Parents) -> None:
        super().__init__(eliminate_duplicates=_Doubles(), n_max_iterations=tries)
        self.breeding = breeding
        self.parents = parents
        self.select = TournamentSelection(func_comp=binary_tournament)

    def _do(
        self,
        problem: Problem,
        pop: Population,
        n_offsprings: int,
        random_state: np.random.Generator | None = None,
        algorithm: Any = None,
        **_: Any,
    ) -> Population:
        assert random_state is not None, "the algorithm was set up with a seed"
        if self.parents == "front":
            pop = _front(pop)
        # pymoo's tournaments need two members; with one it is both parents.
        pairs = (
            np.zeros((n_offsprings, 2), dtype=int)
            if len(pop) == 1
            else self.select(
                problem,
                pop,
                n_offsprings,
                n_parents=2,
                to_pop=False,
                random_state=random_state,
                algorithm=algorithm,
            )
        )
        couples = [(pop[first].X[0], pop[second].X[0]) for first, second in pairs]
        seeds = [int(seed) for seed in random_state.integers(2**31, size=n_offsprings)]
        return Population.create(*[_member(child) for child in self.breeding.bear(couples, seeds)])


def _front(pop: Population) -> Population:
    """Of a ranked population the first front; where none keeps the limits, the nearest."""
    feasible = pop[pop.get("CV")[:, 0] <= 0]
    if not len(feasible):
        return pop[[int(pop.get("CV")[:, 0].argmin())]]
    return feasible[feasible.get("rank") == 0]


class _Doubles(DuplicateElimination):  # type: ignore[misc]
    """Of equal structure, only the first stays."""

    def _do(
        self, pop: Population, other: Population | None, is_duplicate: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        known = set() if other is None else {member.X[0].key for member in other}
        for index, member in enumerate(pop):
            key = member.X[0].key
            is_duplicate[index] = key in known
            if other is None:
                known.add(key)
        return is_duplicate


def _member(individual: Individual[Any]) -> Member:
    held = np.empty(1, dtype=object)
    held[0] = individual
    return Member(X=held)


def _members(population: Sequence[Individual[Any]], objectives: Sequence[str]) -> Population:
    if not population:
        return Population.create()
    scores = values(population, objectives)
    members = Population.create(*[_member(individual) for individual in population])
    members.set("F", scores, "G", np.array([[individual.excess] for individual in population]))
    for member in members:
        member.evaluated.update(("F", "G"))
    return members


def _individuals(members: Population) -> list[Individual[Any]]:
    return [member.X[0] for member in members]
