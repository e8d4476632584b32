"""What the numbers of a weight cost in multiply-accumulates."""

from collections.abc import Iterator, Mapping

from torch import Tensor, fx

from neuroexapt.edits.width import added, growable
from neuroexapt.graph import LivingModel
from neuroexapt.graph.assemble import attribute


def positions_of(model: fx.GraphModule, batch_size: int) -> dict[str, int]:
    """Path of a weight -> how often a sample multiplies by each of its numbers.

    Where a call has several weights, as attention does, each is taken to be used once for each
    position of what the call gives.

    Args:
        model: whose nodes hold what they take, and the outputs that they give, for an example.
        batch_size: of the example.
    """
    found: dict[str, int] = {}
    for node in model.graph.nodes:
        weights = dict(_weights(model, node))
        for path, weight in weights.items():
            if len(weights) == 1:
                uses = node.meta.get("flops", 0) // max(2 * batch_size * weight.numel(), 1)
            else:
                uses = _positions(node.meta.get("example"), batch_size)
            found[path] = found.get(path, 0) + uses
    return found


def _weights(model: fx.GraphModule, node: fx.Node) -> Iterator[tuple[str, Tensor]]:
    """The tensors of at least two dimensions that a call may multiply by, with their paths."""
    if node.op == "call_module":
        for name, parameter in model.get_submodule(str(node.target)).named_parameters():
            if parameter.ndim > 1:
                yield f"{node.target}.{name}", parameter
    elif node.op in ("call_function", "call_method"):
        for source in node.all_input_nodes:
            if source.op == "get_attr":
                held = attribute(model, str(source.target))
                if isinstance(held, Tensor) and held.ndim > 1:
                    yield str(source.target), held


def _positions(output: object, batch_size: int) -> int:
    """How many a sample has in an output whose last dimension is the channels."""
    if not isinstance(output, Tensor) or output.ndim < 2:
        return 0
    return output.numel() // max(output.shape[-1] * batch_size, 1)


def macs_of_modules(model: fx.GraphModule, batch_size: int) -> dict[str, int]:
    """Path of a module that is called -> multiply-accumulates a sample that its calls take.

    Args:
        model: whose nodes hold what they take for an example.
        batch_size: of the example.
    """
    found: dict[str, int] = {}
    for node in model.graph.nodes:
        if node.op == "call_module":
            path = str(node.target)
            found[path] = found.get(path, 0) + node.meta["flops"]
    return {path: flops // 2 // batch_size for path, flops in found.items()}


def macs_of_units(
    living: LivingModel, group: str, count: int, positions: Mapping[str, int] | None = None
) -> int:
    """Multiply-accumulates a sample that a group's units take, by the weights they own.

    Args:
        living: the model.
        group: name of a group that can change its size.
        count: of its units.
        positions: what `positions_of` gives, if it is known; for many groups, that saves time.

    Raises:
        EditError: if the group is unknown or can't change its size.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> macs_of_units(LivingModel(net, torch.zeros(2, 4)), "0", 2)
        12
    """
    held = growable(living, group)
    fewer = added(living, held, lambda units: -round(len(units) * count / held.size))
    if positions is None:
        positions = positions_of(living.graph_module, living.example_inputs.batch_size)
    return -sum(number * positions.get(path, 0) for path, number in fewer.items())
