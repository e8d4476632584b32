"""Where an evolution's births and training happen, by its settings."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

from neuroexapt.errors import RunError
from neuroexapt.evolution.executors import Executor, InProcess, Shared

T = TypeVar("T")
R = TypeVar("R")


def build_executor(workers: int, ray_address: str | None) -> Executor:
    """The executor that settings ask for.

    Args:
        workers: processes; 1 for this one alone.
        ray_address: of a Ray cluster, or `local`; None for none.

    Raises:
        RunError: if there is none of that kind.
    """
    if workers == 1 and ray_address is None:
        return InProcess()
    raise RunError(
        "only this process can breed and train so far; leave out workers and ray_address"
    )


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
