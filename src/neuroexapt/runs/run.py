"""A run from its start, or from where it stopped, to its end."""

from dataclasses import dataclass
from pathlib import Path

from neuroexapt.errors import TrainingError
from neuroexapt.runs.checkpoint import Progress
from neuroexapt.runs.config import GrowConfig, moved, read_config
from neuroexapt.runs.durable import to_json
from neuroexapt.runs.events import EventLog, open_log, read_events
from neuroexapt.runs.finish import train_to_end
from neuroexapt.runs.folder import (
    RunFolder,
    command_again,
    find_run,
    forget_after,
    load_checkpoint,
    new_folder,
    new_log,
    read_record,
    save_checkpoint,
)
from neuroexapt.runs.kind import check_kind
from neuroexapt.runs.reporter import Reporter, Silent
from neuroexapt.runs.session import Session, build, num_threads, take_down
from neuroexapt.runs.summary import Summary, where


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
            with num_threads(self.session.config.threads):
                return train_to_end(
                    self.folder, self.session, self.log, self.command, reporter or Silent()
                )
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
    with new_log(folder, to_json(config.model_dump(mode="json"))) as log:
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
    check_kind(folder, "grow")
    if asked is None and folder.summary.exists():
        return read_summary(folder.summary)
    config = moved(read_config(folder.config), device=device, threads=threads)
    with num_threads(config.threads), open_log(folder.events) as log:
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
    return read_record(path, Summary)


def _begin(folder: RunFolder, session: Session, log: EventLog, command: str | None) -> Run:
    """Write down a run's start, and the checkpoint that it can always be resumed from."""
    cost = session.seed_cost
    log.append(
        "start",
        {"command": command, "params": cost.params, "macs": cost.macs}
        | where(session.config.device, session.config.threads),
    )
    save_checkpoint(folder, take_down(session, log.position), best=0)
    return Run(folder, session, log, command)


def _reopen(folder: RunFolder, path: Path | None, config: GrowConfig, log: EventLog) -> Run:
    if path is None:
        return _begin_again(folder, config, log)
    checkpoint = load_checkpoint(folder, path, Progress)
    session = build(config, checkpoint)
    # In this order, so that a kill in between leaves a run that can be resumed: without a summary
    # it isn't over, and the events may be longer than the newest checkpoint knows, never shorter.
    log.check(checkpoint.progress.events)
    folder.summary.unlink(missing_ok=True)
    forget_after(folder, checkpoint.progress.epochs)
    log.cut(checkpoint.progress.events)
    command = read_events(folder.events)[0].get("command")
    log.append(
        "resume",
        {"epochs": checkpoint.progress.epochs}
        | where(session.config.device, session.config.threads),
    )
    return Run(folder, session, log, command)


def _begin_again(folder: RunFolder, config: GrowConfig, log: EventLog) -> Run:
    """Start a run that was broken off before its first checkpoint; never one that had trained."""
    command = command_again(folder, "trained", "run")
    log.cut(0)
    return _begin(folder, build(config), log, command)
