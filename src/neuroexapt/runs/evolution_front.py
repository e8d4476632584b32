"""The front that an evolution came to, and whom its networks come from: `front.json`."""

from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from neuroexapt.edits import dump_edits
from neuroexapt.evolution import Choice, GenerationRecord, Limits, MemberRecord, pick
from neuroexapt.evolution.individual import Origin
from neuroexapt.evolution.networks import Network
from neuroexapt.runs.evolution_session import EvolutionSession
from neuroexapt.training import evaluate, evaluation_batches

FORMAT = 1


class Evaluated(BaseModel):
    """A network that was evaluated, as it was last scored.

    Attributes:
        name: generation that it was born in, and a number.
        generation: that it was born in; 0 is the founding.
        origin: `seed`, `mutation`, `pruning` or `crossover`.
        parents: names; the first is the mother, whose network it had before its own edits.
        edits: what sets it apart from its mother, in words.
        accuracy_of_parent: on validation data, 0 to 1; None for what has no parent.
        accuracy_at_birth: likewise, before any training of its own.
        accuracy: likewise, after its last training.
        macs: multiply-accumulates of one sample's forward pass.
        params: parameters.
        latency_ms: milliseconds of it; None where it wasn't measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    generation: int
    origin: Origin
    parents: tuple[str, ...]
    edits: tuple[str, ...]
    accuracy_of_parent: float | None
    accuracy_at_birth: float | None
    accuracy: float
    macs: int
    params: int
    latency_ms: float | None

    @classmethod
    def of(cls, record: MemberRecord, generation: int) -> "Evaluated":
        """What was written down of a member."""
        scores, told = record.scores, record.told
        return cls(
            name=record.name,
            generation=generation,
            origin=record.origin,
            parents=record.parents,
            edits=told["edits"],
            accuracy_of_parent=told.get("accuracy_of_parent"),
            accuracy_at_birth=told.get("accuracy_at_birth"),
            accuracy=told["accuracy"],
            macs=int(scores["macs"]),
            params=int(scores["params"]),
            latency_ms=scores.get("latency_ms"),
        )


class FrontMember(BaseModel):
    """A network of the front.

    Attributes:
        name: by which `load_model(run, member=...)` gives it.
        lineage: names from the first network on to itself, along the mothers; each is among the
            front's `evaluated`.
        edits: over the seed model, as `load_edits` reads them.
        grown_by: the same in words.
        epochs: trained, those of its ancestors included.
        val_accuracy: on validation data, which it was chosen by, 0 to 1.
        test_accuracy: on test data, which was read once, for this.
        test_loss: likewise.
        macs: multiply-accumulates of one sample's forward pass.
        params: parameters.
        latency_ms: milliseconds of it; None where it wasn't measured.
        excess: by how much it passes the limits, relative to them; 0 if it keeps them.
        weights: where they are in the run's folder, as safetensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    lineage: tuple[str, ...]
    edits: tuple[dict[str, Any], ...]
    grown_by: tuple[str, ...]
    epochs: float
    val_accuracy: float
    test_accuracy: float
    test_loss: float
    macs: int
    params: int
    latency_ms: float | None
    excess: float
    weights: str


class Front(BaseModel):
    """What an evolution came to, as `front.json` keeps it.

    Attributes:
        format: of the file.
        data: name of the data set.
        model: name of the seed model.
        seed: of every random choice.
        objectives: what was to become small.
        limits: what no network may exceed.
        pick: how one of them was picked.
        picked: its name.
        num_validation: samples that networks were judged by.
        generations: how many, the founding included.
        polished: rounds in which the front was trained on at the end, while the learning rate fell.
        train_flops: training FLOPs, sensing and edits included (2 for each multiply-accumulate).
        members: the networks that no other one beats in all objectives, the most accurate first.
        evaluated: every network that was ever evaluated, in order of birth.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    data: str
    model: str
    seed: int
    objectives: tuple[str, ...]
    limits: Limits
    pick: Choice
    picked: str
    num_validation: int
    generations: int
    polished: int
    train_flops: int
    members: tuple[FrontMember, ...]
    evaluated: tuple[Evaluated, ...]

    @property
    def warning(self) -> str:
        """What is wrong with the front, in a sentence; empty if all of it keeps the limits."""
        beyond = [member for member in self.members if member.excess > 0]
        if not beyond:
            return ""
        nearest = min(beyond, key=lambda member: member.excess)
        return (
            f"No network keeps the limits; the nearest, {nearest.name}, passes them by "
            f"{nearest.excess:.0%}."
        )

    def __getitem__(self, name: str) -> FrontMember:
        """The member of that name."""
        return next(member for member in self.members if member.name == name)


def front_of(session: EvolutionSession, front: Sequence[Network], models: str) -> Front:
    """Sum up a front: reads the test part, which nothing did before.

    Args:
        session: what has evolved.
        front: its members, the most accurate first.
        models: folder of their weights, within the run's.
    """
    config, evolution, data = session.config, session.evolution, session.data
    seen = evaluated(evolution.history)
    paths, recipe = lineages(seen), config.evolution.recipe
    polished = sum(record.phase == "polishing" for record in evolution.history)
    test = evaluation_batches(
        data, data.test, channels_last=recipe.channels_last, device=config.device
    )

    def told(member: Network) -> FrontMember:
        tested = evaluate(
            evolution.model(member),
            test,
            evolution.world.criterion,
            amp=recipe.amp,
            views=recipe.views,
        )
        return FrontMember(
            name=member.name,
            lineage=paths[member.name],
            edits=tuple(dump_edits(member.genome.edits)),
            grown_by=tuple(str(edit) for edit in member.genome.edits),
            epochs=member.told["epochs"],
            val_accuracy=member.told["accuracy"],
            test_accuracy=tested.accuracy,
            test_loss=tested.loss,
            macs=int(member.scores["macs"]),
            params=int(member.scores["params"]),
            latency_ms=member.scores.get("latency_ms"),
            excess=member.excess,
            weights=f"{models}/{member.name}.safetensors",
        )

    return Front(
        data=data.name,
        model=config.model,
        seed=config.seed,
        objectives=config.evolution.objectives,
        limits=config.evolution.limits,
        pick=config.pick,
        picked=pick(front, config.pick, config.evolution.objectives).name,
        num_validation=len(data.validation),
        generations=evolution.generation - polished,
        polished=polished,
        train_flops=evolution.flops,
        members=tuple(told(member) for member in front),
        evaluated=seen,
    )


def evaluated(history: Iterable[GenerationRecord]) -> tuple[Evaluated, ...]:
    """Every network that was ever evaluated, as it was last scored, in order of birth."""
    born: dict[str, int] = {}
    latest: dict[str, MemberRecord] = {}
    for record in history:
        for member in (*record.children, *record.population):
            born.setdefault(member.name, record.generation)
            latest[member.name] = member
    return tuple(Evaluated.of(latest[name], generation) for name, generation in born.items())


def lineages(networks: Iterable[Evaluated]) -> dict[str, tuple[str, ...]]:
    """For each network the names from its first ancestor on to itself, along the mothers.

    Args:
        networks: in order of birth.
    """
    found: dict[str, tuple[str, ...]] = {}
    for one in networks:
        before = found[one.parents[0]] if one.parents else ()
        found[one.name] = (*before, one.name)
    return found
