"""What happened in a run, one JSON line an event, added and never changed."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

from neuroexapt.errors import RunError
from neuroexapt.runs.durable import writing

if sys.platform != "win32":
    import fcntl


@final
class EventLog:
    """A run's `events.jsonl`, open for adding; one process at a time.

    Each event is on disk before `append` returns.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if it isn't there.

        Raises:
            RunError: if it can't be written, or another process has it open.
        """
        self.path = path
        with writing(path):
            # Unbuffered: what a full disk refuses must not come again when the file is closed.
            self._file = path.open("ab", buffering=0)
        try:
            _lock(self._file.fileno())
        except OSError as error:
            self._file.close()
            raise RunError(
                f"{path} is being written by another process; wait until that run ends, or stop it"
            ) from error

    @property
    def position(self) -> int:
        """Size in bytes: events up to here are what a checkpoint of now knows of."""
        return self._file.seek(0, os.SEEK_END)

    def append(self, event: str, values: Mapping[str, Any]) -> None:
        """Add an event.

        Args:
            event: its kind, first in the line.
            values: JSON values; a float that is no number has to be a string.

        Raises:
            RunError: if it can't be written.
        """
        line = {"event": event, "time": datetime.now(UTC).isoformat(timespec="milliseconds")}
        rest = memoryview(json.dumps(line | dict(values), allow_nan=False).encode() + b"\n")
        with writing(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())

    def check(self, position: int) -> None:
        """That everything up to a position is there.

        Raises:
            RunError: if the file is shorter, or damaged before that position.
        """
        size = self.position
        if size < position:
            raise RunError(
                f"{self.path} has {size:,} bytes, but had {position:,} when the checkpoint was "
                "written; bring back the whole file, or start a new run"
            )
        _parse(self.path, self.path.read_bytes()[:position])

    def cut(self, position: int) -> None:
        """Forget what came after a position, such as a line that a kill left half written.

        Raises:
            RunError: as `check`.
        """
        self.check(position)
        with writing(self.path):
            self._file.truncate(position)
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let other processes write."""
        self._file.close()


@contextmanager
def open_log(path: Path) -> Iterator[EventLog]:
    """A run's events, closed again only if what is inside fails: the run goes on with them."""
    log = EventLog(path)
    with ExitStack() as on_failure:
        on_failure.callback(log.close)
        yield log
        on_failure.pop_all()


def read_events(path: Path) -> list[dict[str, Any]]:
    """Read a run's events, in order; a last line that was never finished is left out.

    Args:
        path: an `events.jsonl`, also of a run that is going on.

    Raises:
        RunError: naming file and line, if one is damaged; or if there is no such file.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror}); give a run's folder") from error
    return _parse(path, content[: content.rfind(b"\n") + 1])


def _parse(path: Path, content: bytes) -> list[dict[str, Any]]:
    events = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        try:
            event = json.loads(line)
        except ValueError as error:
            raise _damaged(path, number) from error
        if not isinstance(event, dict) or "event" not in event:
            raise _damaged(path, number)
        events.append(event)
    return events


def _damaged(path: Path, number: int) -> RunError:
    return RunError(
        f"{path}, line {number} is damaged: it is no event; bring back the file, or start a new run"
    )


def _lock(handle: int) -> None:
    """Take the file for this process; the system lets go of it however the process ends."""
    if sys.platform != "win32":
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
