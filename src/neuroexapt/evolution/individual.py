"""A member of a population: its genome, what it scores, and whom it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Self, TypeAlias, TypeVar

G = TypeVar("G")
Origin: TypeAlias = Literal["seed", "mutation", "pruning", "crossover"]


@dataclass(frozen=True, eq=False)
class Individual(Generic[G]):
    """One member of a population. It never changes: what trains or scores it gives a new one.

    Attributes:
        name: unique in an evolution.
        genome: what it is made from.
        key: equal for those of equal structure.
        origin: how it came to be.
        parents: names of those that it comes from.
        scores: objective -> value, smaller is better; empty until it is evaluated.
        excess: by how much it passes the limits, relative to them; 0 for one that keeps them.
        told: what else is known of it, as JSON values.
    """

    name: str
    genome: G
    key: str
    origin: Origin = "seed"
    parents: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    excess: float = 0.0
    told: Mapping[str, Any] = field(default_factory=dict)

    def scored(self, scores: Mapping[str, float], excess: float = 0.0, **told: Any) -> Self:
        """The same member with its scores, and what else became known."""
        return replace(self, scores=scores, excess=excess, told={**self.told, **told})
