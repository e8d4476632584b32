"""Tasks in processes of this machine."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from neuroexapt.errors import EvolutionError, WorkerLostError
from neuroexapt.evolution.executors.base import Executor, Shared
from neuroexapt.evolution.executors.outcome import arrived
from neuroexapt.evolution.executors.parcel import Parcel, pack, packed_for_workers
from neuroexapt.evolution.executors.process import ProcessWorker
from neuroexapt.evolution.executors.slots import Slots

T = TypeVar("T")
R = TypeVar("R")
REMEDY = (
    "define classes and functions at the top level of a module, open files and iterators where "
    "they are used, or use the executor InProcess()"
)


class ProcessPool(Executor):
    """Runs tasks in worker processes on this machine.

    Workers are started afresh, without what this process holds in memory (`spawn`). So models,
    criteria and data sets have to be defined in modules, and a script that uses a pool does so
    under `if __name__ == "__main__":`. A worker that is lost, as when it is killed where memory
    runs out, costs its task only, which is begun again in a fresh one.

    Args:
        num_workers: tasks that run at a time. Each worker holds the data and a network.
        retries: how often a task is begun again after its worker was lost.

    Raises:
        EvolutionError: if `num_workers` is less than 1, or `retries` less than 0.
    """

    def __init__(self, num_workers: int, retries: int = 1) -> None:
        if num_workers < 1 or retries < 0:
            raise EvolutionError(
                f"num_workers is {num_workers} and retries is {retries}; give at least 1 worker, "
                "and 0 retries or more"
            )
        self._retries = retries
        self._num_workers = num_workers
        self._slots = Slots([ProcessWorker() for _ in range(num_workers)])

    def share(self, value: T) -> Shared[T]:
        """Send a value to all workers, which are started for that.

        Raises:
            EvolutionError: naming the part, if it can't be sent; or if no worker can be started or
                can make it out.
        """
        parcel = Parcel.of(packed_for_workers(value, REMEDY))
        task = pack((arrived, ()))
        arrivals = [self._slots.submit(parcel, task, 0) for _ in range(self._num_workers)]
        try:
            for arrival in arrivals:
                arrival.result()
        except WorkerLostError as error:
            raise EvolutionError(
                f"no worker can be started: {error}. A script that workers import again has to "
                'have what it does under `if __name__ == "__main__":`'
            ) from error
        return Shared(parcel)

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """Run `task(value, *args)` as soon as a worker is free; task and args are sent to it."""
        return self._slots.submit(shared.handle, pack((task, args)), self._retries)

    def close(self) -> None:
        """End all workers, and with them what they are at."""
        self._slots.close()
