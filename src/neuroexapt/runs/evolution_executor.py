"""Where an evolution's births and training happen, by its settings."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

from neuroexapt.evolution.executors import Executor, InProcess, ProcessPool, RayExecutor, Shared

T = TypeVar("T")
R = TypeVar("R")


def build_executor(workers: int, ray_address: str | None) -> Executor:
    """The executor that settings ask for.

    Args:
        workers: processes; 1 for this one alone, or for as many as the cluster has room for.
        ray_address: of a Ray cluster, or `local`; None for none.

    Raises:
        EvolutionError: if Ray isn't installed, or the cluster doesn't answer.
    """
    if ray_address is not None:
        return RayExecutor(workers if workers > 1 else None, ray_address)
    return ProcessPool(workers) if workers > 1 else InProcess()


@final
class Watched(Executor):
    """An executor that tells of each task that is done; otherwise as it is.

    Args:
        executor: runs the tasks.

    Attributes:
        on_done: is given a task's name, maybe on another thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.on_done: Callable[[str], None] = lambda _name: None

    def share(self, value: T) -> Shared[T]:
        """As the executor's."""
        return self._executor.share(value)

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """As the executor's."""
        future = self._executor.submit(task, shared, *args)
        future.add_done_callback(lambda _future: self.on_done(task.__name__))
        return future

    def close(self) -> None:
        """As the executor's."""
        self._executor.close()
