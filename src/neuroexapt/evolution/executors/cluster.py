"""Tasks on a Ray cluster, of this machine or of many."""

import math
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neuroexapt.errors import EvolutionError, WorkerLostError
from neuroexapt.evolution.executors.base import Executor, Shared
from neuroexapt.evolution.executors.outcome import arrived
from neuroexapt.evolution.executors.parcel import Parcel, pack, packed_for_workers
from neuroexapt.evolution.executors.session import Session, imported_ray
from neuroexapt.evolution.executors.slots import Slots, Worker

T = TypeVar("T")
R = TypeVar("R")
REMEDY = "open iterators, locks and connections where they are used, or use InProcess()"


class RayExecutor(Executor):
    """Runs tasks on a Ray cluster. Needs `pip install "neuroexapt[ray]"`.

    A session of Ray that this process has begun already is used, and left alone by `close`. A
    worker that is lost, alone or with its machine, costs its task only, which is begun again
    elsewhere. What tasks share, and networks, go through Ray's object store. Ray is told not to
    report that it is used.

    Args:
        num_workers: tasks that run at a time; by default as many as the cluster has room for.
        address: of a cluster, as host:port; by default that in the environment's RAY_ADDRESS, else
            a cluster is started on this machine, which `close` ends.
        num_cpus: that Ray reserves for a task.
        num_gpus: likewise; with 0.25 four tasks share one.
        retries: how often a task is begun again after its worker was lost.
        timeout: seconds in which the address has to answer.

    Raises:
        EvolutionError: if Ray isn't installed, the address doesn't answer, a number isn't possible,
            or this machine, where it is the cluster, has less than a task wants.
    """

    def __init__(
        self,
        num_workers: int | None = None,
        address: str | None = None,
        num_cpus: float = 1.0,
        num_gpus: float = 0.0,
        retries: int = 1,
        timeout: float = 10.0,
    ) -> None:
        workers = 1 if num_workers is None else num_workers
        if workers < 1 or min(num_cpus, num_gpus, retries) < 0 or timeout <= 0:
            raise EvolutionError(
                f"num_workers is {num_workers}, num_cpus {num_cpus}, num_gpus {num_gpus}, retries "
                f"{retries}, timeout {timeout}; give at least 1 worker, a timeout above 0, and "
                "nothing below 0"
            )
        self._ray = imported_ray()
        self._retries = retries
        own = None if num_workers is None else math.ceil(num_workers * num_cpus)
        self._session = Session.of(self._ray, address, own, timeout)
        try:
            room = self._session.room({"CPU": num_cpus, "GPU": num_gpus})
        except EvolutionError:
            self._session.leave()
            raise
        remote = _remote(self._ray, num_cpus, num_gpus)
        self._num_workers = num_workers or room
        self._slots = Slots([RayWorker(self._ray, remote) for _ in range(self._num_workers)])

    def share(self, value: T) -> Shared[T]:
        """Put a value into the object store, and see whether a worker can make it out.

        Raises:
            EvolutionError: naming the part, if it can't be sent; or if workers lack this library.
        """
        content = packed_for_workers(value, REMEDY, self._ray.cloudpickle)
        parcel = Parcel.of(self._ray.put(np.frombuffer(content, np.uint8)))
        self._slots.submit(parcel, pack((arrived, ())), self._retries).result()
        return Shared(parcel)

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """Run `task(value, *args)` as soon as there is room; task and args are sent there."""
        job = pack((task, args), self._ray.cloudpickle)
        return self._slots.submit(shared.handle, job, self._retries)

    def close(self) -> None:
        """End what workers are at, and the session with Ray if it was begun by this executor."""
        self._slots.close()
        self._session.leave()


class RayWorker(Worker):
    """Hands one task at a time to Ray, which finds a process for it."""

    def __init__(self, ray: Any, remote: Any) -> None:
        self._ray = ray
        self._remote = remote
        self._lock = threading.Lock()
        self._stopped = False
        self._pending: Any = None

    def run(self, parcel: Parcel, job: bytes) -> Any:
        """A task's outcome, packed."""
        with self._lock:
            if self._stopped:
                raise WorkerLostError("was ended")
            if not self._ray.is_initialized():  # it would begin another one by itself
                raise EvolutionError("the session with Ray was ended; make another executor")
            path = [str(Path(folder).absolute()) for folder in sys.path]
            self._pending = self._remote.remote(path, parcel.token, parcel.content, job)
        try:
            return self._ray.get(self._pending)
        except self._ray.exceptions.RayTaskError as error:
            raise EvolutionError(
                f"Ray's workers can't run neuroexapt ({error.cause}); install it where they are"
            ) from error
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise WorkerLostError(f"is gone ({type(error).__name__}: {reason})") from error
        finally:
            self._pending = None

    def stop(self) -> None:
        """Kill what it is at; there will be nothing else."""
        with self._lock:
            self._stopped = True
            pending = self._pending
        if pending is not None and self._ray.is_initialized():
            self._ray.cancel(pending, force=True)

    def retire(self) -> None:
        """Nothing to do: processes are Ray's."""


def _remote(ray: Any, num_cpus: float, num_gpus: float) -> Any:
    """What Ray runs in a worker."""

    def run(path: Sequence[str], token: str, content: Any, job: bytes) -> bytes:
        # Sent by value, as it is defined in a function: so it comes before any import, and modules
        # are found where they are found by who sends it.
        sys.path[:0] = [folder for folder in path if folder not in sys.path]
        outcome = import_module("neuroexapt.evolution.executors.outcome")
        packed: bytes = outcome.carried_out(token, content, job)
        return packed

    return ray.remote(num_cpus=num_cpus, num_gpus=num_gpus, max_retries=0)(run)
