"""What an evolution came to, in short."""

from pydantic import BaseModel, ConfigDict

from neuroexapt.runs.evolution_front import Front
from neuroexapt.runs.evolution_session import EvolutionSession
from neuroexapt.runs.summary import where


class EvolutionSummary(BaseModel):
    """What an evolution came to, as `summary.json` keeps it; `front.json` has all its networks.

    Attributes:
        data: name of the data set.
        model: name of the seed model.
        seed: of every random choice.
        objectives: what was to become small.
        pick: how one network of the front was picked.
        picked: its name.
        test_accuracy: of that one, 0 to 1; the test part is read once, for the front.
        test_loss: likewise.
        val_accuracy: likewise.
        params: likewise.
        macs: likewise: multiply-accumulates of one sample's forward pass.
        latency_ms: likewise; None where it wasn't measured.
        params_seed: parameters of the seed network.
        macs_seed: its multiply-accumulates.
        front: how many networks there are to pick from.
        evaluated: how many were evaluated.
        lost: how many couldn't be made, or were lost.
        generations: how many, the founding included.
        polished: rounds in which the front was trained on at the end, while the learning rate fell.
        train_flops: training FLOPs, sensing and edits included (2 for each multiply-accumulate).
        seconds: wall time, of all sittings.
        stopped: why it ended.
        command: what started it.
        versions: of Python and the libraries that decide on the outcome.
        machine: what it ran on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    seed: int
    objectives: tuple[str, ...]
    pick: str
    picked: str
    test_accuracy: float
    test_loss: float
    val_accuracy: float
    params: int
    macs: int
    latency_ms: float | None
    params_seed: int
    macs_seed: int
    front: int
    evaluated: int
    lost: int
    generations: int
    polished: int
    train_flops: int
    seconds: float
    stopped: str
    command: str | None
    versions: dict[str, str]
    machine: dict[str, str | int]


def summarise_evolution(
    session: EvolutionSession, front: Front, command: str | None
) -> EvolutionSummary:
    """Sum up an evolution that is over.

    Args:
        session: what has evolved.
        front: what it came to.
        command: what started it.
    """
    config, picked = session.config, front[front.picked]
    return EvolutionSummary(
        data=front.data,
        model=front.model,
        seed=front.seed,
        objectives=front.objectives,
        pick=front.pick,
        picked=front.picked,
        test_accuracy=picked.test_accuracy,
        test_loss=picked.test_loss,
        val_accuracy=picked.val_accuracy,
        params=picked.params,
        macs=picked.macs,
        latency_ms=picked.latency_ms,
        params_seed=session.seed_cost.params,
        macs_seed=session.seed_cost.macs,
        front=len(front.members),
        evaluated=len(front.evaluated),
        lost=sum(len(record.lost) for record in session.evolution.history),
        generations=front.generations,
        polished=front.polished,
        train_flops=front.train_flops,
        seconds=session.seconds,
        stopped=f"{front.train_flops:.3g} of {config.evolution.max_flops:.3g} FLOPs are spent",
        command=command,
        **where(config.device, config.threads),
    )
