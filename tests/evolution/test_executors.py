"""Executors of this machine: equal results, lost workers, memory, what can't be sent, the end."""

import os
import re
import signal
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import workers
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt.errors import EvolutionError, TaskError, TrainingError, WorkerLostError
from neuroexapt.evolution import InProcess, MultiObjectiveArchitectureEvolution, ProcessPool
from neuroexapt.evolution.executors.parcel import Parcel
from neuroexapt.evolution.executors.slots import Slots, Worker
from neuroexapt.graph import LivingModel

TESTS = Path(workers.__file__).parent


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPool]:
    with ProcessPool(2) as made:
        yield made


@pytest.fixture(scope="module")
def fragile() -> Iterator[ProcessPool]:
    with ProcessPool(1, retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def expected() -> list[Any]:
    """What an evolution comes to in this process."""
    return workers.told(workers.evolved(workers.evolution()))


def test_an_evolution_comes_to_the_same_in_other_processes(
    pool: ProcessPool, expected: list[Any]
) -> None:
    assert workers.told(workers.evolved(workers.evolution(pool))) == expected


def shuffling(generator: torch.Generator | None) -> DataLoader[Any]:
    inputs, targets = (torch.cat(parts) for parts in zip(*workers.batches(), strict=True))
    return DataLoader(TensorDataset(inputs, targets), 32, shuffle=True, generator=generator)


@pytest.mark.parametrize("own", [False, True], ids=["the process's generator", "its own"])
def test_an_evolution_over_a_loader_that_shuffles_comes_to_the_same_in_other_processes(
    pool: ProcessPool, own: bool
) -> None:
    here, there = (
        workers.told(
            workers.evolved(
                workers.evolution(
                    executor, loader=shuffling(torch.Generator().manual_seed(5) if own else None)
                )
            )
        )
        for executor in (None, pool)
    )
    assert here == there


def test_a_killed_worker_changes_nothing(
    pool: ProcessPool, expected: list[Any], tmp_path: Path
) -> None:
    of = workers.evolution(pool, workers.Dies(tmp_path, calls=10))
    workers.arm(tmp_path)
    assert workers.told(workers.evolved(of)) == expected
    assert not list(tmp_path.iterdir())
    assert all(record.lost == {} for record in of.history)


@pytest.mark.parametrize(
    ("criterion", "reason"),
    [
        (workers.RunsOut, "MemoryError: nothing left"),
        (workers.Hoards, "MemoryError: .*can't allocate memory"),
        (workers.Dies, "WorkerLostError: .* killed by signal 9 .* use fewer workers"),
    ],
)
def test_a_network_without_memory_is_lost_and_evolution_goes_on(
    fragile: ProcessPool, criterion: type[workers.Failing], reason: str, tmp_path: Path
) -> None:
    of = workers.evolution(fragile, criterion(tmp_path), trained=0)
    founder = of.found()
    workers.arm(tmp_path)
    population = of.evolve_generation(founder)
    ((name, why),) = of.history[-1].lost.items()
    assert re.match(reason, why)
    assert name not in {member.name for member in population}
    assert len(population) > 1


def test_a_lost_worker_costs_its_task_only(fragile: ProcessPool, tmp_path: Path) -> None:
    workers.arm(tmp_path)
    shared = fragile.share(3)
    before = fragile.submit(workers.add, shared, 1)
    lost = fragile.submit(workers.die_if_armed, shared, tmp_path)
    after = fragile.submit(workers.add, shared, 2)
    assert (before.result(), after.result()) == (4, 5)
    with pytest.raises(WorkerLostError, match=r"at each of 1 tries; .* killed by signal 9"):
        lost.result()


def test_a_worker_that_leaves_is_told_with_its_exit_code(fragile: ProcessPool) -> None:
    with pytest.raises(WorkerLostError, match="exit code 3"):
        fragile.submit(workers.leave, fragile.share(3)).result()


def test_a_task_out_of_memory_is_not_begun_again(pool: ProcessPool, tmp_path: Path) -> None:
    workers.arm(tmp_path, times=2)
    with pytest.raises(MemoryError, match="nothing left"):
        pool.submit(workers.run_out, pool.share(3), tmp_path).result()
    assert len(list(tmp_path.iterdir())) == 1


class Hopeless(Worker):
    """Lost at each task."""

    def __init__(self) -> None:
        self.tries = 0

    def run(self, parcel: Parcel, job: bytes) -> bytes:
        self.tries += 1
        raise WorkerLostError(f"was lost for the {self.tries}. time")

    def stop(self) -> None:
        pass

    def retire(self) -> None:
        pass


@pytest.mark.parametrize("retries", [0, 3])
def test_a_task_is_begun_again_so_often_and_not_more(retries: int) -> None:
    worker = Hopeless()
    slots = Slots([worker])
    lost = slots.submit(Parcel.of(b""), b"", retries).exception()
    slots.close()
    assert worker.tries == retries + 1
    assert re.search(rf"each of {retries + 1} tries; .* for the {retries + 1}\. time", str(lost))


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("type", TypeError, "wrong type"),
        ("crooked", TaskError, r"can't be sent:\nTraceback(.|\n)* in complain(.|\n)*1 and 2"),
        ("locked", TaskError, r"can't be sent:\nTraceback(.|\n)* in complain(.|\n)*RuntimeError"),
        ("result", TypeError, "cannot pickle"),
    ],
)
def test_what_a_task_raises_arrives(
    pool: ProcessPool, kind: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        pool.submit(workers.complain, pool.share(3), kind).result()
    notes = getattr(caught.value, "__notes__", ["in complain"])
    assert kind == "result" or "in complain" in notes[0]


def test_what_tasks_share_is_sent_once(pool: ProcessPool) -> None:
    shared = pool.share(workers.Counted())
    found = {pool.submit(workers.times, shared).result() for _ in range(6)}
    futures = [pool.submit(workers.times, shared) for _ in range(6)]
    found |= {future.result() for future in futures}
    assert {count for _, count in found} == {1}
    assert len(found) == 2
    assert os.getpid() not in {pid for pid, _ in found}


def test_views_of_one_tensor_are_sent_once(pool: ProcessPool) -> None:
    shared = pool.share(list(torch.zeros(4096, 64).split(1)))
    assert len(shared.handle.content) < 2 * 4096 * 64 * 4


def kept_whole() -> LivingModel:
    class Local(nn.Linear):
        """Found by nobody outside of this function."""

    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), Local(3, 2))
    return LivingModel(model, torch.zeros(2, 2), leaves=(Local,))


def collated() -> DataLoader[Any]:
    data = TensorDataset(*(torch.cat(part) for part in zip(*workers.batches(), strict=True)))
    return DataLoader(data, 32, collate_fn=lambda rows: torch.utils.data.default_collate(rows))


class Drawn(list[Any]):
    """Batches that remember the generator which they were drawn from."""

    def __init__(self) -> None:
        super().__init__(workers.batches())
        self.source = (batch for batch in self)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"criterion": lambda a, b: nn.functional.cross_entropy(a, b)}, r"criterion \(<lambda>\)"),
        ({"model": kept_whole}, r"seed \(LivingModel\) .*Local"),
        ({"train_loader": Drawn}, r"train \(Drawn\) .*generator"),
        ({"val_loader": collated}, r"validation \(DataLoader\) .*<lambda>"),
        ({"val_loader": collated, "train_loader": Drawn}, r"train \(.*\) and validation \(.*\) "),
    ],
)
def test_what_cannot_be_sent_is_named(
    pool: ProcessPool, parts: dict[str, Callable[..., Any]], message: str
) -> None:
    given: dict[str, Any] = {
        "model": workers.model(),
        "train_loader": workers.batches(),
        "val_loader": workers.batches(2),
        "config": workers.SETTINGS,
    }
    made = {name: part if name == "criterion" else part() for name, part in parts.items()}
    with pytest.raises(EvolutionError, match=message + r"(.|\n)*top level of a module"):
        MultiObjectiveArchitectureEvolution(**given | made, executor=pool)
    assert MultiObjectiveArchitectureEvolution(**given | made).found()


def test_what_a_worker_cannot_make_out_is_told(
    pool: ProcessPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = types.ModuleType("only_here")
    exec("class Value: pass", here.__dict__)
    monkeypatch.setitem(sys.modules, "only_here", here)
    with pytest.raises(EvolutionError, match=r"make out .* No module named 'only_here'.* a module"):
        pool.share(here.Value())


@pytest.mark.parametrize(("num_workers", "retries"), [(0, 1), (1, -1)])
def test_a_pool_that_cannot_be_is_told(num_workers: int, retries: int) -> None:
    with pytest.raises(EvolutionError, match="at least 1 worker, and 0 retries or more"):
        ProcessPool(num_workers, retries)


def test_tasks_compute_with_so_many_threads_and_no_others() -> None:
    seen = []

    class Watching(nn.CrossEntropyLoss):
        def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
            seen.append(torch.get_num_threads())
            return super().forward(outputs, targets)

    before = torch.get_num_threads()
    of = workers.evolution(criterion=Watching(), threads=before + 1)
    seen.clear()
    of.evolve_generation(of.found())
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_in_process_failures_wait_and_wrong_code_does_not() -> None:
    executor = InProcess()
    shared = executor.share(3)

    def fail(_: int, error: Exception) -> None:
        raise error

    for error in (TrainingError("loss"), MemoryError(), torch.OutOfMemoryError()):
        assert executor.submit(fail, shared, error).exception() is error
    for error in (TypeError("wrong"), RuntimeError("shapes"), KeyError("name")):
        with pytest.raises(type(error)):
            executor.submit(fail, shared, error)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def test_closing_ends_workers_and_what_these_have_begun(tmp_path: Path) -> None:
    with ProcessPool(1) as pool:
        shared = pool.share(3)
        running, waiting = (pool.submit(workers.nest, shared, tmp_path) for _ in range(2))
        both = wait_for(lambda: found if len(found := pids(tmp_path)) == 2 else [])
    wait_for(lambda: not any(map(alive, both)))
    assert waiting.cancelled()
    assert isinstance(running.exception(), WorkerLostError)
    pool.close()
    with pytest.raises(EvolutionError, match="closed; make another one"):
        pool.submit(workers.add, shared, 4)


def test_a_script_without_a_guard_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "bare.py"
    script.write_text("from neuroexapt.evolution import ProcessPool\nProcessPool(1).share(3)")
    monkeypatch.setattr("__main__.__file__", str(script), raising=False)
    monkeypatch.setattr("__main__.__spec__", None)
    with (
        ProcessPool(1) as pool,
        pytest.raises(EvolutionError, match=r'no worker .* under `if __name__ == "__main__":`'),
    ):
        pool.share(3)


GUARDED = """
import pathlib, sys, workers
from torch import nn
from neuroexapt.evolution import ProcessPool, RayExecutor

class Loss(nn.CrossEntropyLoss):
    pass

if __name__ == "__main__":
    pool = ProcessPool(1)
    of = workers.evolution(pool, Loss())
    of.found()
    future = pool.submit(workers.sleep, of._shared, 600, pathlib.Path(sys.argv[0]).with_suffix(""))
    assert "ray" not in sys.modules, "imported for nothing"
    future.result()
"""


def test_workers_end_with_a_script_that_is_interrupted(tmp_path: Path) -> None:
    (tmp_path / "guarded").mkdir()
    script = tmp_path / "guarded.py"
    script.write_text(GUARDED)
    running = subprocess.Popen(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(TESTS)])},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    (pid,) = wait_for(lambda: pids(tmp_path / "guarded"))
    # Ctrl-C reaches all processes of a terminal; they leave it to the first one.
    os.killpg(running.pid, signal.SIGINT)
    _, told = running.communicate(timeout=120)
    wait_for(lambda: not alive(pid))
    assert running.returncode == -signal.SIGINT
    assert told.count("Traceback") == 1, told
