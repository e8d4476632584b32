"""Where a run keeps what: the names in its folder, and which checkpoints stay."""

import errno
import os
import re
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from neuroexapt.errors import RunError
from neuroexapt.runs.checkpoint import Checkpoint, M, read_checkpoint, write_checkpoint
from neuroexapt.runs.durable import TEMPORARY, remove_folder, replace_file, writing
from neuroexapt.runs.events import EventLog, open_log, read_events

R = TypeVar("R", bound=BaseModel)
_NAME = re.compile(r"(?:epoch|generation)-(\d+)")
KEPT = 2
"""Newest checkpoints that are kept, besides the best: one to resume, and one in case it is lost."""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder.

    Attributes:
        path: of the folder.
        unit: what checkpoints are counted in.
    """

    path: Path
    unit: Literal["epoch", "generation"] = "epoch"

    @property
    def config(self) -> Path:
        """What defines the run."""
        return self.path / "config.json"

    @property
    def events(self) -> Path:
        """What happened, one line an event."""
        return self.path / "events.jsonl"

    @property
    def summary(self) -> Path:
        """What came out; there once the run has ended."""
        return self.path / "summary.json"

    @property
    def front(self) -> Path:
        """The front of an evolution; there once it has ended."""
        return self.path / "front.json"

    @property
    def picture(self) -> Path:
        """The same to look at."""
        return self.path / "front.html"

    @property
    def models(self) -> Path:
        """The weights of its networks, a file each."""
        return self.path / "models"

    @property
    def model(self) -> Path:
        """The weights of the one that was picked."""
        return self.path / "model.safetensors"

    def checkpoint(self, epochs: int) -> Path:
        """The checkpoint after so many epochs, or generations."""
        return self.path / "checkpoints" / f"{self.unit}-{epochs:04d}"

    @property
    def checkpoints(self) -> dict[int, Path]:
        """All checkpoints by epochs trained, or generations, oldest first."""
        found = {}
        for path in (self.path / "checkpoints").glob("*-*"):
            match = _NAME.fullmatch(path.name)
            if match:
                found[int(match[1])] = path
        return dict(sorted(found.items()))

    @property
    def latest(self) -> Path | None:
        """The newest checkpoint; None before the first."""
        return next(reversed(self.checkpoints.values()), None)


def new_folder(path: Path) -> RunFolder:
    """The folder of a new run, not made yet.

    Raises:
        RunError: if there is something in it already, or it can't be made.
    """
    folder = RunFolder(path.absolute())
    with writing(path):
        if folder.config.exists():
            raise _in_use(path)
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is no folder; give a new one, or one that is empty")
        if path.is_dir() and not all(map(_is_left, path.iterdir())):
            raise RunError(f"{path} is not empty; give a new folder, or one that is empty")
        _check_writable(folder.path)
    return folder


def _is_left(path: Path) -> bool:
    """Whether a file is what a start that was killed at once may have left."""
    return path.name.startswith(TEMPORARY) or (
        path.name == RunFolder(path.parent).events.name and path.stat().st_size == 0
    )


def _check_writable(path: Path) -> None:
    """Raise now, before any data is read, what making the folder would raise later."""
    there = next(place for place in (path, *path.parents) if place.exists())
    if not there.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(there))


@contextmanager
def new_log(folder: RunFolder, config: bytes) -> Iterator[EventLog]:
    """Make a new run's folder, write down what defines the run, and open its events.

    Whoever has the events open has the folder: two starts at a time don't mix.

    Args:
        folder: as `new_folder` gives it.
        config: what `config.json` is to hold.

    Raises:
        RunError: if it can't be made, or another run has begun there meanwhile.
    """
    with writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
    with open_log(folder.events) as log:
        if folder.config.exists():
            raise _in_use(folder.path)
        replace_file(folder.config, config)
        yield log


def _in_use(path: Path) -> RunError:
    return RunError(
        f"{path} holds a run already; go on with it by --resume {path}, or give another folder"
    )


def command_again(folder: RunFolder, done: str, what: str) -> str | None:
    """The command that started what was broken off before its first checkpoint.

    Args:
        folder: without a checkpoint.
        done: what it would have done by then, in words, such as "trained".
        what: to start instead, in words.

    Raises:
        RunError: if it had done so: then its checkpoints are missing.
    """
    events = read_events(folder.events)
    if any(event["event"] not in ("start", "resume") for event in events):
        raise RunError(
            f"{folder.path} has {done}, but holds no checkpoint; bring back its checkpoints, or "
            f"start a new {what}"
        )
    return events[0].get("command") if events else None


def find_run(path: Path) -> tuple[RunFolder, Path | None]:
    """Find a run by its folder, or by one of its checkpoints.

    Returns:
        The run's folder, and the checkpoint that was asked for; None for the newest.

    Raises:
        RunError: if it is neither.
    """
    path = path.absolute()
    inside = bool(_NAME.fullmatch(path.name)) and path.parent.name == "checkpoints"
    folder = RunFolder(path.parents[1] if inside else path)
    try:
        there = folder.config.is_file()
    except OSError as error:
        raise RunError(
            f"{folder.path} cannot be read ({error.strerror}); give the folder that a run was "
            "started with, and allow reading it"
        ) from error
    if not there:
        raise RunError(
            f"{folder.path} holds no run: there is no {folder.config.name}; give the folder that "
            "a run was started with"
        )
    return folder, path if inside else None


def save_checkpoint(folder: RunFolder, checkpoint: Checkpoint[Any], best: int) -> None:
    """Write a checkpoint, then remove those that are neither among the newest nor the best.

    Args:
        folder: the run's.
        checkpoint: to write.
        best: epochs trained at the best checkpoint.

    Raises:
        RunError: if it can't be written; earlier checkpoints are as they were.
    """
    epochs = checkpoint.progress.epochs
    write_checkpoint(folder.checkpoint(epochs), checkpoint)
    kept = {best, *list(folder.checkpoints)[-KEPT:]}
    _remove(folder, [number for number in folder.checkpoints if number not in kept])


def forget_after(folder: RunFolder, epochs: int) -> None:
    """Remove the checkpoints after so many epochs, and what a kill left unfinished."""
    _remove(folder, [number for number in folder.checkpoints if number > epochs])
    for path in (folder.path / "checkpoints").glob(f"{TEMPORARY}*"):
        remove_folder(path)


def load_checkpoint(folder: RunFolder, path: Path, kind: type[M]) -> Checkpoint[M]:
    """Read a checkpoint, whose progress is of some kind.

    Raises:
        RunError: if there is none, naming those that there are; or if it is damaged, naming the
            file and the checkpoint to resume from instead.
    """
    if not path.exists():
        names = ", ".join(there.name for there in folder.checkpoints.values()) or "none"
        raise RunError(f"there is no checkpoint {path}; give one of those that are kept: {names}")
    try:
        return read_checkpoint(path, kind)
    except RunError as error:
        checkpoints = list(folder.checkpoints.values())
        earlier = checkpoints[: checkpoints.index(path)] if path in checkpoints else []
        remedy = (
            f"go on from the checkpoint before it: --resume {earlier[-1]}"
            if earlier
            else "there is no checkpoint before it, so bring back the file or start a new run"
        )
        raise RunError(f"{error}; {remedy}") from error


def read_record(path: Path, kind: type[R]) -> R:
    """Read what a run has written down once it is over, as its `summary.json`.

    Raises:
        RunError: if it can't be read, or is damaged.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise RunError(
            f"{path} is damaged: it is no summary; remove it and resume the run to write it again"
        ) from error


def _remove(folder: RunFolder, numbers: Container[int]) -> None:
    # Newest first: a kill in between leaves what an earlier moment of the run had kept. Were the
    # best gone and a later one not, the run would go on from there and name the best as kept.
    for number, path in reversed(folder.checkpoints.items()):
        if number in numbers:
            remove_folder(path)
