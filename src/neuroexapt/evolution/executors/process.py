"""One worker process, which is started anew after it was lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from neuroexapt.errors import WorkerLostError
from neuroexapt.evolution.executors.parcel import Parcel
from neuroexapt.evolution.executors.serving import serve
from neuroexapt.evolution.executors.slots import Worker

SPAWN = get_context("spawn")
CHECK_SECONDS = 1.0
"""How often a worker that is silent is looked after."""
GRACE_SECONDS = 5.0
"""For a worker that has closed its end to be gone."""


class ProcessWorker(Worker):
    """Does tasks in a process of its own, which is started for the first one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped = False
        self._is_busy = False
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None
        self._holds = ""

    def run(self, parcel: Parcel, job: bytes) -> Any:
        """A task's outcome, packed; the shared value is sent along if it isn't there yet."""
        process, connection = self._begun()
        try:
            connection.send_bytes(parcel.token.encode())
            connection.send_bytes(b"" if self._holds == parcel.token else parcel.content)
            connection.send_bytes(job)
            self._holds = parcel.token
            # The end of a connection isn't seen while a child of the worker, as of a DataLoader,
            # holds it open too.
            while not connection.poll(CHECK_SECONDS):
                if not process.is_alive() and not connection.poll():
                    raise EOFError
            return connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise WorkerLostError(_ending(self._buried())) from error
        finally:
            with self._lock:
                self._is_busy = False

    def stop(self) -> None:
        """Kill the process if it is busy; there will be no other."""
        with self._lock:
            self._stopped = True
            if self._process is not None and self._is_busy:
                self._process.kill()

    def retire(self) -> None:
        """Let the process end."""
        self._buried()

    def _begun(self) -> tuple[SpawnProcess, Connection]:
        """A process that is there, busy from now on."""
        with self._lock:
            if self._stopped:
                raise WorkerLostError("was ended")
            if self._process is None or self._connection is None or not self._process.is_alive():
                self._process, self._connection = _started()
                self._holds = ""
            self._is_busy = True
            return self._process, self._connection

    def _buried(self) -> int | None:
        """The exit code of the process, which is over; it ends by the end of its connection."""
        with self._lock:
            process, self._process = self._process, None
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        if process is None:
            return None
        process.join(GRACE_SECONDS)
        process.kill()
        process.join()
        return process.exitcode


def _started() -> tuple[SpawnProcess, Connection]:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=serve, args=(theirs,))
    try:
        with _interrupts_blocked():
            process.start()
    except OSError as error:
        raise WorkerLostError(f"can't be started ({error})") from error
    finally:
        theirs.close()
    return process, ours


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C is for the parent, which ends its workers; what is started here inherits that."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ending(code: int | None) -> str:
    if code is None:
        return "is gone"
    if code >= 0:
        return f"ended with exit code {code}; what it printed may say why"
    why = ", as happens where memory runs out" if -code == getattr(signal, "SIGKILL", 0) else ""
    return f"was killed by signal {-code} ({signal.strsignal(-code)}){why}"
