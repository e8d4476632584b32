"""What an evolution asks of an executor."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

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
    """Runs tasks, like one of `concurrent.futures`, with one value that they all share."""

    def share(self, value: T) -> Shared[T]:
        """Make a value known to all workers."""
        ...

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """Run `task(value, *args)`, with the shared value, as soon as a worker is free."""
        ...

    def close(self) -> None:
        """End all workers."""
        ...
