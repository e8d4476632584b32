"""Workers side by side, each with a thread that waits for it; tasks of lost workers are retried."""

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.util import Finalize
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

from neuroexapt.errors import EvolutionError, WorkerLostError
from neuroexapt.evolution.executors.outcome import opened
from neuroexapt.evolution.executors.parcel import Parcel

logger = logging.getLogger(__name__)


class Worker(Protocol):
    """Does one task at a time; what it does it with is made anew whenever it was lost."""

    def run(self, parcel: Parcel, job: bytes) -> Any:
        """A task's outcome, packed.

        Raises:
            WorkerLostError: if it is lost; the next call may succeed.
        """
        ...

    def stop(self) -> None:
        """Make an end of what it is at, now; nothing else follows. Called from another thread."""
        ...

    def retire(self) -> None:
        """Leave orderly, having nothing to do."""
        ...


@dataclass(frozen=True, eq=False)
class Job:
    """A task that waits for a worker.

    Attributes:
        parcel: the value that it shares with others.
        content: the task and its other arguments, packed.
        retries: how often it is begun again after its worker was lost.
        future: for what it comes to.
    """

    parcel: Parcel
    content: bytes
    retries: int
    future: Future[Any]


Jobs: TypeAlias = SimpleQueue[Job | None]


class Slots:
    """Gives jobs to workers as they get free.

    Args:
        workers: one for each job that runs at a time.
    """

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._jobs: Jobs = SimpleQueue()
        self._closed = threading.Event()
        threads = [
            threading.Thread(target=_serve, args=(self._jobs, worker, self._closed), daemon=True)
            for worker in workers
        ]
        for thread in threads:
            thread.start()
        # Unlike weakref's, this one runs before the interpreter waits for child processes.
        self._close = Finalize(
            self, _end, args=(self._jobs, workers, threads, self._closed), exitpriority=10
        )

    def submit(self, parcel: Parcel, content: bytes, retries: int) -> Future[Any]:
        """Run a job as soon as a worker is free.

        Raises:
            EvolutionError: after closing.
        """
        if self._closed.is_set():
            raise EvolutionError("the executor is closed; make another one")
        future: Future[Any] = Future()
        self._jobs.put(Job(parcel, content, retries, future))
        return future

    def close(self) -> None:
        """End the workers; what they were at is lost, and what waited for them is cancelled."""
        self._close()


def _end(
    jobs: Jobs,
    workers: Sequence[Worker],
    threads: Sequence[threading.Thread],
    closed: threading.Event,
) -> None:
    closed.set()
    for worker in workers:
        worker.stop()
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        if thread is not threading.current_thread():  # as where garbage is collected in it
            thread.join()


def _serve(jobs: Jobs, worker: Worker, closed: threading.Event) -> None:
    """What a worker's thread does. It holds no `Slots`, which would never be collected."""
    while (job := jobs.get()) is not None:
        if closed.is_set():
            job.future.cancel()
        if job.future.set_running_or_notify_cancel():
            _settle(job, worker, closed)
        del job
    worker.retire()


def _settle(job: Job, worker: Worker, closed: threading.Event) -> None:
    try:
        result = opened(_outcome(job, worker, closed))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits for the result
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


def _outcome(job: Job, worker: Worker, closed: threading.Event) -> Any:
    """What a job comes to, packed.

    Raises:
        WorkerLostError: if a worker was lost at each try.
    """
    for left in range(job.retries, -1, -1):
        try:
            return worker.run(job.parcel, job.content)
        except WorkerLostError as error:
            if closed.is_set():
                raise WorkerLostError("the executor was closed before the task was done") from error
            if not left:
                raise WorkerLostError(
                    f"a task's worker was lost at each of {job.retries + 1} tries; the last one "
                    f"{error}. If memory ran out, use fewer workers, smaller batches or lower "
                    "limits for networks"
                ) from error
            logger.warning("a worker %s; its task is begun again", error)
    raise AssertionError("a job is tried at least once")
