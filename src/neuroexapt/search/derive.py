"""From a network with decisions to the plain one that they have come to."""

import copy
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroexapt.search.cells import Cell
from neuroexapt.search.decisions import commit, decisions, mix
from neuroexapt.search.mixed import Mixed
from neuroexapt.search.operations import Zero
from neuroexapt.training import Evaluation, evaluate

SUMS = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class Gap:
    """What is lost by deriving.

    Attributes:
        mixed: the network with all operations, weighted by softmax(alpha).
        derived: the likeliest operations alone, with the same weights.
    """

    mixed: Evaluation
    derived: Evaluation

    @property
    def accuracy(self) -> float:
        """By how much the mixed network's accuracy is higher, 0 to 1."""
        return self.mixed.accuracy - self.derived.accuracy


def derive(network: nn.Module) -> nn.Module:
    """The plain network of the likeliest operations, with their weights.

    Args:
        network: with decisions; it stays as it is, and shares no weights with what is derived.

    Raises:
        SearchError: if there is nothing to decide.
    """
    decisions(network)
    derived = _likeliest(copy.deepcopy(network))
    for parent in list(derived.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, Mixed):
                setattr(parent, name, _likeliest(child))
    for module in derived.modules():
        if isinstance(module, Cell):
            module.drop_unused()
    return _without_zeros(derived) if isinstance(derived, fx.GraphModule) else derived


def _likeliest(module: nn.Module) -> nn.Module:
    """What stands in a place in the end; one mixed operation may have chosen another."""
    while isinstance(module, Mixed):
        module = module.chosen
    return module


def _without_zeros(derived: fx.GraphModule) -> fx.GraphModule:
    """A traced network without sums with nothing, and without what nothing reads."""
    for node in list(derived.graph.nodes):
        plain = node.op == "call_function" and len(node.args) == 2 and not node.kwargs
        if plain and node.target in SUMS:
            for zero, other in (node.args, node.args[::-1]):
                if _is_zero(derived, zero) and isinstance(other, fx.Node):
                    node.replace_all_uses_with(other)
                    derived.graph.erase_node(node)
                    break
    derived.graph.eliminate_dead_code()
    derived.delete_all_unused_submodules()
    derived.recompile()
    return derived


def _is_zero(derived: fx.GraphModule, node: object) -> bool:
    called = isinstance(node, fx.Node) and node.op == "call_module"
    return called and isinstance(derived.get_submodule(str(node.target)), Zero)  # type: ignore[attr-defined]


def discretisation_gap(
    network: nn.Module, loader: Iterable[Any], criterion: Callable[[Tensor, Tensor], Tensor]
) -> Gap:
    """How much worse the derived network is than the mixed one, with the same weights.

    Norms' statistics are as training left them.

    Args:
        network: with decisions; afterwards it runs the likeliest operations.
        loader: yields pairs (inputs, targets), held out from both weights and alpha.
        criterion: outputs and targets to a mean loss.

    Raises:
        SearchError: if there is nothing to decide.
        TrainingError: if a loss isn't finite.
        DataError: if the loader yields nothing usable.
    """
    batches = list(loader)
    with torch.no_grad():
        mix(network)
    mixed = evaluate(network, batches, criterion)
    commit(network)
    return Gap(mixed, evaluate(network, batches, criterion))
