"""Evolution in NAS-Bench-201's space by looking cells up in the benchmark's table: no training.

python benchmarks/evolution_nasbench201.py TABLE [--first-seed S] [--seeds N] [--dry]

Each arm may look up 500 different cells; a cell that is looked up again costs nothing. It looks at
what it is scored by, as the problem has it: the test error on CIFAR-10 after 200 epochs (mean over
the benchmark's seeds), and multiply-accumulates. The score is the share of the box between the
smallest error and MACs of the table, and 15 % and the largest MACs, that is dominated by what was
looked up. The whole table's front comes to 0.91501 by that.

evolution            this library's: NSGA-II whose parents are the front, children one change away
                     that nobody tried yet, cells without their idle edges
- population         the same, but all of the population may be parents
- with_idle_edges    the same as evolution, but each way to write a cell is a cell of its own
pymoo                its NSGA-II with its own operators for integers
random               cells evenly drawn

The settings of evolution and pymoo were chosen on seeds from 100 on, never on 0 to 9: 100 to 199,
1000 to 1039 and 2000 to 2039, by the table that is scored by. Writes nasbench201.json and the key
"nasbench201" of summary.json in benchmarks/results/evolution; with --dry, nothing.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from provenance import RESULTS, keep, spread
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.operators.crossover.sbx import SBX
from pymoo.operators.mutation.pm import PM
from pymoo.operators.repair.rounding import RoundingRepair
from pymoo.operators.sampling.rnd import IntegerRandomSampling

from neuroexapt.evolution import Choices, Selection, hypervolume, renewed
from neuroexapt.search import NASBench201
from neuroexapt.search.operations import NASBENCH201_OPERATIONS
from neuroexapt.search.table import EDGES, without_idle, write_cell

LOOK_UPS = 500
OBJECTIVES = ("error", "macs")
IDEAL, REFERENCE = (5.6267, 7.78305e6), (15.0, 220.11969e6)
"""Error in percent, and MACs."""
FIRST, SIZE, CHILDREN = 50, 30, 5
PYMOO_SIZE = 20
"""Of 20, 50 and 100 the best for it, as are these operators' settings."""


@dataclass
class LookUps:
    """The table, and what was looked up in it so far: cell -> error and MACs."""

    table: NASBench201
    found: dict[str, tuple[float, float]] = field(default_factory=dict)

    def scores(self, operations: Iterable[str]) -> dict[str, float]:
        """Look a cell up, edge by edge."""
        cell = write_cell(dict(zip(EDGES, operations, strict=True)))
        row = self.table[cell]
        point = 100 * (1 - row.test), row.macs
        self.found[cell] = point
        return dict(zip(OBJECTIVES, point, strict=True))

    @property
    def left(self) -> int:
        """How many more are allowed."""
        return LOOK_UPS - len(self.found)


def plain(operations: tuple[str, ...]) -> tuple[str, ...]:
    """A cell's operations without those that have no part in its output."""
    cell = without_idle(dict(zip(EDGES, operations, strict=True)))
    return tuple(cell[edge] for edge in EDGES)


def evolution(
    looked: LookUps, seed: int, parents: str = "front", simplest: Callable[..., Any] = plain
) -> None:
    """This library's evolution."""
    breeding = Choices([NASBENCH201_OPERATIONS] * len(EDGES), looked.scores, simplest)
    population, generation = breeding.drawn(FIRST, seed), 0
    while looked.left:
        selection = Selection(
            objectives=OBJECTIVES,
            size=SIZE,
            num_children=min(CHILDREN, looked.left),
            parents=parents,
        )
        population, _ = renewed(population, breeding, selection, 10_000 * seed + generation)
        generation += 1


def pymoo(looked: LookUps, seed: int) -> None:
    """Plain NSGA-II: operations as whole numbers."""
    names, repair = NASBENCH201_OPERATIONS, RoundingRepair()
    algorithm = NSGA2(
        pop_size=PYMOO_SIZE,
        sampling=IntegerRandomSampling(),
        crossover=SBX(eta=15, prob=0.9, vtype=float, repair=repair),
        mutation=PM(eta=20, vtype=float, repair=repair),
    )
    problem = Problem(n_var=len(EDGES), n_obj=2, xl=0, xu=len(names) - 1, vtype=int)
    algorithm.setup(problem, seed=seed)
    while looked.left:
        asked = algorithm.ask()
        points = []
        for numbers in asked.get("X"):
            scores = looked.scores(names[int(number)] for number in numbers)
            points.append([scores[name] for name in OBJECTIVES])
            if not looked.left:
                return
        asked.set("F", np.array(points))
        for member in asked:
            member.evaluated.add("F")
        algorithm.tell(infills=asked)


def random(looked: LookUps, seed: int) -> None:
    """Cells evenly drawn."""
    generator = np.random.default_rng(seed)
    while looked.left:
        looked.scores(str(name) for name in generator.choice(NASBENCH201_OPERATIONS, len(EDGES)))


ARMS: Mapping[str, Callable[[LookUps, int], None]] = {
    "evolution": evolution,
    "population": lambda looked, seed: evolution(looked, seed, parents="population"),
    "with_idle_edges": lambda looked, seed: evolution(looked, seed, simplest=lambda cell: cell),
    "pymoo": pymoo,
    "random": random,
}


def dominated(points: Iterable[tuple[float, float]]) -> float:
    """The hypervolume of what was looked up."""
    return hypervolume(np.array(list(points)), IDEAL, REFERENCE)


def front(found: Mapping[str, tuple[float, float]]) -> list[dict[str, Any]]:
    """The cells that no other one beats in both, by rising MACs."""
    kept: list[dict[str, Any]] = []
    for cell, (error, macs) in sorted(found.items(), key=lambda item: item[1][::-1]):
        if not kept or error < kept[-1]["error"]:
            kept.append({"cell": cell, "error": error, "macs": macs})
    return kept


def measured(arm: str, seed: int, table: NASBench201) -> dict[str, Any]:
    """One run."""
    looked = LookUps(table)
    ARMS[arm](looked, seed)
    assert len(looked.found) == LOOK_UPS, "each arm spends all of them, and no more"
    told = {"seed": seed, "hypervolume": dominated(looked.found.values())}
    print(arm, seed, f"{told['hypervolume']:.5f}", flush=True)
    return told | {"front": front(looked.found)}


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", type=Path, help="NAS-Bench-201 as CSV")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--dry", action="store_true", help="write nothing")
    args = parser.parse_args()
    table = NASBench201(args.table)
    everything = LookUps(table)
    for cell in table:
        row = table[cell]
        everything.found[cell] = 100 * (1 - row.test), row.macs
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    runs = {arm: [measured(arm, seed, table) for seed in seeds] for arm in ARMS}
    sums = {arm: spread([run["hypervolume"] for run in found]) for arm, found in runs.items()}
    true = dominated(everything.found.values())
    for arm, item in sums.items():
        print(f"{arm:16} {item['mean']:.4f} +- {item['std']:.4f}, at least {item['min']:.4f}")
    print(f"{'whole table':16} {true:.5f}")
    if args.dry:
        return
    told = {
        "look_ups": LOOK_UPS,
        "objectives": "CIFAR-10 test error in percent after 200 epochs, MACs",
        "ideal": IDEAL,
        "reference": REFERENCE,
        "true_front": {"hypervolume": true, "front": front(everything.found)},
        "arms": {arm: sums[arm] | {"runs": runs[arm]} for arm in ARMS},
    }
    keep("evolution/nasbench201", told)
    path = RESULTS / "evolution" / "summary.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    rest = {arm: sums[arm]["mean"] for arm in ARMS if arm != "evolution"}
    mine = {"hypervolume": sums["evolution"], **rest, "true_front": true}
    path.write_text(json.dumps(known | {"nasbench201": mine}, indent=1) + "\n")


if __name__ == "__main__":
    main()
