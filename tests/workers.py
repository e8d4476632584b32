"""A tiny evolution, and tasks and models that fail in workers: where workers can import them."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.evolution import Executor, MultiObjectiveArchitectureEvolution, ProcessPool
from neuroexapt.evolution.networks import Network

SETTINGS: dict[str, Any] = {
    "objectives": ("error", "macs"),
    "size": 4,
    "num_children": 3,
    "rungs": (1.0,),
    "trained": 1,
    "crossover": 0.3,
    "num_samples": 32,
    "recipe": {"lr": 0.05, "batch_size": 32},
}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))


def batches(count: int = 4, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Are both coordinates on the same side?"""
    inputs = torch.randn(32 * count, 2, generator=torch.Generator().manual_seed(seed))
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    return list(zip(inputs.split(32), targets.split(32), strict=True))


def evolution(
    executor: Executor | None = None, criterion: Any = None, loader: Any = None, **settings: Any
) -> MultiObjectiveArchitectureEvolution:
    return MultiObjectiveArchitectureEvolution(
        model(),
        batches() if loader is None else loader,
        batches(2, seed=9),
        SETTINGS | settings,
        executor,
        criterion or nn.CrossEntropyLoss(),
    )


def evolved(of: MultiObjectiveArchitectureEvolution, generations: int = 1) -> list[Network]:
    population = of.found()
    for _ in range(generations):
        population = of.evolve_generation(population)
    return population


def told(population: list[Network]) -> list[Any]:
    """All of a population, for comparison to the last bit."""
    return [
        (m.name, m.scores, m.genome.edits, {k: v.tolist() for k, v in m.genome.weights.items()})
        for m in population
    ]


class Failing(nn.Module):
    """Cross-entropy that fails once for each file in a folder, whichever process finds it.

    Args:
        folder: that all processes see.
        calls: that go well first in each process.
    """

    def __init__(self, folder: Path, calls: int = 0) -> None:
        super().__init__()
        self.folder, self.calls = folder, calls

    def fail(self) -> None:
        raise NotImplementedError

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0 and claimed(self.folder):
            self.fail()
        return nn.functional.cross_entropy(outputs, targets)


class Dies(Failing):
    def fail(self) -> None:
        die()


class RunsOut(Failing):
    def fail(self) -> None:
        raise MemoryError("nothing left")


class Hoards(Failing):
    def fail(self) -> None:
        torch.empty(2**50, dtype=torch.uint8)


def arm(folder: Path, times: int = 1) -> None:
    """Let so many calls fail."""
    for number in range(times):
        (folder / str(number)).touch()


def claimed(folder: Path) -> bool:
    """Whether a file was there, which then is gone: only one process gets it."""
    for path in folder.iterdir():
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        return True
    return False


def die() -> None:
    """As by the kernel's hand, where memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


class Counted:
    """Tells how often it has been unpickled in a process."""

    times = 0

    def __getstate__(self) -> str:
        return "state"

    def __setstate__(self, _: str) -> None:
        Counted.times += 1


class CrookedError(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


def times(_: Counted) -> tuple[int, int]:
    time.sleep(0.05)
    return os.getpid(), Counted.times


def add(value: int, other: int) -> int:
    return value + other


def die_if_armed(value: int, folder: Path) -> int:
    if claimed(folder):
        die()
    return value


def run_out(_: int, folder: Path) -> None:
    if claimed(folder):
        raise MemoryError("nothing left")


def leave(_: int) -> None:
    sys.exit(3)


def complain(_: int, kind: str) -> Any:
    if kind == "type":
        raise TypeError("wrong type")
    if kind == "crooked":
        raise CrookedError(1, 2)
    if kind == "locked":
        raise RuntimeError(threading.Lock())
    return threading.Lock()


def machine(seconds: float) -> str:
    """Where a task runs on a Ray cluster, while others have to run elsewhere."""
    time.sleep(seconds)
    return str(import_module("ray").get_runtime_context().get_node_id())


def call(value: Callable[[int], int], other: int) -> int:
    return value(other)


def sleep(_: Any, seconds: float, folder: Path | None = None) -> None:
    """Sleep, having told which process does."""
    if folder is not None:
        (folder / str(os.getpid())).touch()
    time.sleep(seconds)


def nest(value: int, folder: Path) -> None:
    """Have another worker sleep, and tell of both."""
    (folder / str(os.getpid())).touch()
    with ProcessPool(1) as pool:
        pool.submit(sleep, pool.share(value), 600, folder).result()
