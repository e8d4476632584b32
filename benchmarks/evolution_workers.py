"""What workers bring to an evolution, and what a lost one takes from it.

python benchmarks/evolution_workers.py --data-dir PATH [--turns 5] [--tasks 6]

Throughput: the same stints of training on CIFAR-10 by a pool of one worker and by one of two, each
worker with one thread, in turns; the ratio of the times is kept for every turn. Nothing else should
run on the machine, which needs two cores.

Lost worker: a generation on a Ray cluster of two machines (both are this one), once undisturbed and
once with a worker that is killed (SIGKILL) in the middle of it. The fronts, with all weights, are
compared to the last bit.
"""

import argparse
import hashlib
import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import torch
from ablation import narrow
from provenance import keep, spread
from torch import Tensor, nn

from neuroexapt import LivingModel
from neuroexapt.evolution import (
    EvolutionConfig,
    Executor,
    Genome,
    MultiObjectiveArchitectureEvolution,
    ProcessPool,
    RayExecutor,
    Shared,
)
from neuroexapt.evolution.networks import Network
from neuroexapt.evolution.stint import Stint, train
from neuroexapt.evolution.world import World
from neuroexapt.training import (
    DataSplits,
    build_criterion,
    default_recipe,
    evaluation_batches,
    load,
    train_batches,
)

RECIPE = default_recipe("cifar10")
EPOCHS = 0.1
"""Of a stint, in the measurement of throughput."""
CONFIG = EvolutionConfig.model_validate(
    {
        "objectives": ("error", "macs"),
        "size": 4,
        "num_children": 3,
        "founding": 0.1,
        "rungs": (0.05,),
        "trained": 1,
        "recipe": RECIPE,
    }
)


class Killing(nn.Module):
    """A loss that kills the process that computes it, if it gets the file to itself.

    It waits for some calls first, so as to be in the middle of something.
    """

    def __init__(self, file: Path, calls: int) -> None:
        super().__init__()
        self.criterion = build_criterion(RECIPE)
        self.file, self.calls = file, calls

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        self.calls -= 1
        if self.calls < 0 and self.file.exists():
            with suppress(FileNotFoundError):  # another process has been quicker
                self.file.unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        loss: Tensor = self.criterion(outputs, targets)
        return loss


def seconds(pool: ProcessPool, world: Shared[World], genome: Genome, num_tasks: int) -> float:
    """Wall time of so many stints of training."""
    began = time.perf_counter()
    futures = [
        pool.submit(train, world, genome, Stint(EPOCHS, 0, seed=seed)) for seed in range(num_tasks)
    ]
    for future in futures:
        future.result()
    return time.perf_counter() - began


def throughput(data: DataSplits, turns: int, num_tasks: int) -> dict[str, Any]:
    """How many times as fast two workers are as one."""
    torch.manual_seed(0)
    batches = train_batches(data, RECIPE, seed=0)
    inputs, _ = next(iter(batches))
    seed = LivingModel(narrow(10, 3), inputs[:8])
    world = World(
        seed,
        batches,
        evaluation_batches(data, data.validation),
        build_criterion(RECIPE),
        CONFIG,
    )
    genome = Genome.of(seed)
    times: dict[int, list[float]] = {1: [], 2: []}
    with ProcessPool(1) as one, ProcessPool(2) as two:
        pools = {1: (one, one.share(world)), 2: (two, two.share(world))}
        for count, (pool, shared) in pools.items():  # what a process does at first takes longer
            seconds(pool, shared, genome, 2 * count)
        for turn in range(turns):
            for count in sorted(pools, reverse=bool(turn % 2)):
                times[count].append(seconds(*pools[count], genome, num_tasks))
            print("turn", turn, {count: round(known[-1], 2) for count, known in times.items()})
    ratios = [single / double for single, double in zip(times[1], times[2], strict=True)]
    return {
        "ratio": {"median": median(ratios), **spread(ratios)},
        "seconds_by_num_workers": {count: spread(known) for count, known in times.items()},
        "num_tasks": num_tasks,
        "threads_a_worker": CONFIG.threads,
        "epochs_a_task": EPOCHS,
    }


def front(
    data: DataSplits, executor: Executor, criterion: nn.Module, armed: Path | None = None
) -> tuple[MultiObjectiveArchitectureEvolution, list[Network]]:
    """An evolution of one generation; the criterion's file is there from its beginning on."""
    torch.manual_seed(0)
    evolution = MultiObjectiveArchitectureEvolution(
        narrow(10, 3),
        train_batches(data, RECIPE, seed=0),
        evaluation_batches(data, data.validation),
        CONFIG,
        executor,
        criterion,
    )
    population = evolution.found()
    if armed is not None:
        armed.touch()
    return evolution, evolution.front(evolution.evolve_generation(population))


def told(members: list[Network]) -> list[dict[str, Any]]:
    """What a front is, with a digest of all weights."""
    found = []
    for member in members:
        digest = hashlib.sha256()
        for name, value in member.genome.weights.items():
            digest.update(name.encode() + value.numpy().tobytes())
        found.append(
            {
                "name": member.name,
                "scores": dict(member.scores),
                "edits": [str(edit) for edit in member.genome.edits],
                "weights": digest.hexdigest()[:16],
            }
        )
    return found


def lost_worker(data: DataSplits) -> dict[str, Any]:
    """The front with and without a worker that is killed."""
    from ray.cluster_utils import Cluster

    os.environ.setdefault("RAY_worker_niceness", "0")  # else they yield to all other processes
    plain = build_criterion(RECIPE)
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    cluster.add_node(num_cpus=1)
    try:
        with tempfile.TemporaryDirectory() as folder, RayExecutor(address=cluster.address) as ray:
            _, undisturbed = front(data, ray, plain)
            file = Path(folder) / "kill"
            evolution, disturbed = front(data, ray, Killing(file, calls=20), file)
            was_killed = not file.exists()
    finally:
        cluster.shutdown()
    return {
        "machines": 2,
        "was_killed": was_killed,
        "lost_networks": [record.lost for record in evolution.history],
        "same_front": told(disturbed) == told(undisturbed),
        "front": told(disturbed),
        "undisturbed_front": told(undisturbed),
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=6, help="stints a turn; an even number")
    args = parser.parse_args()
    torch.set_num_threads(1)
    data = load("cifar10", args.data_dir)
    measured = {
        "throughput": throughput(data, args.turns, args.tasks),
        "lost_worker": lost_worker(data),
    }
    print(keep("evolution/workers", measured).read_text())


if __name__ == "__main__":
    main()
