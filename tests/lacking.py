"""Problems of which it is known what the network lacks, and so what growing it should add."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from seeding import seed_
from torch import Generator, Tensor, nn

from neuroexapt import Attend, Deepen, Grower, GrowthConfig, LivingModel, Split, Widen
from neuroexapt.edits import AnyEdit
from neuroexapt.training.seed import generator_for

EPOCHS = 6
HELD_OUT = 4096


@dataclass(frozen=True)
class Problem:
    """A network and a task that are unequal in one known way.

    Attributes:
        lacks: what the network has too little of, in words.
        remedy: whether an edit adds that.
        build: gives the network.
        draw: from a number of samples and a generator gives fresh inputs and targets.
        criterion: the loss.
        rate: learning rate, of Adam.
        steps: before the network may grow.
        batch: samples a step.
    """

    lacks: str
    remedy: Callable[[AnyEdit], bool]
    build: Callable[[], nn.Module]
    draw: Callable[[int, Generator], tuple[Tensor, Tensor]]
    criterion: nn.Module
    rate: float = 3e-3
    steps: int = 300
    batch: int = 64

    @property
    def lacks_nothing(self) -> bool:
        """Whether nothing is to be added."""
        return self.lacks.startswith("nothing")


@dataclass
class Run:
    """A network in training on one of the problems."""

    problem: Problem
    seed: int
    living: LivingModel = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        seed_(self.seed)
        self.held_out = self.problem.draw(HELD_OUT, generator_for(self.seed, 1))
        self.living = LivingModel(self.problem.build(), self.held_out[0][:4])
        self.optimizer = torch.optim.Adam(self.living.parameters(), lr=self.problem.rate)
        self.data = generator_for(self.seed, 2)

    def train(self, steps: int) -> float:
        """Train on fresh data, and give the loss on held-out data."""
        for _ in range(steps):
            inputs, targets = self.problem.draw(self.problem.batch, self.data)
            self.optimizer.zero_grad()
            self.problem.criterion(self.living(inputs), targets).backward()
            self.optimizer.step()
        self.living.eval()
        with torch.no_grad():
            loss = self.problem.criterion(self.living(self.held_out[0]), self.held_out[1])
        self.living.train()
        return float(loss)

    def sample(self, batches: int = 8, size: int = 128) -> list[tuple[Tensor, Tensor]]:
        """Fresh data to sense on."""
        return [self.problem.draw(size, self.data) for _ in range(batches)]

    def grow(self, policy: str, times: int = 1, **settings: Any) -> Grower:
        """Train, and let a policy choose once that is done, so many times."""
        given = {
            "policy": policy,
            "every": EPOCHS,
            "max_edits": 1,
            "pace": 3.0,
            "kinds": ("split", "widen", "deepen", "connect", "attend", "activate"),
            "patience": times,
        }
        config = GrowthConfig.model_validate(given | settings)
        grower = Grower(
            self.living, self.optimizer, self.problem.criterion, config=config, seed=self.seed
        )
        for _ in range(times * EPOCHS):
            loss = self.train(self.problem.steps // EPOCHS)
            grower.step(self.sample(), metric=-loss, loss=loss)
        return grower


def _projected(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Eight sums of what six directions of the inputs have above zero."""
    fixed = generator_for(0, 9)
    directions = torch.randn(16, 6, generator=fixed) / 4
    sums = torch.randn(6, 8, generator=fixed) * (2 / 6**0.5)
    inputs = torch.randn(count, 16, generator=generator)
    return inputs, (inputs @ directions).relu() @ sums


def _ordered(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Whether A comes right before B or right after it, somewhere among other symbols."""
    length = 12
    symbols = torch.randint(2, 4, (count, length), generator=generator)
    first = torch.randint(2, (count,), generator=generator)
    at, rows = torch.randint(length - 1, (count,), generator=generator), torch.arange(count)
    symbols[rows, at], symbols[rows, at + 1] = first, 1 - first
    inputs = nn.functional.one_hot(symbols, 4).float().transpose(1, 2)
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator), first


def _retrieved(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """Six entries with a code and a value each; then the codes in another order, for the values.

    What is asked for is far from the asker, and only its code says where.
    """
    entries, bits, width = 6, 6, 6
    codes = torch.randint(2, (count, entries, bits), generator=generator) * 2.0 - 1
    values = torch.randn(count, entries, width, generator=generator)
    order = torch.rand(count, entries, generator=generator).argsort(1)
    rows = torch.arange(count)[:, None]
    told = torch.cat([codes, values, torch.ones(count, entries, 1)], 2)
    asked = torch.cat([codes[rows, order], torch.zeros(count, entries, width + 1)], 2)
    targets = torch.cat([values, values[rows, order]], 1)
    return torch.cat([told, asked], 1).transpose(1, 2), targets.transpose(1, 2)


def _flipped(count: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """On which side of a plane a point lies; one label in five is wrong, at random."""
    inputs = torch.randn(count, 8, generator=generator)
    side = (inputs[:, 0] + inputs[:, 1] > 0).long()
    wrong = torch.rand(count, generator=generator) < 0.2
    return inputs, torch.where(wrong, 1 - side, side)


def _narrow() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 2), nn.ReLU(), nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 8))


def _shallow() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 1),
        nn.ReLU(),
        nn.Conv1d(8, 64, 1),
        nn.ReLU(),
        nn.Conv1d(64, 8, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 2),
    )


def _local() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(13, 24, 1),
        nn.ReLU(),
        nn.Conv1d(24, 24, 1),
        nn.ReLU(),
        nn.Conv1d(24, 6, 1),
    )


def _generous() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )


PROBLEMS = {
    "narrow": Problem(
        "width in its first layer, which has 2 units for 6 directions",
        lambda edit: isinstance(edit, Split | Widen) and edit.group == "0",
        _narrow,
        _projected,
        nn.MSELoss(),
    ),
    "shallow": Problem(
        "layers that see more than one position",
        lambda edit: isinstance(edit, Deepen),
        _shallow,
        _ordered,
        nn.CrossEntropyLoss(),
        steps=90,  # more, and the layers that find nothing die
    ),
    "distant": Problem(
        "a way to compare distant positions",
        lambda edit: isinstance(edit, Attend) and edit.form == "positions",
        _local,
        _retrieved,
        nn.MSELoss(),
    ),
    "enough": Problem(
        "nothing: what is left of the loss is noise",
        lambda edit: False,
        _generous,
        _flipped,
        nn.CrossEntropyLoss(),
        rate=1e-3,
        steps=900,
        batch=512,
    ),
}
