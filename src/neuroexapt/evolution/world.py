"""What all tasks of an evolution share: the seed network, the data, how networks are trained."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.data import SequentialSampler

from neuroexapt.errors import DataError, EvolutionError
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.templates import Templates
from neuroexapt.graph import LivingModel
from neuroexapt.graph.memory import is_out_of_memory
from neuroexapt.training.loaders import drawing, generators_kept, tell_epoch
from neuroexapt.training.modes import device_of
from neuroexapt.training.seed import seeded_apart

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class World:
    """What tasks share; it is sent to each worker once.

    Attributes:
        seed: the network that all others are grown from.
        train: yields (inputs, targets), and has a length.
        validation: likewise, held out.
        criterion: outputs and targets to a mean loss.
        config: how networks evolve.
    """

    seed: LivingModel
    train: Iterable[Any]
    validation: Iterable[Any]
    criterion: Callable[[Tensor, Tensor], Tensor]
    config: EvolutionConfig

    @cached_property
    def templates(self) -> Templates:
        """Builds networks from their genomes."""
        return Templates(self.seed)

    @property
    def device(self) -> torch.device:
        """Where networks are trained."""
        return device_of(self.seed)

    @property
    def num_batches(self) -> int:
        """Training batches of an epoch.

        Raises:
            EvolutionError: if the loader can't tell, or has none.
        """
        return check_length(self.train)

    def batches(self, epoch: int, count: int, trained: int = 0) -> Iterator[Any]:
        """So many training batches, from one epoch's first on, and on through the next ones.

        Args:
            epoch: by which loaders choose order and variations.
            count: how many.
            trained: batches so far. Where a loader always gives the same order, what these left of
                their last pass comes first, or parts of one would only ever see its beginning.

        Raises:
            DataError: if a pass gives no batch.
        """
        passes = itertools.count(epoch)
        skipped = trained % self.num_batches if trained and self._in_order else 0
        found = itertools.chain.from_iterable(map(self._pass, passes))
        return itertools.islice(found, skipped, skipped + count)

    @property
    def _in_order(self) -> bool:
        """Whether each pass gives the same batches in the same order."""
        order = any(isinstance(part, SequentialSampler) for part in drawing(self.train))
        return isinstance(self.train, Sequence) or order

    def _pass(self, epoch: int) -> Iterator[Any]:
        tell_epoch(self.train, epoch)
        is_empty = True
        for batch in self.train:
            is_empty = False
            yield batch
        if is_empty:
            raise DataError(
                f"the training loader, a {type(self.train).__name__}, gave no batch in a pass; "
                "give one that can be iterated over again and again"
            )

    def aside(self, done: Callable[[], T]) -> T:
        """Do something within a task that leaves its random numbers as if it hadn't been done.

        So it may be done in one process and known from before in another.
        """
        with loaders_seeded((self.train, self.validation), 0, self.device):
            return done()

    @contextmanager
    def task(self, seed: int) -> Iterator[None]:
        """Inside, what happens depends on nothing but a seed: not on where, or on what was before.

        Args:
            seed: of everything random, that of a user's loaders included.

        Raises:
            MemoryError: if the machine's memory has run out, for which torch has no class.
        """
        loaders = self.train, self.validation
        with limited_threads(self.config.threads), loaders_seeded(loaders, seed, self.device):
            try:
                yield
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError) or not is_out_of_memory(error):
                    raise
                raise MemoryError(str(error)) from error


def check_length(loader: Iterable[Any]) -> int:
    """How many batches a training loader has.

    Raises:
        EvolutionError: if it can't tell, or has none.
    """
    if not isinstance(loader, Sized) or not len(loader):
        raise EvolutionError(
            f"the training loader, a {type(loader).__name__}, has no length or no batch; give one "
            "that knows how many batches it has, as a DataLoader or a list"
        )
    return len(loader)


@contextmanager
def loaders_seeded(loaders: Iterable[Any], seed: int, device: torch.device) -> Iterator[None]:
    """Inside, random numbers follow from a seed; afterwards they go on as if nothing had been.

    Args:
        loaders: whose generators, or those of what their batches are drawn by, are treated alike.
        seed: below 2^32.
        device: whose random numbers are, beside the CPU's.
    """
    with seeded_apart(seed, device), generators_kept(loaders) as generators:
        for generator in generators:
            generator.manual_seed(seed)
        yield


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Inside, torch computes with so many threads of the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
