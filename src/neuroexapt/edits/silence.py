"""Whether a place has a say: layers that start with zero weights silence what goes through them."""

from collections.abc import Callable, Iterable

from torch import fx

from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel


def check_alive(living: LivingModel, reads: Iterable[fx.Node], writes: fx.Node) -> None:
    """Refuse a place where what starts at zero would meet another zero, and so never learn.

    Args:
        living: the model, with its weights.
        reads: nodes that the new part reads.
        writes: the node whose output it changes.

    Raises:
        EditError: if a node that is read is always zero, or what is written is never heard.
    """
    for node, alive in (
        *((node, has_something_to_say(living, node)) for node in reads),
        (writes, is_heard(living, writes)),
    ):
        if not alive:
            raise EditError(
                f"{node.name!r} is silenced by a layer whose weights are all zero, so what is "
                "added there would get no gradient; train for a step first, or choose another place"
            )


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
