"""A mixed operation: several in one place, of which a decision says which run."""

from collections.abc import Mapping

from torch import Tensor, nn

from neuroexapt.errors import SearchError
from neuroexapt.search.decisions import Decision


class Mixed(nn.Module):
    """One place of a network, and the operations that could stand there.

    Args:
        operations: name -> operation, of the decision's names in their order; all give the same
            shape.
        decision: which of them run; several mixed operations may share it.

    Raises:
        SearchError: if names differ.
    """

    def __init__(self, operations: Mapping[str, nn.Module], decision: Decision) -> None:
        super().__init__()
        if tuple(operations) != decision.operations:
            raise SearchError(
                f"operations {', '.join(operations)} for a decision between "
                f"{', '.join(decision.operations)}; give the same names in the same order"
            )
        self.operations = nn.ModuleDict(operations)
        self.decision = decision

    @property
    def chosen(self) -> nn.Module:
        """The likeliest operation."""
        return self.operations[self.decision.chosen]

    def forward(self, x: Tensor) -> Tensor:
        """The sum of the active operations' outputs, weighted as the decision says."""
        decision = self.decision
        names = [decision.operations[index] for index in decision.active]
        outputs: list[Tensor] = [self.operations[name](x) for name in names]
        if decision.weights is None:
            return outputs[0]
        weights = [decision.weights[index] for index in decision.active]
        total: Tensor = weights[0] * outputs[0]
        for weight, output in zip(weights[1:], outputs[1:], strict=True):
            total = total + weight * output
        return total
