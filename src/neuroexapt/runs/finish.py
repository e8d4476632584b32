"""Train a run to its end, with everything on disk as it happens."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import BaseModel

from neuroexapt.errors import TrainingError
from neuroexapt.growth import Growth, Refusal
from neuroexapt.runs.durable import replace_file, to_json
from neuroexapt.runs.events import EventLog
from neuroexapt.runs.folder import RunFolder, save_checkpoint
from neuroexapt.runs.reporter import Beginning, Reporter
from neuroexapt.runs.session import Session, Watched, take_down
from neuroexapt.runs.summary import Summary, summarise
from neuroexapt.training import EpochRecord

OUTCOME = {"predicted", "saved", "trend", "followed"}
"""What an event tells of a growth once it is known what followed."""


def train_to_end(
    folder: RunFolder, session: Session, log: EventLog, command: str | None, reporter: Reporter
) -> Summary:
    """Train what is left, with a checkpoint from time to time; then read the test part and sum up.

    Args:
        folder: where the run is kept.
        session: what trains.
        log: the run's events.
        command: what started the run.
        reporter: is told how it goes.

    Raises:
        TrainingError: if the loss is no longer finite, or memory is short.
        RunError: if the disk refuses.
    """
    loop = session.loop
    reporter.begun(Beginning(session.config, folder.path, loop.living.cost(), loop.epoch))
    watched = Watched(session.train, lambda: reporter.stepped(loop.progress()))
    due = _after(session.config.checkpoint_seconds)
    while not loop.finished:
        before, num_refused = _growths(session), len(_refusals(session))
        growing = loop.grower is not None and loop.grower.stopped is None
        with _memory_explained():
            record, grown = loop.run_epoch(watched, session.validation)
        _note_epoch(log, reporter, record)
        _note_growths(log, reporter, before, _growths(session))
        for refusal in _refusals(session)[num_refused:]:
            log.append("refusal", _json(refusal))
            reporter.refused(refusal)
        if growing and loop.grower is not None and loop.grower.stopped is not None:
            log.append("growth-end", {"reason": loop.grower.stopped})
            reporter.growth_ended(loop.grower.stopped)
        if loop.finished or grown or _best(session) == loop.epoch or due():
            save_checkpoint(folder, take_down(session, log.position), _best(session))
            due = _after(session.config.checkpoint_seconds)
    best = folder.checkpoint(_best(session)).relative_to(folder.path)
    summary = summarise(session, best.as_posix(), command)
    log.append("end", {"stopped": summary.stopped, "test_accuracy": summary.test_accuracy})
    replace_file(folder.summary, to_json(summary.model_dump(mode="json")))
    reporter.ended(summary, folder.path)
    return summary


def _after(seconds: float) -> Callable[[], bool]:
    """A clock that tells whether so many seconds have passed."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _growths(session: Session) -> list[Growth]:
    return list(session.loop.grower.growths) if session.loop.grower is not None else []


def _refusals(session: Session) -> list[Refusal]:
    return session.loop.grower.refusals if session.loop.grower is not None else []


def _best(session: Session) -> int:
    best = session.loop.history.best
    assert best is not None, "an epoch has been trained"
    return best.epoch + 1


def _note_epoch(log: EventLog, reporter: Reporter, record: EpochRecord) -> None:
    log.append("epoch", _json(record))
    reporter.trained(record)


def _note_growths(
    log: EventLog, reporter: Reporter, before: list[Growth], now: list[Growth]
) -> None:
    """Write down new growths, and what followed earlier ones once that is known."""
    for number, growth in enumerate(now):
        if number >= len(before):
            log.append("edit", {"number": number} | _json(growth))
            reporter.grew(growth)
        elif growth.followed is not None and before[number].followed is None:
            log.append("outcome", {"number": number} | _json(growth, OUTCOME))


def _json(record: BaseModel, fields: set[str] | None = None) -> dict[str, Any]:
    """A record, or some fields of it, as JSON values; numbers that JSON lacks are strings."""
    values: dict[str, Any] = json.loads(record.model_dump_json(include=fields))
    return values


@contextmanager
def _memory_explained() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the device is out of memory ({str(error).splitlines()[0]}); "
            "give a smaller batch_size in the recipe, or limit growth with max_params"
        ) from error
