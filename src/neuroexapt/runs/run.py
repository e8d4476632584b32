"""A run from its start, or from where it stopped, to its end."""

import json
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from neuroexapt.errors import RunError, TrainingError
from neuroexapt.growth import Growth
from neuroexapt.runs.config import GrowConfig, read_config
from neuroexapt.runs.durable import replace_file, to_json
from neuroexapt.runs.events import EventLog, read_events
from neuroexapt.runs.folder import (
    RunFolder,
    find_run,
    forget_after,
    load_checkpoint,
    make_folder,
    new_folder,
    save_checkpoint,
)
from neuroexapt.runs.reporter import Beginning, Reporter, Silent
from neuroexapt.runs.session import (
    Session,
    Watched,
    build,
    num_threads,
    take_down,
)
from neuroexapt.runs.summary import Summary, machine, versions
from neuroexapt.training import EpochRecord, evaluate, evaluation_batches

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is ready to train.

    Attributes:
        folder: where it is kept.
        session: what trains.
        log: its events.
        command: what started it; None if a program did.
    """

    folder: RunFolder
    session: Session
    log: EventLog
    command: str | None

    def finish(self, reporter: Reporter | None = None) -> Summary:
        """Train to the end, keeping everything on disk as it happens.

        Raises:
            TrainingError: if the loss is no longer finite, or memory is short.
            RunError: if the disk refuses. In any case the last checkpoint can be resumed from.
        """
        try:
            with num_threads(self.session.config.threads), _memory_explained():
                return _finish(self, reporter or Silent())
        except (TrainingError, KeyboardInterrupt) as error:
            self.log.append("stop", {"reason": str(error) or "interrupted"})
            raise
        finally:
            self.log.close()


def start(config: GrowConfig, out: Path, command: str | None = None) -> Run:
    """Make a new run ready.

    Args:
        config: what defines it.
        out: its folder, new or empty.
        command: what to write down as having started it.

    Raises:
        RunError: if `out` is in use or can't be written, or the device can't be used.
        DataError: if the data can't be read.
        TraceError: if the model can't be built or seen as a graph.
    """
    folder = new_folder(Path(out))
    with num_threads(config.threads):
        session = build(config)
    make_folder(folder)
    replace_file(folder.config, to_json(config.model_dump(mode="json")))
    with _open_log(folder) as log:
        return _begin(folder, session, log, command)


def reopen(path: Path, device: str | None = None, threads: int | None = None) -> Run | Summary:
    """Make a run ready to go on from its newest checkpoint, or from one of its checkpoints.

    Going on from an older checkpoint forgets what came after it.

    Args:
        path: the run's folder, or `checkpoints/epoch-...` in it.
        device: where to train from now on; None for where it was.
        threads: of the CPU from now on; None for as many as before.

    Returns:
        The run; or, if it is over, its summary.

    Raises:
        RunError: naming the file, if one is missing or damaged; or if the run is going on.
        DataError: if the data can't be read any more.
        TraceError: if the model can't be built any more.
    """
    folder, asked = find_run(Path(path))
    if asked is None and folder.summary.exists():
        return read_summary(folder.summary)
    moved = {"device": device, "threads": threads}
    config = read_config(folder.config).model_copy(
        update={name: value for name, value in moved.items() if value is not None}
    )
    with num_threads(config.threads), _open_log(folder) as log:
        return _reopen(folder, asked or folder.latest, config, log)


def grow(
    config: GrowConfig,
    out: Path,
    reporter: Reporter | None = None,
    command: str | None = None,
) -> Summary:
    """Train and grow a network, and keep the run in a folder.

    Args:
        config: what defines the run; see `configure`.
        out: its folder, new or empty.
        reporter: is told how it goes.
        command: what to write down as having started it.

    Raises:
        RunError: if the folder can't be used or written.
        DataError: if the data can't be read.
        TraceError: if the model can't be built or seen as a graph.
        TrainingError: if the loss is no longer finite.
    """
    return start(config, out, command).finish(reporter)


def resume(path: Path, reporter: Reporter | None = None) -> Summary:
    """Go on with a run that was broken off, to the same end as if it hadn't been.

    Args:
        path: the run's folder, or one of its checkpoints; see `reopen`.
        reporter: is told how it goes.

    Raises:
        NeuroexaptError: as `reopen` and `Run.finish`.
    """
    run = reopen(path)
    return run if isinstance(run, Summary) else run.finish(reporter)


def read_summary(path: Path) -> Summary:
    """Read a run's `summary.json`.

    Raises:
        RunError: if it can't be read, or is damaged.
    """
    try:
        return Summary.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise RunError(
            f"{path} is damaged: it is no summary; remove it and resume the run to write it again"
        ) from error


@contextmanager
def _open_log(folder: RunFolder) -> Iterator[EventLog]:
    """A run's events, closed again only if what is inside fails: the run goes on with them."""
    log = EventLog(folder.events)
    with ExitStack() as on_failure:
        on_failure.callback(log.close)
        yield log
        on_failure.pop_all()


def _begin(folder: RunFolder, session: Session, log: EventLog, command: str | None) -> Run:
    """Write down a run's start, and the checkpoint that it can always be resumed from."""
    cost = session.seed_cost
    log.append(
        "start", {"command": command, "params": cost.params, "macs": cost.macs} | _where(session)
    )
    save_checkpoint(folder, take_down(session, log.position), best=0)
    return Run(folder, session, log, command)


def _reopen(folder: RunFolder, path: Path | None, config: GrowConfig, log: EventLog) -> Run:
    if path is None:
        return _begin_again(folder, config, log)
    checkpoint = load_checkpoint(folder, path)
    session = build(config, checkpoint)
    log.cut(checkpoint.progress.events)
    forget_after(folder, checkpoint.progress.epochs)
    folder.summary.unlink(missing_ok=True)
    command = read_events(folder.events)[0].get("command")
    log.append("resume", {"epochs": checkpoint.progress.epochs} | _where(session))
    return Run(folder, session, log, command)


def _begin_again(folder: RunFolder, config: GrowConfig, log: EventLog) -> Run:
    """Start a run that was broken off before its first checkpoint; never one that had trained."""
    events = read_events(folder.events)
    if any(event["event"] not in ("start", "resume") for event in events):
        raise RunError(
            f"{folder.path} has trained, but holds no checkpoint; bring back its checkpoints, or "
            "start a new run"
        )
    command = events[0].get("command") if events else None
    log.cut(0)
    return _begin(folder, build(config), log, command)


def _finish(run: Run, reporter: Reporter) -> Summary:
    session, loop = run.session, run.session.loop
    reporter.begun(Beginning(session.config, run.folder.path, loop.living.cost(), loop.epoch))
    watched = Watched(session.train, lambda: reporter.stepped(loop.progress()))
    while not loop.finished:
        before = _growths(session)
        growing = loop.grower is not None and loop.grower.stopped is None
        record, _ = loop.run_epoch(watched, session.validation)
        _note_epoch(run, reporter, record)
        _note_growth(run, reporter, before)
        if growing and loop.grower is not None and loop.grower.stopped is not None:
            run.log.append("growth-end", {"reason": loop.grower.stopped})
            reporter.growth_ended(loop.grower.stopped)
        save_checkpoint(run.folder, take_down(session, run.log.position), _best(session))
    summary = _summarise(run)
    run.log.append("end", {"stopped": summary.stopped, "test_accuracy": summary.test_accuracy})
    replace_file(run.folder.summary, to_json(summary.model_dump(mode="json")))
    reporter.ended(summary, run.folder.path)
    return summary


def _growths(session: Session) -> list[Growth]:
    return list(session.loop.grower.growths) if session.loop.grower is not None else []


def _best(session: Session) -> int:
    best = session.loop.history.best
    return best.epoch + 1 if best is not None else 0


def _note_epoch(run: Run, reporter: Reporter, record: EpochRecord) -> None:
    run.log.append("epoch", _json(record))
    reporter.trained(record)


def _note_growth(run: Run, reporter: Reporter, before: list[Growth]) -> None:
    """Write down new growths, and what followed earlier ones once that is known."""
    growths = _growths(run.session)
    for number, growth in enumerate(growths):
        if number >= len(before):
            run.log.append("edit", {"number": number} | _json(growth))
            reporter.grew(growth)
        elif growth.followed is not None and before[number].followed is None:
            values = {"number": number, "predicted": growth.predicted, "followed": growth.followed}
            run.log.append("outcome", values)


def _json(record: BaseModel) -> dict[str, Any]:
    """A record as JSON values, in which numbers that JSON lacks are strings."""
    values: dict[str, Any] = json.loads(record.model_dump_json())
    return values


def _where(session: Session) -> dict[str, Any]:
    device = torch.device(session.config.device)
    return {"versions": versions(), "machine": machine(device, session.config.threads)}


def _summarise(run: Run) -> Summary:
    """Read the test part and put everything together."""
    session, loop, config = run.session, run.session.loop, run.session.config
    test = evaluate(
        loop.living,
        evaluation_batches(session.data, session.data.test, device=config.device),
        loop.criterion,
        amp=config.recipe.amp,
    )
    cost, best = loop.living.cost(), loop.history.best
    assert best is not None, "a run trains at least one epoch"
    kinds = Counter(edit.kind for edit in loop.living.edits)
    spent_epochs = config.epochs is not None and loop.epoch >= config.epochs
    stopped = (
        f"all {config.epochs} epochs are trained"
        if spent_epochs
        else f"the budget of {config.max_flops:.3g} training FLOPs is spent"
    )
    return Summary(
        data=session.data.name,
        model=config.model,
        seed=config.seed,
        test_accuracy=test.accuracy,
        test_loss=test.loss,
        val_accuracy=loop.history[-1].val_accuracy,
        best_val_accuracy=best.val_accuracy,
        best_checkpoint=str(run.folder.checkpoint(best.epoch + 1).relative_to(run.folder.path)),
        params_seed=session.seed_cost.params,
        params_final=cost.params,
        macs_seed=session.seed_cost.macs,
        macs_final=cost.macs,
        train_flops=loop.flops,
        growth_flops_share=(loop.grower.flops / loop.flops) if loop.grower is not None else 0.0,
        edits=len(loop.living.edits),
        splits=kinds["split"],
        connections=kinds["connect"],
        epochs=loop.epoch,
        seconds=session.seconds,
        stopped=stopped,
        growth_stopped=loop.grower.stopped if loop.grower is not None else None,
        command=run.command,
        **_where(session),
    )


@contextmanager
def _memory_explained() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the device is out of memory ({str(error).splitlines()[0]}); "
            "give a smaller batch_size in the recipe, or limit growth with max_params"
        ) from error
