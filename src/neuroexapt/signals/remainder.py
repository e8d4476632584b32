"""What of the loss's gradient is left once the last layers have followed it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from neuroexapt.graph import Inputs, LivingModel
from neuroexapt.graph.shapes import ordered
from neuroexapt.signals.layers import last_layers

ROWS_A_DIRECTION = 8
"""Rows of data for each direction that is taken away, at least: with fewer, nothing is left."""
NEGLIGIBLE = 1e-10
"""A direction in which features vary by a smaller share of their variance is rounding."""

Project: TypeAlias = Callable[[Tensor], Tensor]
"""From a gradient to what is left of it."""


@dataclass(frozen=True)
class Readout:
    """One output of a model, and what the last layer before it reads.

    Attributes:
        node: that gives the output.
        dim: which of its dimensions carries channels.
        layer: the last layer's node; None if several or none come last.
        feature_dim: which dimension of what that layer reads carries channels.
    """

    node: fx.Node
    dim: int
    layer: fx.Node | None
    feature_dim: int


class Remainder:
    """Takes away from gradients at a model's outputs what its last layers could do about them.

    A gain is to say what an edit can do that the network can't already. While a network trains, the
    largest part of its loss's gradient is often such as the last layer will have followed within
    a few steps: an output's mean is off, or the scale of a feature. New weights anywhere
    could follow it just as well, so it hides what only some of them can do. So it is left out: the
    gradient at the output is replaced by its residual from a least-squares fit by the last layer's
    features and a constant, on each part of the data, by as many of the features' principal
    directions (those that training follows first) as the data tell apart.

    Outputs that aren't computed by one last layer, or not position by position, lose their mean.

    Args:
        living: the model.

    Source: the residual that Verbockhaven et al. 2024, arXiv:2405.19816, project out in each layer;
    here in the last one only, whose tangent space is known without solving for it.
    """

    def __init__(self, living: LivingModel) -> None:
        self.graph_module = living.graph_module
        self.readouts = [_readout(living, node) for node in _outputs(living)]

    def of(self, inputs: Inputs) -> list[Project | None]:
        """For each output of the model what to do with its gradient on some inputs.

        The model runs in the mode that it is in.
        """
        layers = {r.layer for r in self.readouts if r is not None and r.layer is not None}
        reads = _Reads(self.graph_module, layers)
        with torch.no_grad():
            outputs = tree_leaves(reads.run(*ordered(self.graph_module, inputs)))
        return [
            None if readout is None else _projection(readout, output, reads.found)
            for readout, output in zip(self.readouts, outputs, strict=True)
        ]


def gradients_through(
    loss: Tensor, outputs: Any, tensors: Sequence[Tensor], through: list[Project | None] | None
) -> tuple[Tensor, ...]:
    """Gradients of a loss, or of what projections at the model's outputs leave of it.

    Both may be asked for, one after the other.
    """
    handles = [
        output.register_hook(project)
        for output, project in zip(tree_leaves(outputs), through or (), strict=False)
        if project is not None and output.requires_grad
    ]
    try:
        return torch.autograd.grad(loss, tensors, retain_graph=True, materialize_grads=True)
    finally:
        for handle in handles:
            handle.remove()


def remainder(gradient: Tensor, features: Tensor) -> Tensor:
    """Residual from a fit by a constant and the leading principal directions of the features.

    Args:
        gradient: shape (rows, outputs).
        features: shape (rows, features); there may be none.

    Example:
        >>> x = torch.linspace(-1, 1, 64)[:, None]
        >>> float(remainder(3 * x + 1, x).abs().max()) < 1e-6
        True
        >>> float(remainder(x**2, x).mean().abs()) < 1e-6
        True
    """
    return _off(gradient, _directions(features))


class _Reads(fx.Interpreter):
    """Runs a graph and keeps what some of its layers read."""

    def __init__(self, graph_module: fx.GraphModule, layers: set[fx.Node]) -> None:
        super().__init__(graph_module)
        self.layers = layers
        self.found: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n in self.layers:
            args, kwargs = self.fetch_args_kwargs_from_env(n)
            read = next(v for v in tree_leaves((args, kwargs)) if isinstance(v, Tensor))
            self.found[n] = read.detach().clone()
        return super().run_node(n)


def _outputs(living: LivingModel) -> list[Any]:
    (output,) = (node for node in living.graph_module.graph.nodes if node.op == "output")
    return tree_leaves(output.args[0])


def _readout(living: LivingModel, node: Any) -> Readout | None:
    example = living.example_output(node) if isinstance(node, fx.Node) else None
    if not isinstance(example, Tensor) or not example.is_floating_point() or example.ndim < 2:
        return None
    dims = living.channel_dims(node)
    dim = dims[0] if len(dims) == 1 else example.ndim - 1
    last = last_layers(living, node)
    layer = last[0] if len(last) == 1 else None
    read = layer.all_input_nodes[0] if layer is not None else None
    carried = living.channel_dims(read) if read is not None else ()
    if len(carried) != 1:
        return Readout(node, dim, None, 1)
    return Readout(node, dim, layer, carried[0])


def _projection(readout: Readout, output: Tensor, reads: dict[fx.Node, Tensor]) -> Project:
    shape = output.movedim(readout.dim, -1).shape
    features = output.new_zeros(math.prod(shape[:-1]), 0)
    if readout.layer is not None:
        read = reads[readout.layer].movedim(readout.feature_dim, -1)
        if read.shape[:-1] != shape[:-1] and len(shape) == 2 and len(read) == len(output):
            read = read.flatten(1, -2).mean(1)  # the output is of all positions together
        if read.shape[:-1] == shape[:-1]:
            features = read.flatten(0, -2)
    directions = _directions(features)

    def project(gradient: Tensor) -> Tensor:
        rows = gradient.movedim(readout.dim, -1)
        rest: Tensor = _off(rows.flatten(0, -2), directions).view(rows.shape)
        return rest.movedim(-1, readout.dim)

    return project


def _directions(features: Tensor) -> Tensor:
    """Orthonormal columns, orthogonal to the constant; of float64, on the CPU."""
    centred = features.detach().cpu().double()
    centred = centred - centred.mean(0)
    most = max(len(features) // ROWS_A_DIRECTION - 1, 0)
    directions, values, _ = torch.linalg.svd(centred, full_matrices=False)
    known = values[:most].square() > NEGLIGIBLE * values.square().sum()
    found: Tensor = directions[:, :most][:, known]
    return found


def _off(gradient: Tensor, directions: Tensor) -> Tensor:
    rows = gradient.cpu().double()
    rows = rows - rows.mean(0)
    return (rows - directions @ (directions.T @ rows)).to(gradient)
