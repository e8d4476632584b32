"""What a run came to."""

import platform
from collections import Counter
from importlib.metadata import version
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict

from neuroexapt.runs.session import Session
from neuroexapt.training import Views, evaluate, evaluation_batches

NAMES = ("neuroexapt", "torch", "numpy")


class Summary(BaseModel):
    """What a run came to, as `summary.json` keeps it.

    Attributes:
        data: name of the data set.
        model: name of the seed model.
        seed: of every random choice.
        test_accuracy: of the final weights, 0 to 1; the test part is read once, for this.
        test_loss: likewise.
        test_views: views of each test image whose outputs were averaged for both.
        val_accuracy: after the last epoch.
        best_val_accuracy: of all epochs.
        best_checkpoint: where the weights of that epoch are, in the run's folder.
        params_seed: parameters at the start.
        params_final: at the end.
        macs_seed: multiply-accumulates of one sample's forward pass at the start.
        macs_final: at the end.
        train_flops: training FLOPs, sensing and edits included (2 for each multiply-accumulate).
        growth_flops_share: share of them that sensing and edits took.
        edits: how many.
        splits: edits that divided units.
        connections: edits that added a connection.
        kinds: kind of edit -> how many, the most frequent first.
        epochs: trained.
        seconds: wall time, of all sittings.
        stopped: why the run ended.
        growth_stopped: why growth ended before it; None if it didn't, or there was none.
        command: what started the run.
        versions: of Python and the libraries that decide on the outcome.
        machine: what it ran on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    seed: int
    test_accuracy: float
    test_loss: float
    test_views: Views = "plain"
    val_accuracy: float
    best_val_accuracy: float
    best_checkpoint: str
    params_seed: int
    params_final: int
    macs_seed: int
    macs_final: int
    train_flops: int
    growth_flops_share: float
    edits: int
    splits: int
    connections: int
    kinds: dict[str, int]
    epochs: int
    seconds: float
    stopped: str
    growth_stopped: str | None
    command: str | None
    versions: dict[str, str]
    machine: dict[str, str | int]


def summarise(session: Session, best_checkpoint: str, command: str | None) -> Summary:
    """Sum up a run that is over: reads the test part, which nothing did before.

    Args:
        session: what was trained, for at least one epoch.
        best_checkpoint: where the weights of the best epoch are.
        command: what started the run.
    """
    loop, config = session.loop, session.config
    test = evaluate(
        loop.living,
        evaluation_batches(
            session.data,
            session.data.test,
            channels_last=config.recipe.channels_last,
            device=config.device,
        ),
        loop.criterion,
        amp=config.recipe.amp,
        views=config.recipe.views,
    )
    cost, grower = loop.living.cost(), loop.grower
    kinds = Counter(edit.kind for edit in loop.living.edits)
    return Summary(
        data=session.data.name,
        model=config.model,
        seed=config.seed,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        test_views=config.recipe.views,
        val_accuracy=loop.history[-1].score,  # runs are of classifiers
        best_val_accuracy=max(record.score for record in loop.history),
        best_checkpoint=best_checkpoint,
        params_seed=session.seed_cost.params,
        params_final=cost.params,
        macs_seed=session.seed_cost.macs,
        macs_final=cost.macs,
        train_flops=loop.flops,
        growth_flops_share=grower.flops / loop.flops if grower is not None else 0.0,
        edits=len(loop.living.edits),
        splits=kinds["split"],
        connections=kinds["connect"],
        kinds=dict(kinds.most_common()),
        epochs=loop.epoch,
        seconds=session.seconds,
        stopped=_why_stopped(session),
        growth_stopped=grower.stopped if grower is not None else None,
        command=command,
        **where(config.device, config.threads),
    )


def where(on: str, threads: int) -> dict[str, Any]:
    """What a run's outcome depends on besides its settings: `versions` and `machine`.

    Args:
        on: name of the device.
        threads: of the CPU.
    """
    device = torch.device(on)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in NAMES},
        "machine": {
            "system": platform.system(),
            "processor": name,
            "device": str(device),
            "threads": threads,
        },
    }


def _why_stopped(session: Session) -> str:
    config = session.config
    if config.epochs is not None and session.loop.epoch >= config.epochs:
        return f"all {config.epochs} epochs are trained"
    return f"the budget of {config.max_flops:.3g} training FLOPs is spent"
