"""One pass through a living model that watches groups and layers on the way."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx

from neuroexapt.edits.insert import is_in_place
from neuroexapt.graph import ChannelGroup, Inputs
from neuroexapt.graph.interpret import where
from neuroexapt.graph.shapes import ordered
from neuroexapt.signals.entropy import HistogramEntropy, are_constant, precision_of

INPUT = "the input"
GOLDEN = (math.sqrt(5) - 1) / 2


class GroupEntropy:
    """Entropy of a group's units, from what its site's node gives.

    A unit that takes several channels (one group of a convolution) has the mean of theirs. The
    entropy is of a sample of the positions; whether a unit is dead, of all of them: what fires
    seldom may matter most.
    """

    def __init__(self, group: ChannelGroup, bins: int, limit: int, device: torch.device) -> None:
        """Watch at most `limit` positions at a time."""
        assert group.site is not None, f"{group.name} has no site"
        self.group, self.site, self.limit = group, group.site, limit
        self.units = torch.from_numpy(group.site.units).to(device)
        self.histogram = HistogramEntropy(len(self.units), bins, device)
        self._low = torch.full((len(self.units),), math.inf, device=device)
        self._high = -self._low
        self._precision = 0.0

    def watch(self, value: Tensor) -> None:
        """Take a sample of activations, which `count` counts, and the extremes of all."""
        self._sample = spread_over(value, self.site.dim, self.limit)
        by_channel = value.detach().movedim(self.site.dim, 0).flatten(1)
        low, high = by_channel.aminmax(dim=1)
        self._low, self._high = torch.minimum(self._low, low), torch.maximum(self._high, high)
        self._precision = max(self._precision, precision_of(value))

    def count(self) -> None:
        """Count what was watched.

        Raises:
            ValueError: if a value isn't finite.
        """
        self.histogram.update(self._sample)

    def entropy(self) -> Tensor:
        """Shape (units,)."""
        total = self.per_unit(self.histogram.entropy())
        return (total / self.per_unit(torch.ones_like(self.units, dtype=total.dtype))).cpu()

    def dead(self) -> Tensor:
        """Shape (units,): units of which every channel is constant."""
        constant = are_constant(self._low, self._high, self._precision)
        return (self.per_unit((~constant).float()) == 0).cpu()

    def per_unit(self, values: Tensor) -> Tensor:
        """Sums over each unit's channels: from shape (..., channels) to (..., units)."""
        total = values.new_zeros(*values.shape[:-1], self.group.size)
        return total.index_add_(-1, self.units, values)


def spread_over(value: Tensor, dim: int, limit: int) -> Tensor:
    """Activations at up to `limit` samples and positions, spread evenly over all of them.

    Args:
        value: any shape.
        dim: dimension of the channels.
        limit: how many of the other dimensions' positions to take.

    Returns:
        A copy of shape (channels, n).
    """
    moved = value.detach().movedim(dim, -1)
    total = math.prod(moved.shape[:-1])
    if total <= limit:
        return moved.reshape(total, moved.shape[-1]).T.clone()
    # Multiples of the golden ratio spread evenly at every scale: over samples, rows and columns.
    steps = torch.arange(limit, dtype=torch.float64)
    chosen = (steps * GOLDEN % 1 * total).long().clamp_max(total - 1)
    return moved[tuple(i.to(value.device) for i in torch.unravel_index(chosen, moved.shape[:-1]))].T


class Pass(fx.Interpreter):
    """Runs a graph, shows activations to those who watch, and gives layers a gain.

    A gain is a factor of 1 for each sample, or for each sample and channel. Its gradient is the sum
    over positions (and channels) of gradient times activation, and the product is a tensor of its
    own, so that operations in place further on can't spoil it.
    """

    def __init__(
        self,
        graph_module: fx.GraphModule,
        watchers: Mapping[str, list[GroupEntropy]],
        gained: Mapping[str, str],
        weighed: Mapping[str, Sequence[tuple[str, int]]],
    ) -> None:
        """Watch and gain.

        Args:
            graph_module: the model's present graph.
            watchers: node name -> who watches its output.
            gained: node name -> the layer that gets a gain there.
            weighed: node name -> groups whose channels each get a gain there, and the dimension.
        """
        super().__init__(graph_module)
        self.graph_module = graph_module
        self.watchers, self.gained, self.weighed = watchers, gained, weighed
        self.gains: dict[str, Tensor] = {}
        self.channel_gains: dict[str, Tensor] = {}
        self._num_samples = 0

    def run_on(self, inputs: Inputs) -> Any:
        """The model's output."""
        self._num_samples = inputs.batch_size
        return self.run(*ordered(self.graph_module, inputs))

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        for watcher in self.watchers.get(n.name, ()):
            watcher.watch(result)
        scaled = result
        if (layer := self.gained.get(n.name)) is not None and len(result) == self._num_samples:
            self.gains[layer] = _ones(result, None)
            scaled = scaled * self.gains[layer]
        for group, dim in self.weighed.get(n.name, ()):
            if len(result) == self._num_samples:
                self.channel_gains[group] = _ones(result, dim)
                scaled = scaled * self.channel_gains[group]
        if scaled is not result:
            self._replace_overwritten(n, scaled)
        return scaled

    def _replace_overwritten(self, node: fx.Node, result: Tensor) -> None:
        """Who reads what an operation in place has overwritten reads its result."""
        while is_in_place(node) and isinstance(node.args[0], fx.Node):
            node = node.args[0]
            if node in self.env:
                self.env[node] = result


def _ones(result: Tensor, dim: int | None) -> Tensor:
    """Factors for each sample and, given a dimension, each channel along it."""
    shape = [size if d in (0, dim) else 1 for d, size in enumerate(result.shape)]
    return result.new_ones(shape).requires_grad_()


class _Search(fx.Interpreter):
    """Looks for the first value that fails a test."""

    def __init__(self, graph_module: fx.GraphModule, fails: Callable[[Tensor], bool]) -> None:
        super().__init__(graph_module)
        self.fails = fails
        self.found: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if self.found is None and n.op != "get_attr" and isinstance(result, Tensor):
            self.found = n if self.fails(result) else None
        return result


def first_not_finite(graph_module: fx.GraphModule, inputs: Inputs) -> str | None:
    """Which node is the first to give a value that isn't finite, in words; None if none does."""
    search = _Search(graph_module, lambda value: not bool(value.isfinite().all()))
    with torch.no_grad():
        search.run(*ordered(graph_module, inputs))
    if search.found is None:
        return None
    return INPUT if search.found.op == "placeholder" else where(search.found)
