"""The architecture parameters' own steps: on data of their own, while the weights rest."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError, TrainingError
from neuroexapt.search.config import SearchConfig
from neuroexapt.search.decisions import alphas, decisions, mix, other_parameters, sample
from neuroexapt.search.heard import unheard
from neuroexapt.search.prospects import Prospects
from neuroexapt.search.temperature import Temperature
from neuroexapt.training.loop import Criterion, all_finite

FEWEST = 4
"""Samples of a batch from which it can be halved: norms can't be trained on a single one."""
BACKWARD = 2
"""What a backward pass takes, in forward passes."""
RESTING = 2
"""What both passes take where weights rest: that of their gradients is left out."""
SATURATED = 0.99
"""A relaxed sample above this is as good as hard."""


class AlphaSteps:
    """Trains architecture parameters, and keeps count.

    Args:
        network: with decisions.
        config: of the search.
        temperature: of the draws; it is told of every step.
        generator: of the draws.

    Attributes:
        optimizer: Adam over alpha.
        num_steps: since `begin_epoch`.
        passes: what the last step took, in forward passes.
        prospects: what operations would still learn; None where that isn't asked.
    """

    def __init__(
        self,
        network: nn.Module,
        config: SearchConfig,
        temperature: Temperature,
        generator: torch.Generator,
    ) -> None:
        alpha = config.alpha
        self.optimizer = torch.optim.Adam(
            alphas(network), lr=alpha.lr, betas=alpha.betas, weight_decay=alpha.weight_decay
        )
        self.num_steps = 0
        looks_ahead = alpha.horizon > 0 and config.relaxation == "gumbel"
        self.prospects = Prospects(alpha.horizon) if looks_ahead else None
        self.passes = 0
        self._config, self._temperature, self._generator = config, temperature, generator
        self._saturated = 0
        self._drawn = 0

    @property
    def saturated(self) -> float:
        """Share of the draws since `begin_epoch` that let hardly a gradient through."""
        return self._saturated / max(self._drawn, 1)

    def begin_epoch(self) -> None:
        """Count from 0 again."""
        self.num_steps = self._saturated = self._drawn = 0

    def step(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion
    ) -> None:
        """Take one step; weights rest, and take no gradient.

        Args:
            network: in which alpha is; it is put into train mode.
            inputs: of a batch.
            targets: of the same.
            criterion: outputs and targets to a mean loss.

        Raises:
            SearchError: if no decision has any part in the loss.
            TrainingError: if alpha's gradient isn't finite.
        """
        self._draw(network)
        network.train()
        self.optimizer.zero_grad()
        if self.prospects is None or len(inputs) < FEWEST:
            self.passes = RESTING
            with frozen(other_parameters(network)):
                loss = self._loss(network, inputs, targets, criterion)
                loss.backward()
        else:
            self.passes = 1 + BACKWARD
            loss = self._look_ahead(self.prospects, network, inputs, targets, criterion)
        if not all_finite([alpha.grad for alpha in alphas(network) if alpha.grad is not None]):
            raise TrainingError(
                f"alpha's gradient isn't finite, at a loss of {float(loss.detach()):.3g}; lower "
                "the weights' learning rate"
            )
        self.optimizer.step()
        self.num_steps += 1
        self._temperature.after_alpha_step()
        for decision in decisions(network).values():
            if decision.soft is not None:
                self._drawn += 1
                self._saturated += int(decision.soft.max() > SATURATED)

    def _loss(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion
    ) -> Tensor:
        amp = self._config.recipe.amp
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=amp):
            loss = criterion(network(inputs), targets)
        if not loss.requires_grad:
            raise SearchError(unheard("of any decision"))
        return loss

    def _look_ahead(
        self,
        prospects: Prospects,
        network: nn.Module,
        inputs: Tensor,
        targets: Tensor,
        criterion: Criterion,
    ) -> Tensor:
        """Alpha's gradient of the loss, less what the operations would still learn."""
        halves = zip(inputs.chunk(2), targets.chunk(2), strict=True)
        losses = [self._loss(network, *half, criterion) for half in halves]
        gradients = prospects.learn(network, losses)
        for (name, decision), gradient in zip(decisions(network).items(), gradients, strict=True):
            if gradient is None or decision.weights is None:
                continue
            worth = prospects.worth(name, decision.operations).to(decision.weights)
            (ahead,) = torch.autograd.grad((decision.weights * worth).sum(), decision.alpha)
            decision.alpha.grad = gradient - ahead
        return torch.stack(losses).mean()

    def add(self, found: Iterable[nn.Parameter]) -> None:
        """Train more architecture parameters, those of new decisions."""
        self.optimizer.param_groups[0]["params"].extend(found)

    def _draw(self, network: nn.Module) -> None:
        if self._config.relaxation == "softmax":
            mix(network)
        else:
            value, running = self._temperature.value, self._config.alpha.num_running
            sample(network, value, self._generator, learning=True, num_running=running)


@contextmanager
def frozen(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Parameters take no gradient inside."""
    held = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in held:
            parameter.requires_grad_(True)
