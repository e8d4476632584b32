"""Search spaces made of cells: the framework's own, and NAS-Bench-201's."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError
from neuroexapt.search.decisions import Decision
from neuroexapt.search.mixed import Mixed
from neuroexapt.search.operations import (
    ASO_SE_OPERATIONS,
    NASBENCH201_OPERATIONS,
    OPERATIONS,
    Zero,
    checked_names,
)


class Cell(nn.Module):
    """Nodes in a row, each the sum of an operation on every node before it.

    Args:
        in_channels: of the input, node 0.
        out_channels: of all other nodes.
        stride: of the operations on node 0; all others keep the size.
        num_nodes: the input included; the last one is the output.
        shared: edge "0->1" -> its decision.

    Source: Dong and Yang 2020, arXiv:2001.00326, section 2.1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        num_nodes: int,
        shared: Mapping[str, Decision],
    ) -> None:
        super().__init__()
        self.num_nodes = num_nodes
        self.edges = nn.ModuleDict()
        for start, end in edges(num_nodes):
            decision = shared[f"{start}->{end}"]
            inputs, step = (in_channels, stride) if start == 0 else (out_channels, 1)
            found = {
                name: OPERATIONS[name](inputs, out_channels, step) for name in decision.operations
            }
            self.edges[f"{start}->{end}"] = Mixed(found, decision)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / stride, W / stride)."""
        nodes = {0: x}
        for end in range(1, self.num_nodes):
            for edge in self._into(end):
                read = self.edges[edge](nodes[int(edge.split("->")[0])])
                nodes[end] = nodes[end] + read if end in nodes else read
        return nodes[self.num_nodes - 1]

    def drop_unused(self) -> None:
        """Leave out edges that carry nothing, and nodes that nothing reads; the sums stay.

        A node that reads nothing else keeps one edge of zeros.
        """
        for end in reversed(range(1, self.num_nodes)):
            is_read = any(edge.startswith(f"{end}->") for edge in self.edges)
            into = self._into(end)
            empty = [edge for edge in into if isinstance(self.edges[edge], Zero)]
            is_output = end == self.num_nodes - 1
            unused = empty[len(empty) == len(into) :] if is_read or is_output else into
            for edge in unused:
                del self.edges[edge]

    def _into(self, end: int) -> list[str]:
        return [edge for edge in self.edges if edge.endswith(f"->{end}")]


class CellNetwork(nn.Module):
    """A stem, cells, and a classifier of their mean."""

    def __init__(
        self,
        stem: nn.Module,
        cells: Sequence[nn.Module],
        channels: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.stem = stem
        self.cells = nn.Sequential(*cells)
        self.norm = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) to logits (B, classes)."""
        logits: Tensor = self.fc(self.flatten(self.pool(self.norm(self.cells(self.stem(x))))))
        return logits


class Reduction(nn.Module):
    """The residual block that halves the picture between NAS-Bench-201's stages."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            OPERATIONS["nor_conv_3x3"](in_channels, out_channels, 2),
            OPERATIONS["nor_conv_3x3"](out_channels, out_channels, 1),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, 2), nn.Conv2d(in_channels, out_channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in, H, W) to (B, out, H / 2, W / 2)."""
        total: Tensor = self.branch(x) + self.shortcut(x)
        return total


def edges(num_nodes: int) -> list[tuple[int, int]]:
    """Pairs of nodes (from, to), by the node that they lead to.

    Example:
        >>> edges(3)
        [(0, 1), (0, 2), (1, 2)]
    """
    return sorted(combinations(range(num_nodes), 2), key=lambda edge: (edge[1], edge[0]))


def nasbench201(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    channels: int = 16,
    cells_a_stage: int = 5,
    operations: Sequence[str] = NASBENCH201_OPERATIONS,
    seed: int = 0,
) -> CellNetwork:
    """NAS-Bench-201's space: three stages of one cell of four nodes, decided once for all.

    Args:
        num_classes: of the data.
        in_channels: of the images.
        channels: of the first stage; the others have two and four times as many. The benchmark's
            networks have 16.
        cells_a_stage: the benchmark's networks have 5.
        operations: to choose from on each of the six edges.
        seed: of the first architecture parameters. Weights are drawn from torch's own generator.

    Raises:
        SearchError: if an operation is unknown, there are fewer than two, or a size isn't at least
            1.

    Source: Dong and Yang 2020, arXiv:2001.00326.
    """
    _check_sizes(num_classes=num_classes, in_channels=in_channels, channels=channels)
    _check_sizes(cells_a_stage=cells_a_stage)
    generator = torch.Generator().manual_seed(seed)
    names = checked_names(operations)
    shared = _decisions("", 4, names, generator)
    found: list[nn.Module] = []
    width = channels
    for stage in range(3):
        if stage:
            found.append(Reduction(width, 2 * width))
            width *= 2
        found += [Cell(width, width, 1, 4, shared) for _ in range(cells_a_stage)]
    return CellNetwork(_stem(in_channels, channels), found, width, num_classes)


def aso_se(
    num_classes: int = 10,
    in_channels: int = 3,
    *,
    channels: int = 32,
    num_cells: int = 4,
    operations: Sequence[str] = ASO_SE_OPERATIONS,
    seed: int = 0,
) -> CellNetwork:
    """The framework's own space: four cells that each decide for themselves.

    Every second cell halves the picture and doubles the channels. A cell has an input and two more
    nodes, so three edges.

    Args:
        num_classes: of the data.
        in_channels: of the images.
        channels: of the stem.
        num_cells: one after the other.
        operations: to choose from on each edge.
        seed: of the first architecture parameters. Weights are drawn from torch's own generator.

    Raises:
        SearchError: if an operation is unknown, there are fewer than two, or a size isn't at least
            1.
    """
    _check_sizes(num_classes=num_classes, in_channels=in_channels, channels=channels)
    _check_sizes(num_cells=num_cells)
    generator = torch.Generator().manual_seed(seed)
    names = checked_names(operations)
    found: list[nn.Module] = []
    width = channels
    for number in range(num_cells):
        stride = 2 if number % 2 else 1
        own = _decisions(f"cell{number} ", 3, names, generator)
        found.append(Cell(width, width * stride, stride, 3, own))
        width *= stride
    return CellNetwork(_stem(in_channels, channels), found, width, num_classes)


def _check_sizes(**sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise SearchError(f"{name} is {size}; give at least 1")


def _decisions(
    prefix: str, num_nodes: int, names: Sequence[str], generator: torch.Generator
) -> dict[str, Decision]:
    """One for each edge of a cell."""
    found = [f"{start}->{end}" for start, end in edges(num_nodes)]
    return {edge: Decision(prefix + edge, names, generator=generator) for edge in found}


def _stem(in_channels: int, channels: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
    )
