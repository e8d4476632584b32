"""Whether a place has a say: layers that start with zero weights silence what goes through them."""

from collections.abc import Callable, Iterable

from torch import fx

from neuroexapt.graph import LivingModel


def is_heard(living: LivingModel, node: fx.Node) -> bool:
    """Whether what a node gives reaches the output by a way without all-zero weights."""
    return _reaches(living, node, lambda n: n.users, "output")


def has_something_to_say(living: LivingModel, node: fx.Node) -> bool:
    """Whether the model's input reaches a node, itself included, by such a way."""
    if _is_zero(living, node):
        return False
    return node.op == "placeholder" or _reaches(
        living, node, lambda n: n.all_input_nodes, "placeholder"
    )


def _reaches(
    living: LivingModel,
    start: fx.Node,
    neighbours: Callable[[fx.Node], Iterable[fx.Node]],
    goal: str,
) -> bool:
    seen: set[fx.Node] = set()
    waiting = [start]
    while waiting:
        for node in neighbours(waiting.pop()):
            if node.op == goal:
                return True
            if node not in seen and not _is_zero(living, node):
                seen.add(node)
                waiting.append(node)
    return False


def _is_zero(living: LivingModel, node: fx.Node) -> bool:
    """Whether a node is a layer whose weights are all zero."""
    if node.op != "call_module":
        return False
    module = living.graph_module.get_submodule(str(node.target))
    weights = [p for p in module.parameters(recurse=False) if p.ndim > 1]
    return bool(weights) and not any(bool(weight.any()) for weight in weights)
