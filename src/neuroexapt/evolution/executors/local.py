"""Tasks in this process, one after the other."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

import torch

from neuroexapt.errors import NeuroexaptError
from neuroexapt.evolution.executors.base import Executor, Shared

T = TypeVar("T")
R = TypeVar("R")


class InProcess(Executor):
    """Runs each task where and when it is submitted."""

    def share(self, value: T) -> Shared[T]:
        """The value itself."""
        return Shared(value)

    def submit(self, task: Callable[..., R], shared: Shared[Any], *args: Any) -> Future[R]:
        """Run a task, now.

        Raises:
            Exception: what the task raised, if it is no failure that this library or a lack of
                memory explains: the code is wrong, and waiting for the result would hide where.
        """
        future: Future[R] = Future()
        try:
            future.set_result(task(shared.handle, *args))
        except (NeuroexaptError, MemoryError, torch.OutOfMemoryError) as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to end."""
