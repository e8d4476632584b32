"""What operations would still learn: an operation is worth what it does now, and what it may do."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.search.decisions import alphas, decisions
from neuroexapt.search.mixed import Mixed

MEMORY = 0.99
"""What is kept of an operation's former gain each time that it is measured anew; less at first, so
that it is a plain mean of few measurements."""


class Prospects:
    """Growth gain of every operation: how fast the held-out loss would fall by its own weights.

    To first order a step of length x along the gradient lowers the loss by x |g|^2. A squared norm
    counts noise as gain, so that two independent halves of a batch are taken: g1 . g2 is unbiased.
    An operation without weights has none. A supernet's weights are a compromise between all that
    was drawn; what an operation does now therefore understates what it would do once it is chosen,
    and the more so the more it could learn.

    Args:
        horizon: how far the training of the weights is looked ahead: learning rate times steps.

    Attributes:
        gains: decision -> operation -> gain, and how often it was measured; only what was.

    Source: the one step that second-order DARTS looks ahead, Liu et al. 2019, arXiv:1806.09055,
    section 2.3, by the gain that edits are chosen by (`growth_gain`).
    """

    def __init__(self, horizon: float) -> None:
        self.horizon = horizon
        self.gains: dict[str, dict[str, tuple[float, int]]] = {}

    def learn(self, network: nn.Module, losses: Sequence[Tensor]) -> list[Tensor | None]:
        """Measure the gain of the operations that were chosen.

        Args:
            network: with decisions, each of which has drawn.
            losses: of two halves of a batch; their graphs are used up.

        Returns:
            The mean gradient of alpha, in the order of `alphas`; None where alpha has no part.
        """
        found = decisions(network)
        owned = {name: _weights(network, name) for name in found}
        weights = [weight for own in owned.values() for weight in own]
        mine = alphas(network)
        halves = [
            torch.autograd.grad(loss, [*mine, *weights], allow_unused=True, retain_graph=True)
            for loss in losses
        ]
        products = iter(
            [_product(one, other) for one, other in zip(*halves, strict=True)][len(mine) :]
        )
        for name, own in owned.items():
            gain = sum(next(products) for _ in own)
            self._note(name, found[name].operations[_drawn(found[name])], gain)
        return [
            None if one is None or other is None else (one + other) / 2
            for one, other in zip(*(half[: len(mine)] for half in halves), strict=True)
        ]

    def worth(self, name: str, operations: Sequence[str]) -> Tensor:
        """By how much the loss is expected to fall by what each operation would learn.

        Args:
            name: of the decision.
            operations: of it; one that was never measured counts as the mean of the others.

        Returns:
            Shape (operations,).
        """
        known = {each: gain for each, (gain, _) in self.gains.get(name, {}).items()}
        mean = sum(known.values()) / len(known) if known else 0.0
        return self.horizon * torch.tensor([known.get(each, mean) for each in operations])

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {name: dict(gains) for name, gains in self.gains.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.gains = {
            name: {each: (gain, count) for each, (gain, count) in gains.items()}
            for name, gains in state.items()
        }

    def _note(self, name: str, operation: str, gain: float) -> None:
        known = self.gains.setdefault(name, {})
        kept, count = known.get(operation, (0.0, 0))
        share = max(1 / (count + 1), 1 - MEMORY)
        known[operation] = ((1 - share) * kept + share * gain, count + 1)


def _drawn(decision: Any) -> int:
    return int(decision.soft.argmax())


def _weights(network: nn.Module, name: str) -> list[nn.Parameter]:
    """Those of the operation that a decision has drawn, in all places that share it."""
    found: list[nn.Parameter] = []
    for module in network.modules():
        if isinstance(module, Mixed) and module.decision.name == name:
            operation = module.operations[module.decision.operations[_drawn(module.decision)]]
            found.extend(p for p in operation.parameters() if p.requires_grad)
    return found


def _product(one: Tensor | None, other: Tensor | None) -> float:
    return 0.0 if one is None or other is None else float((one * other).sum())
