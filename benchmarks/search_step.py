"""What a step of sampled search takes, against a step of the network that is drawn.

python benchmarks/search_step.py [--draws 6]

For evenly drawn networks of both spaces: training steps of the network with all its operations, of
which only the drawn ones run, and of the plain network derived from the same draw, in turns in one
process on one thread. The ratio of the fastest of each is kept for every draw.
"""

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median

import torch
from provenance import keep, spread
from torch import Tensor, nn

from neuroexapt.search import aso_se, decisions, derive, explore, nasbench201

TURNS, BATCH, SIDE = 8, 64, 32
SPACES: dict[str, Callable[[], nn.Module]] = {
    "aso-se": lambda: aso_se(channels=16),
    "nasbench201": lambda: nasbench201(channels=8, cells_a_stage=1),
}


def step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: tuple[Tensor, Tensor]
) -> float:
    """Seconds of one training step."""
    began = time.perf_counter()
    loss = nn.functional.cross_entropy(network(batch[0]), batch[1])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return time.perf_counter() - began


def ratio(build: Callable[[], nn.Module], draw: int) -> float:
    """How many times as long a step of the search takes, for one draw."""
    torch.manual_seed(draw)
    network = build()
    explore(network, torch.Generator().manual_seed(draw))
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for decision in decisions(twin).values():
            decision.alpha[decision.active[0]] += 9.0
    both = [network.train(), derive(twin).train()]
    optimizers = [torch.optim.SGD(one.parameters(), lr=0.01, momentum=0.9) for one in both]
    batch = torch.randn(BATCH, 3, SIDE, SIDE), torch.randint(10, (BATCH,))
    times = [
        [step(*one, batch) for one in zip(both, optimizers, strict=True)] for _ in range(TURNS)
    ]
    fastest = [min(column) for column in zip(*times, strict=True)]
    return fastest[0] / fastest[1]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=6)
    args = parser.parse_args()
    torch.set_num_threads(1)
    measured = {}
    for name, build in SPACES.items():
        ratios = [ratio(build, draw) for draw in range(args.draws)]
        measured[name] = {"median": median(ratios), **spread(ratios)}
        print(name, measured[name])
    keep("search_step", {"ratio": measured, "batch": BATCH, "side": SIDE})


if __name__ == "__main__":
    main()
