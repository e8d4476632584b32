"""What a generation came to."""

from typing import Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict

from neuroexapt.evolution.individual import G, Individual, Origin

Phase: TypeAlias = Literal["founding", "evolving", "polishing"]


class MemberRecord(BaseModel):
    """A member of a population without its genome.

    Attributes:
        name: unique in an evolution.
        key: equal for those of equal structure.
        origin: how it came to be.
        parents: names of those that it comes from.
        scores: objective -> value, smaller is better.
        excess: by how much it passes the limits, relative to them.
        told: what else is known: epochs trained, edits that set it apart from its parent, accuracy
            on held-out data (0 to 1) now, at birth and of its parent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    key: str
    origin: Origin
    parents: tuple[str, ...]
    scores: dict[str, float]
    excess: float
    told: dict[str, Any]

    @classmethod
    def of(cls, member: Individual[Any]) -> Self:
        """Take down a member."""
        return cls(
            name=member.name,
            key=member.key,
            origin=member.origin,
            parents=member.parents,
            scores=dict(member.scores),
            excess=member.excess,
            told=dict(member.told),
        )

    def member(self, genome: G) -> Individual[G]:
        """The member again, with its genome."""
        return Individual(
            self.name,
            genome,
            self.key,
            self.origin,
            self.parents,
            self.scores,
            self.excess,
            self.told,
        )


class GenerationRecord(BaseModel):
    """What a generation came to.

    Attributes:
        generation: counted from 0, the founding.
        phase: what it was for.
        population: who lives at its end, the fittest first.
        children: who was born in it, whether they live or not.
        lost: name -> why a network was lost, or couldn't be made.
        is_cut: whether children weren't trained to the end, since the budget didn't reach for it.
        flops: spent since the evolution began (2 for each multiply-accumulate).
        seconds: wall time of this generation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int
    phase: Phase
    population: tuple[MemberRecord, ...]
    children: tuple[MemberRecord, ...]
    lost: dict[str, str]
    is_cut: bool = False
    flops: int
    seconds: float
