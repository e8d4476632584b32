"""Breaking through a plateau: divide units, add blocks, add attention, evolve activations."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from neuroexapt.edits import Change
from neuroexapt.edits.base import listed
from neuroexapt.edits.carry import check_optimizers
from neuroexapt.edits.width import checked_units
from neuroexapt.edits.width import growable as growable_group
from neuroexapt.errors import EditError, PreservationError
from neuroexapt.graph import LivingModel
from neuroexapt.growth import nominate
from neuroexapt.growth.division import as_living, as_splits
from neuroexapt.growth.plateau import is_plateau
from neuroexapt.growth.proposal import Proposal
from neuroexapt.growth.strategies import (
    EACH,
    SIZE_THRESHOLD,
    activation_places,
    attention_places,
    block_places,
    overloaded_units,
)
from neuroexapt.signals import sense
from neuroexapt.training import History

logger = logging.getLogger(__name__)


class PerformanceBreakthroughSystem:
    """Expands a network whose metric has stopped rising.

    The policy "breakthrough" of `GrowthConfig` does the same within a `Grower`, under its budget.

    Args:
        train_loader: yields (inputs, targets); units' information load is read from its first
            batches. None if `identify_overloaded_neurons` isn't to be used.
        window: epochs of which a plateau consists, at least 5; see `detect_performance_plateau`.
        min_gain: rise of the metric over the window under which it counts as none.
        entropy_threshold: normalised entropy above which a unit is overloaded, 0 to 1.
        share: of a group's units that divide at a time, at most.
        size_threshold: parameters from which no more residual blocks are added.
        count: blocks, attentions and activations to add of each at a time.
        num_batches: that are looked at.
        seed: of the newborns' weights.

    Raises:
        ValueError: if a figure is out of range.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(
        ...     nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)
        ... )
        >>> living = LivingModel(net, torch.zeros(2, 1, 8, 8))
        >>> batches = [(torch.randn(64, 1, 8, 8), torch.randint(2, (64,)))]
        >>> system = PerformanceBreakthroughSystem(batches, entropy_threshold=0.1)
        >>> risen = [0.1, 0.6, 0.8, 0.9]
        >>> system.attempt_architecture_expansion(living, risen)
        []
        >>> level = [0.90, 0.91, 0.90, 0.91, 0.90, 0.91, 0.90, 0.91]
        >>> for change in system.attempt_architecture_expansion(living, risen + level):
        ...     print(change.edit)
        split 1 unit of 0
        deepen after 1 (residual)
        attend after 1 (channels)
        activate 1 towards silu
    """

    def __init__(
        self,
        train_loader: Iterable[Any] | None = None,
        *,
        window: int = 8,
        min_gain: float = 0.0,
        entropy_threshold: float = 0.6,
        share: float = 0.25,
        size_threshold: int = SIZE_THRESHOLD,
        count: int = EACH,
        num_batches: int = 2,
        seed: int = 0,
    ) -> None:
        if window < 5 or num_batches < 1 or size_threshold < 0 or not math.isfinite(min_gain):
            raise ValueError(
                f"window is {window}, num_batches {num_batches}, size_threshold {size_threshold} "
                f"and min_gain {min_gain}; give a window of 5 or more, one batch or more, a "
                "threshold of 0 or more, and a finite gain"
            )
        if not (0 <= entropy_threshold <= 1 and 0 < share <= 1 and count >= 0):
            raise ValueError(
                f"entropy_threshold is {entropy_threshold}, share {share} and count {count}; give "
                "a threshold from 0 to 1 (entropy is normalised), a share above 0 and up to 1, "
                "and a count of 0 or more"
            )
        self.train_loader = train_loader
        self.window = window
        self.min_gain = min_gain
        self.entropy_threshold = entropy_threshold
        self.share = share
        self.size_threshold = size_threshold
        self.count = count
        self.num_batches = num_batches
        self.seed = seed
        self._seen = 0
        self._edits = 0

    def detect_performance_plateau(self, history: Sequence[float] | History) -> bool:
        """Whether a metric has stopped rising, noise aside.

        Over the last `window` values, a rise counts if Mann and Kendall's test finds it clearer
        than chance would show in one of ten, and the median slope (Theil and Sen) makes at least
        `min_gain` of it: a single lucky or unlucky epoch changes neither much.

        Args:
            history: one value an epoch, larger is better; or a training history, whose validation
                accuracy counts.

        Raises:
            ValueError: if a value isn't finite: no plateau, but a failure.

        Example:
            >>> system = PerformanceBreakthroughSystem()
            >>> system.detect_performance_plateau([0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.79, 0.81])
            False
            >>> system.detect_performance_plateau([0.8, 0.81, 0.8, 0.79, 0.8, 0.81, 0.8, 0.79])
            True
        """
        values = _values(history)
        if not all(map(math.isfinite, values)):
            raise ValueError(
                "the metric isn't finite in every epoch, which is no plateau; see what went wrong "
                "in the training, and give the values from before"
            )
        return is_plateau(values, self.window, self.min_gain)

    def attempt_architecture_expansion(
        self,
        model: nn.Module,
        history: Sequence[float] | History,
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
    ) -> list[Change]:
        """On a plateau, follow all four strategies in their order.

        After an expansion, only what the history holds beyond it counts: the network is given a
        whole window to show what that brought. Blends of activations that have settled by then are
        ended first. Residual blocks are added only to networks under `size_threshold`.

        Args:
            model: a `LivingModel`; it changes, and its function doesn't but where a blend ends.
            history: as for `detect_performance_plateau`.
            optimizer: one or several, carried across.

        Returns:
            What changed; nothing if there is no plateau.

        Raises:
            ValueError: if the model is no `LivingModel`, or there is no `train_loader`.
            DataError: if the loader yields nothing usable.
        """
        living = as_living(model)
        if len(history) < self._seen:
            self._seen = 0  # another training's
        if not self.detect_performance_plateau(_values(history)[self._seen :]):
            return []
        overloaded = self.identify_overloaded_neurons(living)
        self._seen = len(history)
        changes = self._end_blends(living, optimizer)
        changes += self.split_neurons(living, overloaded, optimizer)
        if living.cost().params < self.size_threshold:
            changes += self.add_residual_blocks(living, optimizer)
        changes += self.inject_attention_mechanisms(living, optimizer)
        changes += self.evolve_activation_functions(living, optimizer)
        self._edits = len(living.edits)
        return changes

    def identify_overloaded_neurons(self, model: nn.Module) -> dict[str, tuple[int, ...]]:
        """Find the units whose activations have the highest entropy.

        Args:
            model: a `LivingModel`; it stays as it is.

        Returns:
            Group name -> units, highest entropy first, at most `share` of the group.

        Raises:
            ValueError: if the model is no `LivingModel`, or there is no `train_loader`.
            DataError: if the loader yields nothing usable.

        Example:
            >>> import torch
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
            >>> living = LivingModel(net, torch.zeros(2, 4))
            >>> batches = [(torch.randn(256, 4), torch.randint(2, (256,)))]
            >>> found = PerformanceBreakthroughSystem(batches).identify_overloaded_neurons(living)
            >>> {name: len(units) for name, units in found.items()}
            {'0': 2}
        """
        living = as_living(model)
        if self.train_loader is None:
            raise ValueError(
                "there are no data to read the units' load from; give train_loader, which yields "
                "pairs (inputs, targets)"
            )
        readings = sense(living, self.train_loader, num_batches=self.num_batches, gradients=False)
        return overloaded_units(readings, living, self.entropy_threshold, self.share)

    def split_neurons(
        self,
        model: nn.Module,
        overloaded: Mapping[str, Iterable[int]],
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
    ) -> list[Change]:
        """Divide units; all are checked before the first divides.

        Args:
            model: a `LivingModel`; it changes.
            overloaded: group name -> units, as `identify_overloaded_neurons` returns them.
            optimizer: one or several, carried across.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if a group is unknown or can't grow, or a unit is out of range.

        Example:
            >>> import torch
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
            >>> living = LivingModel(net, torch.zeros(2, 4))
            >>> changes = PerformanceBreakthroughSystem().split_neurons(living, {"0": (1, 5)})
            >>> changes[0].params_before, changes[0].params_after
            (58, 72)
        """
        living = as_living(model)
        splits = as_splits(overloaded)
        for split in splits:
            checked_units(growable_group(living, split.group), split.units)
        return [living.apply(split, optimizer, self.seed) for split in splits]

    def add_residual_blocks(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None
    ) -> list[Change]:
        """Add residual blocks that start as the identity, behind the deepest layers without one.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if an optimiser has nothing to do with the model.

        Example:
            >>> import torch
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> living = LivingModel(net, torch.zeros(2, 4))
            >>> changes = PerformanceBreakthroughSystem().add_residual_blocks(living)
            >>> [str(change.edit) for change in changes]
            ['deepen after 1 (residual)']
        """
        living = as_living(model)
        return self._applied(living, block_places(living), optimizer)

    def inject_attention_mechanisms(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None
    ) -> list[Change]:
        """Let the deepest layers without attention attend over their channels.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if an optimiser has nothing to do with the model.

        Example:
            >>> import torch
            >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2))
            >>> living = LivingModel(net, torch.zeros(2, 1, 5, 5))
            >>> changes = PerformanceBreakthroughSystem().inject_attention_mechanisms(living)
            >>> [str(change.edit) for change in changes]
            ['attend after 1 (channels)']
        """
        living = as_living(model)
        return self._applied(living, attention_places(living), optimizer)

    def evolve_activation_functions(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer] | None = None
    ) -> list[Change]:
        """Blend the deepest activations with a smooth one; each channel then learns how much.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if an optimiser has nothing to do with the model.

        Example:
            >>> import torch
            >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
            >>> living = LivingModel(net, torch.zeros(2, 4))
            >>> changes = PerformanceBreakthroughSystem().evolve_activation_functions(living)
            >>> [str(change.edit) for change in changes]
            ['activate 1 towards silu']
        """
        living = as_living(model)
        return self._applied(living, activation_places(living), optimizer)

    def state_dict(self) -> dict[str, int]:
        """How much of the history and of the edits the last expansion has behind it; JSON-ready."""
        return {"seen": self._seen, "edits": self._edits}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from what `state_dict` gave."""
        self._seen, self._edits = state["seen"], state["edits"]

    def _end_blends(
        self, living: LivingModel, optimizer: Optimizer | Sequence[Optimizer] | None
    ) -> list[Change]:
        """Fold what has settled of earlier blends back to one activation."""
        num_young = max(len(living.edits) - self._edits, 0)
        ended = list(nominate.nominate_settling(living, num_young))
        return [living.apply(proposal.edit, optimizer, self.seed) for proposal in ended]

    def _applied(
        self,
        living: LivingModel,
        places: Iterable[Proposal],
        optimizer: Optimizer | Sequence[Optimizer] | None,
    ) -> list[Change]:
        """Apply the first few that fit: inside a block that was just added, nothing does."""
        check_optimizers(listed(optimizer), living)
        changes: list[Change] = []
        for proposal in places:
            if len(changes) == self.count:
                break
            try:
                changes.append(living.apply(proposal.edit, optimizer, self.seed))
            except PreservationError:
                raise
            except EditError as error:
                logger.info("%s is left out: %s", proposal.edit, error)
        return changes


def _values(history: Sequence[float] | History) -> list[float]:
    if isinstance(history, History):
        return [record.score for record in history]
    return list(history)
