"""Where an evolution's births and training happen, by its settings."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar, final

import torch

from neuroexapt.evolution.executors import Executor, InProcess, ProcessPool, RayExecutor, Shared
from neuroexapt.runs.evolution_config import EvolutionRunConfig

T = TypeVar("T")
R = TypeVar("R")


def build_executor(config: EvolutionRunConfig) -> Executor:
    """The executor that settings ask for.

    One worker means this process alone, or on a cluster as many as it has room for.

    Raises:
        EvolutionError: if Ray isn't installed, the cluster doesn't answer, or this machine, where
            it is the cluster, has less than a worker is to get.
    """
    workers = config.workers if config.workers > 1 else None
    if config.ray_address is not None:
        gpus = config.gpus_per_worker
        if gpus is None:
            gpus = float(torch.device(config.device).type == "cuda")
        return RayExecutor(workers, config.ray_address, num_gpus=gpus)
    return InProcess() if workers is None else ProcessPool(workers)


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
