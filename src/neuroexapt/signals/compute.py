"""What the numbers of a weight cost in multiply-accumulates."""

from collections.abc import Mapping

from torch import Tensor, fx
from torch.nn.modules.conv import _ConvNd

from neuroexapt.edits.width import added, growable
from neuroexapt.graph import LivingModel


def positions_of(model: fx.GraphModule, batch_size: int) -> dict[str, int]:
    """Path of a weight -> how often a sample uses each of its numbers.

    Args:
        model: whose nodes hold the outputs that they give for an example.
        batch_size: of the example.
    """
    found: dict[str, int] = {}
    for node in model.graph.nodes:
        output = node.meta.get("example")
        if node.op != "call_module" or not isinstance(output, Tensor) or output.ndim < 2:
            continue
        module = model.get_submodule(str(node.target))
        by_channel = isinstance(module, _ConvNd) or bool(getattr(module, "spatial", False))
        channels = output.shape[1 if by_channel else -1]
        for name, parameter in module.named_parameters():
            if parameter.ndim > 1:
                uses = output.numel() // max(channels * batch_size, 1)
                path = f"{node.target}.{name}"
                found[path] = found.get(path, 0) + uses
    return found


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
