"""What an evolution asks of an executor."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Shared(Generic[T]):
    """What all tasks of an evolution are given, sent to each worker once.

    Attributes:
        handle: by which an executor's workers find it.
    """

    handle: Any


class Executor(Protocol):
    """Runs tasks, like one of `concurrent.futures`, with one value that they all share.

    It can be used in a `with` statement, which closes it.
    """

    def share(self, value: T) -> Shared[T]:
        """Make a value known to all workers.

        Raises:
            EvolutionError: naming the part, if it can't be sent to them.
        """
        ...

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """Run `task(value, *args)`, with the shared value, as soon as a worker is free.

        Returns:
            What will have the task's result, or what the task raised; `WorkerLostError` if its
            worker was lost.
        """
        ...

    def close(self) -> None:
        """End all workers, and with them what they are at."""
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
