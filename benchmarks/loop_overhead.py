"""How much of the bare step's throughput the training loop keeps.

python benchmarks/loop_overhead.py [--images 6000] [--blocks 5] [--threads 1]

Blocks of the loop and of bare steps alternate in one process. The ratios of their median and of
their shortest times are taken; where the machine does other work besides, the latter tells more,
since that only ever makes times longer. The loop draws, shifts and mirrors images, sets learning
rates, counts FLOPs and checks losses and gradients; a bare step is forward, backward and the
optimiser's step on batches that lie ready. Validation is no part of either. An epoch of CIFAR-10 is
seven times as long as one of 6,000 images, over which what the loop does once an epoch weighs more
than it would there.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from provenance import keep
from torch import Tensor, nn

from neuroexapt import LivingModel
from neuroexapt.growth import Loop
from neuroexapt.training import (
    RECIPES,
    DataSplits,
    ImageSet,
    Recipe,
    airbench,
    build_criterion,
    build_model,
    build_optimizer,
    default_recipe,
    evaluation_batches,
    first_batch,
    train_batches,
    whiten_first_,
)

CLASSES = tuple("0123456789")


def splits(num_images: int) -> DataSplits:
    """Noise of CIFAR-10's shape: what is learnt makes no difference to the time."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (num_images, 3, 32, 32), generator=generator, dtype=torch.uint8)
    labels = torch.randint(10, (num_images,), generator=generator)
    train = ImageSet(images, labels, CLASSES)
    few = train.select(torch.arange(2))
    return DataSplits("noise", train, few, lambda: few)


def resnet() -> nn.Module:
    """The residual network that grown runs may begin with."""
    return build_model("resnet", num_classes=10, in_channels=3, image_size=(32, 32))


CASES: dict[str, tuple[Callable[[], nn.Module], Recipe]] = {
    "airbench-16": (lambda: airbench(10, 3, width=16), RECIPES["airbench"]),
    "airbench-32": (lambda: airbench(10, 3, width=32), RECIPES["airbench"]),
    "resnet": (resnet, default_recipe("cifar10")),
}


def seconds(run: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def bare(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    batches: list[tuple[Tensor, Tensor]],
) -> None:
    """Forward, backward and step, batch by batch."""
    model.train()
    for inputs, targets in batches:
        optimizer.zero_grad()
        criterion(model(inputs), targets).backward()
        optimizer.step()


def measure(name: str, num_images: int, num_blocks: int) -> dict[str, Any]:
    """Alternate the two on one network."""
    make, recipe = CASES[name]
    torch.manual_seed(0)
    data = splits(num_images)
    model = make()
    whiten_first_(model, data)
    train = train_batches(data, recipe, seed=0)
    validation = evaluation_batches(data, data.validation, channels_last=recipe.channels_last)
    living = LivingModel(model, first_batch(train)[0][:2])
    optimizer, criterion = build_optimizer(living, recipe), build_criterion(recipe)
    loop = Loop(living, optimizer, criterion, recipe, epochs=10**6)
    ready = [(inputs.clone(), targets.clone()) for inputs, targets in train]
    loops, bares = [], []
    for block in range(num_blocks + 1):
        looped = seconds(lambda: loop.run_epoch(train, validation))
        stepped = seconds(lambda: bare(living, optimizer, criterion, ready))
        if block:  # the first warms up
            loops.append(looped)
            bares.append(stepped)
    found: dict[str, Any] = {"batch_size": recipe.batch_size, "steps": len(ready), "n": num_blocks}
    for place, clock in enumerate(("wall", "cpu")):
        one = [times[place] / len(ready) for times in loops]
        other = [times[place] / len(ready) for times in bares]
        found[clock] = {
            "loop_s": one,
            "bare_s": other,
            "kept_by_median": statistics.median(other) / statistics.median(one),
            "kept_at_best": min(other) / min(one),
        }
    return found


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=6000)
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=CASES, help="one of the networks")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    names = [given.only] if given.only else list(CASES)
    path = keep(
        "loop_overhead", {name: measure(name, given.images, given.blocks) for name in names}
    )
    print(path.read_text())


if __name__ == "__main__":
    main()
