"""Connection growth: layers whose gradients go together across a distance get an edge."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroexapt.edits import Change, Connect
from neuroexapt.edits.base import Context
from neuroexapt.edits.site import place
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel
from neuroexapt.growth.division import as_living
from neuroexapt.signals import LayerCorrelation, Readings, layers, sense

logger = logging.getLogger(__name__)


class GradientGuidedConnectionGrowth:
    """Connects layers that are not adjacent but matter for the same samples.

    Args:
        max_connections: that `grow_connections` grows at a time, at most.
        seed: of the edits.
        num_batches: that `analyze_gradient_patterns` looks at.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> loader = [(torch.randn(64, 4), torch.randint(2, (64,)))]
        >>> growth = GradientGuidedConnectionGrowth()
        >>> found = growth.analyze_gradient_patterns(living, loader, nn.CrossEntropyLoss())
        >>> [str(change.edit) for change in growth.grow_connections(living, found)]
        ['connect 1 -> 3']
    """

    def __init__(self, max_connections: int = 1, seed: int = 0, num_batches: int = 2) -> None:
        if max_connections < 0:
            raise ValueError(f"max_connections is {max_connections}; give a count")
        self.max_connections = max_connections
        self.seed = seed
        self.num_batches = num_batches

    def analyze_gradient_patterns(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        criterion: Callable[[Any, Any], Tensor],
    ) -> list[LayerCorrelation]:
        """Find pairs of layers that are not adjacent and whose signatures correlate.

        Args:
            model: a `LivingModel`.
            train_loader: yields (inputs, targets); the first few batches are looked at.
            criterion: see `neuroexapt.signals.sense`.

        Returns:
            The significant ones, strongest first.

        Raises:
            ValueError: if the model is no `LivingModel`.
            DataError: if the loader yields nothing.
            TrainingError: if activations or gradients aren't finite.
        """
        readings = sense(as_living(model), train_loader, criterion, num_batches=self.num_batches)
        return [pair for pair in readings.correlations if pair.significant]

    def grow_connections(
        self,
        model: nn.Module,
        beneficial_connections: Iterable[LayerCorrelation | tuple[str, str]],
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
    ) -> list[Change]:
        """Connect pairs of layers, the first that can be, up to the limit.

        A pair that is connected already, or whose shapes don't allow it, is passed over; the log
        says why.

        Args:
            model: a `LivingModel`; it changes.
            beneficial_connections: as `analyze_gradient_patterns` returns them; or pairs of names,
                source and target.
            optimizer: one or several, carried across.

        Returns:
            What changed, one a connection.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if a pair is none, or names a layer that the model doesn't have.
        """
        living = as_living(model)
        changes: list[Change] = []
        for source, target in [_ends(pair) for pair in beneficial_connections]:
            if len(changes) == self.max_connections:
                break
            connect = _Places(living).connect(source, target)
            if connect is not None:
                changes.append(living.apply(connect, optimizer, self.seed))
        return changes


def propose_connections(
    readings: Readings, living: LivingModel, max_connections: int
) -> list[tuple[Connect, dict[str, Any]]]:
    """Connections of layers whose signatures correlate, with the evidence for each.

    Args:
        readings: of this model.
        living: stays as it is.
        max_connections: at most.

    Returns:
        Edits and their JSON-ready evidence, strongest first. Left out are pairs that are not
        significant, connected already, or can't be.
    """
    places = _Places(living)
    found: list[tuple[Connect, dict[str, Any]]] = []
    for pair in readings.correlations:
        if len(found) == max_connections:
            break
        connect = places.connect(pair.source, pair.target) if pair.significant else None
        if connect is not None:
            evidence = {
                "correlation": pair.correlation,
                "p_value": pair.p_value,
                "num_samples": pair.num_samples,
                "noise_floor": readings.noise_floor,
            }
            found.append((connect, evidence))
    return found


def _ends(pair: LayerCorrelation | tuple[str, str]) -> tuple[str, str]:
    """Source and target.

    Raises:
        EditError: if it is no pair of names.
    """
    ends = (pair.source, pair.target) if isinstance(pair, LayerCorrelation) else pair
    match ends:
        case (str(source), str(target)):
            return source, target
    raise EditError(
        f"{pair!r} is no pair of layers to connect; give their names, (source, target), or what "
        "analyze_gradient_patterns returns"
    )


class _Places:
    """Where connections can be made in a model as it is."""

    def __init__(self, living: LivingModel) -> None:
        self.living = living
        self.layers = {layer.name: layer for layer in layers(living)}
        self._refusals: dict[str, str | None] = {}

    def connect(self, source: str, target: str) -> Connect | None:
        """The edit that connects two layers: from the source's output into the target.

        Returns:
            None if they are connected already or can't be.

        Raises:
            EditError: if there is no such layer.
        """
        layer = self.layers.get(source)
        edit = Connect(source=layer.output if layer else source, target=target)
        if self._is_grown(source, edit):
            return None
        reason = self._refusal(edit.source) or self._refusal(edit.target) or self._trial(edit)
        if reason is not None:
            logger.info("%s is left out: %s", edit, reason)
            return None
        return edit

    def _is_grown(self, source: str, edit: Connect) -> bool:
        target = self.layers.get(edit.target)
        sources = {source, edit.source}
        targets = {edit.target} | ({target.output} if target else set())
        return any(
            isinstance(past, Connect) and past.source in sources and past.target in targets
            for past in self.living.edits
        )

    def _refusal(self, name: str) -> str | None:
        """Why nothing can be attached to a node; None if it can."""
        node = self.living.node(name)
        if name not in self._refusals:
            self._refusals[name] = None
            try:
                place(self.living, node)
            except EditError as error:
                self._refusals[name] = str(error)
        return self._refusals[name]

    def _trial(self, edit: Connect) -> str | None:
        """Why the edit as a whole doesn't fit; None if it does."""
        try:
            # The projection's usual initialisation draws random numbers before it is set to zero.
            with torch.random.fork_rng(devices=[]):
                edit.rewrite(self.living, Context(torch.Generator()))
        except EditError as error:
            return str(error)
        return None
