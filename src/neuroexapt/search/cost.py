"""What a draw costs: floating-point operations of the operations that run; and parameters."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from neuroexapt.graph.flops import counting
from neuroexapt.search.decisions import decisions, mix, other_parameters
from neuroexapt.search.mixed import Mixed


@dataclass(frozen=True)
class OperationCosts:
    """FLOPs of one sample's forward pass, 2 for each multiply-accumulate.

    Attributes:
        rest: outside of all mixed operations.
        by_decision: decision -> FLOPs of each of its operations, in all places that share it.
    """

    rest: int
    by_decision: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, network: nn.Module, example: Tensor) -> "OperationCosts":
        """Count one pass in which everything runs.

        Args:
            network: with decisions; it stays as it is.
            example: a batch of inputs.

        Raises:
            SearchError: if there is nothing to decide.
        """
        twin = copy.deepcopy(network).eval()
        found = {name: [0] * len(d.operations) for name, d in decisions(twin).items()}
        with torch.no_grad():
            mix(twin)
            with counting() as counter:
                for module in twin.modules():
                    if isinstance(module, Mixed):
                        _watch(module, found[module.decision.name], counter.get_total_flops)
                twin(example)
                total = counter.get_total_flops()
        count = len(example)
        inside = sum(sum(costs) for costs in found.values())
        per_sample = {name: tuple(cost // count for cost in costs) for name, costs in found.items()}
        return cls((total - inside) // count, per_sample)

    @property
    def mean(self) -> float:
        """FLOPs of a forward pass, mean over even draws of one operation for each decision."""
        return self.rest + sum(sum(costs) / len(costs) for costs in self.by_decision.values())

    def active(self, network: nn.Module) -> int:
        """FLOPs of a forward pass as the network stands."""
        return self.rest + sum(
            self.by_decision[name][index]
            for name, decision in decisions(network).items()
            for index in decision.active
        )


def num_weights(network: nn.Module) -> int:
    """How many parameters a network has, without the architecture's."""
    return sum(parameter.numel() for parameter in other_parameters(network))


def _watch(mixed: Mixed, costs: list[int], total: Callable[[], int]) -> None:
    """Add to the costs what each operation of a place takes."""

    def begin(_module: nn.Module, _inputs: object, index: int) -> None:
        costs[index] -= total()

    def end(_module: nn.Module, _inputs: object, _output: object, index: int) -> None:
        costs[index] += total()

    for index, operation in enumerate(mixed.operations.values()):
        operation.register_forward_pre_hook(partial(begin, index=index))
        operation.register_forward_hook(partial(end, index=index))
