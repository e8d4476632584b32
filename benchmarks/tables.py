"""Do small networks grow on tables as far as it pays, and no further? With `Grower` as it comes.

python benchmarks/tables.py [--seeds 3] [--only TABLE] [--arm ARM]

A network of two layers of eight units is trained on each table by Adam for 60 epochs, the learning
rate falling to zero: as it is, grown in its own loop with default settings and no budget but of
parameters (16 times the seed's), the same with all groups widened alike, and with four times the
units. Half of the table is trained on, a quarter tells growth its held-out loss, and on the last
quarter, at the end, the network is measured as it was when that was lowest. `--arm` leaves the
other ways as they were measured.
"""

import argparse
import copy
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from provenance import RESULTS, keep, spread
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    make_friedman1,
    make_multilabel_classification,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt import Budget, Grower, LivingModel

EPOCHS = 60
BATCH = 64
RATE = 5e-3
WIDTH = 8
TIMES = 4
"""By how much the fixed network is wider."""
ROOM = 16
"""By how much the grown network may have more parameters than its seed."""
ROWS = 6000
"""Of tables that are made up."""


@dataclass(frozen=True)
class Table:
    """Inputs, targets, and what is to be made of them.

    Attributes:
        inputs: of shape (rows, columns), standardised.
        targets: one a row: classes, or of shape (rows, outputs).
        outputs: how many a network has.
        criterion: outputs and targets to a mean loss.
    """

    inputs: Tensor
    targets: Tensor
    outputs: int
    criterion: nn.Module

    @classmethod
    def of(cls, inputs: np.ndarray, targets: np.ndarray, outputs: int, loss: nn.Module) -> "Table":
        """From NumPy's arrays."""
        scaled = (inputs - inputs.mean(0)) / (inputs.std(0) + 1e-9)
        kind = torch.long if isinstance(loss, nn.CrossEntropyLoss) else torch.float
        return cls(torch.tensor(scaled).float(), torch.tensor(targets).to(kind), outputs, loss)

    def parts(self) -> tuple[TensorDataset, TensorDataset, TensorDataset]:
        """For training, for growth to go by, and for the end."""
        order = torch.randperm(len(self.inputs), generator=torch.Generator().manual_seed(0))
        half, quarter = len(order) // 2, len(order) // 4
        cut = order.split([half, quarter, len(order) - half - quarter])
        return tuple(TensorDataset(self.inputs[rows], self.targets[rows]) for rows in cut)  # type: ignore[return-value]


def _friedman() -> Table:
    """Ten columns of which five matter; Friedman 1991, doi:10.1214/aos/1176347963."""
    inputs, targets = make_friedman1(ROWS, noise=0.5, random_state=0)
    return Table.of(inputs, _standard(targets), 1, nn.MSELoss())


def _labels() -> Table:
    inputs, targets = make_multilabel_classification(
        ROWS, n_features=20, n_classes=5, random_state=0
    )
    return Table.of(inputs, targets, 5, nn.BCEWithLogitsLoss())


def _products() -> Table:
    """Of each of two pairs of columns, whether the signs are equal."""
    inputs = np.random.default_rng(0).normal(size=(ROWS, 10))
    signs = inputs[:, :4:2] * inputs[:, 1:4:2] > 0
    return Table.of(inputs, 2 * signs[:, 0] + signs[:, 1], 4, nn.CrossEntropyLoss())


def _digits() -> Table:
    found = load_digits()
    return Table.of(found.data, found.target, 10, nn.CrossEntropyLoss())


def _cancer() -> Table:
    found = load_breast_cancer()
    return Table.of(found.data, found.target, 2, nn.CrossEntropyLoss())


def _diabetes() -> Table:
    found = load_diabetes()
    return Table.of(found.data, _standard(found.target), 1, nn.MSELoss())


def _standard(targets: np.ndarray) -> np.ndarray:
    return ((targets - targets.mean()) / targets.std())[:, None]


TABLES: Mapping[str, Callable[[], Table]] = {
    "friedman": _friedman,
    "labels": _labels,
    "products": _products,
    "digits": _digits,
    "cancer": _cancer,
    "diabetes": _diabetes,
}


def network(table: Table, width: int) -> nn.Module:
    """Two layers of so many units."""
    return nn.Sequential(
        nn.Linear(table.inputs.shape[1], width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, table.outputs),
    )


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        width: units of each layer at first.
        policy: by which it grows; None for not at all.
    """

    width: int
    policy: str | None = None


ARMS: Mapping[str, Arm] = {
    "seed": Arm(WIDTH),
    "wide": Arm(TIMES * WIDTH),
    "grown": Arm(WIDTH, "arbiter"),
    "uniform": Arm(WIDTH, "uniform"),
}


def run(table: Table, arm: Arm, seed: int) -> dict[str, Any]:
    """Train one network."""
    train, held_out, test = table.parts()
    torch.manual_seed(seed)
    living = LivingModel(network(table, arm.width), table.inputs[:2])
    optimizer = torch.optim.Adam(living.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 - epoch / EPOCHS)
    budget = Budget(params=ROOM * living.cost().params)
    grower = None
    if arm.policy is not None:
        config = {"policy": arm.policy}
        grower = Grower(living, optimizer, table.criterion, budget, config, seed)
    loader = DataLoader(train, batch_size=BATCH, shuffle=True)
    best, lowest = living, math.inf
    for epoch in range(EPOCHS):
        for inputs, targets in loader:
            optimizer.zero_grad()
            table.criterion(living(inputs), targets).backward()
            optimizer.step()
        schedule.step()
        loss = loss_on(living, table, held_out)
        if loss < lowest:
            best, lowest = copy.deepcopy(living), loss
        if grower is not None:
            grower.step(loader, metric=-loss, loss=loss, progress=(epoch + 1) / EPOCHS)
    return {
        "seed": seed,
        "held_out_loss": lowest,
        "test_loss": loss_on(best, table, test),
        "last_test_loss": loss_on(living, table, test),
        "params": best.cost().params,
        "last_params": living.cost().params,
        "edits": [] if grower is None else [told(growth) for growth in grower.growths],
        "stopped": None if grower is None else grower.stopped,
    }


def told(growth: Any) -> dict[str, Any]:
    """What is kept of an edit."""
    return {
        "epoch": growth.epoch,
        "edit": str(growth.edit),
        "kind": growth.edit.kind,
        "predicted": growth.predicted,
        "saved": growth.saved,
    }


def loss_on(living: LivingModel, table: Table, part: TensorDataset) -> float:
    """Of a part that isn't trained on."""
    inputs, targets = part.tensors
    living.eval()
    with torch.no_grad():
        loss = table.criterion(living(inputs), targets).item()
    living.train()
    return float(loss)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", choices=TABLES)
    parser.add_argument("--arm", choices=ARMS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "tables.json"
    measured: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    measured.pop("provenance", None)
    for name in [args.only] if args.only else TABLES:
        table = TABLES[name]()
        known = measured.setdefault(name, {})
        for arm in [args.arm] if args.arm else ARMS:
            runs = [run(table, ARMS[arm], seed) for seed in range(args.seeds)]
            kinds = Counter(edit["kind"] for one in runs for edit in one["edits"])
            known[arm] = {
                "test_loss": spread([one["test_loss"] for one in runs]),
                "last_test_loss": spread([one["last_test_loss"] for one in runs]),
                "params": spread([one["params"] for one in runs]),
                "edits": {kind: count / len(runs) for kind, count in kinds.most_common()},
                "runs": runs,
            }
            loss, params = known[arm]["test_loss"], known[arm]["params"]["mean"]
            print(f"{name:9} {arm:6} {loss['mean']:.4f} +- {loss['std']:.4f} {params:6.0f}", end="")
            print(
                f" {dict(kinds)} {runs[0]['stopped'] or ''}",
                flush=True,
            )
        print(keep("tables", measured))


if __name__ == "__main__":
    main()
