"""Evolving lists of choices, such as the operations on a cell's edges."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.individual import Individual, Origin
from neuroexapt.evolution.selection import Couple

Chosen: TypeAlias = tuple[str, ...]
"""One choice a place."""
NEAR = 2
"""Places that a child differs in from its parent, at most, while there is one left."""
PATIENCE = 1000
"""Draws in a row that give nothing new, after which a space passes for exhausted."""


def as_they_are(chosen: Chosen) -> Chosen:
    """The choices themselves."""
    return chosen


@dataclass
class Choices:
    """Breeds lists of choices: a `Breeding`. What was tried once is never scored again.

    A mutation changes one place, to something that nobody tried yet; where all such changes of a
    parent were tried, two places. A couple around whom all that was tried has no child; where that
    is so of all couples, children are further off.

    Attributes:
        alternatives: place by place, what there is to choose from.
        score: what choices come to; smaller is better.
        simplest: gives, of all choices that do the same, those to score; lists for which it gives
            the same are one structure.
        crossover: share of the children that take each place from either parent.
        distant: share of the mutations that change two places at once from the start.
        tried: all that were scored so far, in order.

    Source: one change at a time, all of them, around the best so far: local search, White et al.
    2021, arXiv:2005.02960.

    Example:
        >>> def score(chosen: Chosen) -> dict[str, float]:
        ...     return {"ones": chosen.count("1"), "zeros": chosen.count("0")}
        >>> breeding = Choices([("0", "1")] * 3, score)
        >>> first = breeding.drawn(2, seed=0)
        >>> len(first), len(breeding.tried), first[0].scores["ones"] + first[0].scores["zeros"]
        (2, 2, 3)
    """

    alternatives: Sequence[Sequence[str]]
    score: Callable[[Chosen], Mapping[str, float]]
    simplest: Callable[[Chosen], Chosen] = as_they_are
    crossover: float = 0.3
    distant: float = 0.1
    tried: list[Individual[Chosen]] = field(default_factory=list)
    _known: set[Chosen] = field(default_factory=set)

    def drawn(self, count: int, seed: int) -> list[Individual[Chosen]]:
        """A first population: drawn evenly, each a structure of its own, and scored.

        Raises:
            EvolutionError: if there aren't so many structures, as far as drawing finds them.
        """
        generator = np.random.default_rng(seed)
        found: list[Individual[Chosen]] = []
        while len(found) < count:
            draws = (self.simplest(_drawn(self.alternatives, generator)) for _ in range(PATIENCE))
            new = next((chosen for chosen in draws if chosen not in self._known), None)
            if new is None:
                raise EvolutionError(
                    f"{PATIENCE} draws in a row gave nothing new after {len(found)} of {count}; "
                    "ask for fewer, or give more alternatives"
                )
            found.append(self._newborn(new, "seed", ()))
        return self.rear(found, seed)

    def bear(
        self, couples: Sequence[Couple[Chosen]], seeds: Sequence[int]
    ) -> list[Individual[Chosen]]:
        """A child of each couple that nobody tried yet; none once everything was tried."""
        for reach in range(NEAR, max(len(self.alternatives), NEAR) + 1):
            pairs = zip(couples, seeds, strict=True)
            born = [
                self._child(couple, np.random.default_rng(seed), reach) for couple, seed in pairs
            ]
            found = [child for child in born if child is not None]
            if found:
                return found
        return []

    def rear(self, children: Sequence[Individual[Chosen]], seed: int) -> list[Individual[Chosen]]:  # noqa: ARG002 - scores need no randomness
        """The same children with their scores."""
        scored = [child.scored(self.score(child.genome)) for child in children]
        self.tried += scored
        return scored

    def _child(
        self, couple: Couple[Chosen], generator: np.random.Generator, reach: int
    ) -> Individual[Chosen] | None:
        mother, father = couple
        start = mother.genome
        parents: tuple[str, ...] = (mother.name,)
        if mother is not father and generator.random() < self.crossover:
            pairs = zip(mother.genome, father.genome, strict=True)
            start = self.simplest(_drawn(list(pairs), generator))
            parents = (mother.name, father.name)
            if start not in self._known:
                return self._newborn(start, "crossover", parents)
        least = 2 if generator.random() < self.distant else 1
        for distance in range(least, reach + 1):
            near = dict.fromkeys(map(self.simplest, self._changed(start, distance)))
            new = [chosen for chosen in near if chosen not in self._known]
            if new:
                return self._newborn(new[int(generator.integers(len(new)))], "mutation", parents)
        return None

    def _changed(self, chosen: Chosen, distance: int) -> Iterator[Chosen]:
        """All lists that differ in so many places."""
        for places in itertools.combinations(range(len(chosen)), distance):
            others = [[o for o in self.alternatives[p] if o != chosen[p]] for p in places]
            for options in itertools.product(*others):
                changed = list(chosen)
                for place, option in zip(places, options, strict=True):
                    changed[place] = option
                yield tuple(changed)

    def _newborn(
        self, chosen: Chosen, origin: Origin, parents: tuple[str, ...]
    ) -> Individual[Chosen]:
        self._known.add(chosen)
        return Individual(str(len(self._known) - 1), chosen, "|".join(chosen), origin, parents)


def _drawn(places: Sequence[Sequence[str]], generator: np.random.Generator) -> Chosen:
    return tuple(options[int(generator.integers(len(options)))] for options in places)
