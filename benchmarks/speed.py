"""How long seeing and changing a large network takes.

python benchmarks/speed.py [--repeats 7]
"""

import argparse
import time
from collections.abc import Callable

import torch
from provenance import keep, spread
from resnet import resnet50, resnet152

from neuroexapt import LivingModel, Split, Widen


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def coupling_seconds(repeats: int) -> dict[str, float | int]:
    """Shapes and channel groups of a ResNet-152, from the traced graph on."""
    x = torch.zeros(1, 3, 224, 224)
    times = []
    for _ in range(repeats):
        living = LivingModel(resnet152(), x)
        times.append(seconds(lambda living=living: living.groups))
    return spread(times)


def edit_seconds(repeats: int, check: bool, kind: str) -> dict[str, float | int]:
    """One edit of a ResNet-50 with momentum, its groups known."""
    living = LivingModel(resnet50(), torch.zeros(2, 3, 64, 64))
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1, momentum=0.9)
    times = []
    for repeat in range(repeats):
        group = f"layer3.{repeat % 6}.conv2"
        assert living.group(group).frozen is None
        edit = Widen(group=group, count=8) if kind == "widen" else Split(group=group, units=(0, 5))
        times.append(seconds(lambda edit=edit: living.apply(edit, optimizer, check=check)))
    return spread(times)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    measured = {
        "resnet152_coupling_s": coupling_seconds(repeats),
        "resnet50_widen_unchecked_s": edit_seconds(repeats, check=False, kind="widen"),
        "resnet50_widen_checked_s": edit_seconds(repeats, check=True, kind="widen"),
        "resnet50_split_checked_s": edit_seconds(repeats, check=True, kind="split"),
    }
    path = keep("speed", measured)
    print(path.read_text())


if __name__ == "__main__":
    main()
