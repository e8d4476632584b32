"""A search, epoch by epoch: weights and architecture parameters, each with data of their own."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from neuroexapt.errors import DataError, SearchError, TrainingError
from neuroexapt.search.config import Phase, SearchConfig
from neuroexapt.search.cost import OperationCosts
from neuroexapt.search.decisions import (
    alphas,
    commit,
    decisions,
    explore,
    mix,
    other_parameters,
    probabilities,
    sample,
)
from neuroexapt.search.movement import Movement, movement
from neuroexapt.search.overlap import check_apart
from neuroexapt.search.temperature import Temperature
from neuroexapt.training import (
    EpochResult,
    Step,
    build_criterion,
    build_optimizer,
    evaluate,
    set_lr,
    train_epoch,
)
from neuroexapt.training.loaders import pairs
from neuroexapt.training.loop import all_finite
from neuroexapt.training.modes import device_of

BACKWARD = 2
"""What a backward pass takes, in forward passes."""
ENOUGH_STEPS = 20
"""Alpha's steps of one epoch after which a decision without any gradient has no part."""
_UNHEARD = (
    "alpha {} never enters what the network computes, so that it can't be learnt; call the mixed "
    "operation in forward"
)
SATURATED = 0.99
"""A relaxed sample above this is as good as hard."""


class SearchEpoch(BaseModel):
    """What one epoch of a search came to.

    Attributes:
        epoch: counted from 0.
        phase: what it was for.
        explored: whether operations were drawn evenly.
        temperature: of the draws, as it was.
        train_loss: mean over the training samples; with another draw for each batch.
        train_accuracy: 0 to 1.
        val_loss: of the likeliest operations alone, on held-out data.
        val_accuracy: likewise, 0 to 1.
        weight_steps: of the weights, in this epoch.
        alpha_steps: of the architecture parameters, in this epoch.
        saturated: share of the draws at alpha's steps whose relaxed sample was above `SATURATED`
            for one operation, so that hardly a gradient got through.
        movement: what happened to alpha.
        choices: decision -> likeliest operation, at the end.
        flops: spent since the search began; 2 for each multiply-accumulate, a backward pass counted
            as two forward ones.
        seconds: wall time of this epoch.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int
    phase: Phase
    explored: bool
    temperature: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    weight_steps: int
    alpha_steps: int
    saturated: float
    movement: Movement
    choices: dict[str, str]
    flops: int
    seconds: float


class Searching:
    """A search as it goes.

    Args:
        network: with decisions; it is trained in place.
        config: how.
        example: a batch of inputs, on the network's device.

    Raises:
        SearchError: if there is nothing to decide.

    Attributes:
        epoch: how many are trained.
        temperature: as it is now.
        history: one record an epoch.
        weights: the optimiser of everything but alpha.
        alpha: the optimiser of the architecture parameters.
        flops: spent so far.
    """

    def __init__(self, network: nn.Module, config: SearchConfig, example: Tensor) -> None:
        self.network, self.config = network, config
        self.costs = OperationCosts.of(network, example)
        self.temperature = Temperature.of(config.annealing)
        self.history: list[SearchEpoch] = []
        self.epoch = self.flops = 0
        with frozen(alphas(network)):
            self.weights = build_optimizer(network, config.recipe)
        self.alpha = torch.optim.Adam(
            alphas(network),
            lr=config.alpha.lr,
            betas=config.alpha.betas,
            weight_decay=config.alpha.weight_decay,
        )
        self.criterion = build_criterion(config.recipe)
        self.generator = torch.Generator().manual_seed(config.seed)
        self._alpha_steps = 0
        self._saturated = 0
        self._heard: set[str] = set()

    def run(self, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> Iterator[SearchEpoch]:
        """Search to the end, giving each epoch's record.

        Args:
            train_loader: yields (inputs, targets), for the weights; again for every epoch.
            val_loader: likewise, held out from the weights.

        Raises:
            SearchError: if both loaders are one, or alpha has no part in what is computed.
            TrainingError: if a loss isn't finite.
            DataError: if a loader yields nothing usable.
        """
        if self.config.alpha.data == "held-out":
            check_apart(train_loader, val_loader)
        while self.epoch < self.config.epochs:
            yield self._epoch(train_loader, val_loader)

    def _epoch(self, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> SearchEpoch:
        began = time.perf_counter()
        config, epoch = self.config, self.epoch
        phase, explored = config.phase(epoch), config.explores(epoch)
        before, temperature = probabilities(self.network), self.temperature.value
        searching = phase in ("search", "growth")
        self._alpha_steps = self._saturated = 0
        set_lr(self.weights, config.recipe, epoch / config.epochs)
        for_alpha = train_loader if config.alpha.data == "training" else val_loader
        beside = endless(for_alpha) if searching and config.alpha.unit == "batches" else None
        trained = self._train(train_loader, phase, beside)
        if searching and self._is_turn(epoch):
            for inputs, targets in pairs(for_alpha, device_of(self.network)):
                self._alpha_step(inputs, targets)
        if searching:
            self.temperature.after_epoch(epoch + 1)
            self._check_heard()
        commit(self.network)
        held_out = evaluate(self.network, val_loader, self.criterion, amp=config.recipe.amp)
        self.epoch += 1
        record = SearchEpoch(
            epoch=epoch,
            phase=phase,
            explored=explored,
            temperature=temperature,
            train_loss=trained.loss,
            train_accuracy=trained.accuracy,
            val_loss=held_out.loss,
            val_accuracy=held_out.accuracy,
            weight_steps=trained.num_steps,
            alpha_steps=self._alpha_steps,
            saturated=self._saturated / max(self._alpha_steps * len(before), 1),
            movement=movement(before, probabilities(self.network)),
            choices=commit(self.network),
            flops=self.flops,
            seconds=time.perf_counter() - began,
        )
        self.history.append(record)
        return record

    def _is_turn(self, epoch: int) -> bool:
        """Whether alpha takes a pass over its data after an epoch."""
        alpha = self.config.alpha
        since = epoch - self.config.warmup
        return alpha.unit == "epochs" and since % alpha.every == alpha.every - 1

    def _train(
        self, loader: Iterable[Any], phase: Phase, beside: Iterator[Any] | None
    ) -> EpochResult:
        """Train the weights for an epoch; alpha takes its steps between, if `beside` gives data."""
        explored = self.config.explores(self.epoch)

        def draw(inputs: Tensor) -> None:
            if phase == "final":
                commit(self.network)
            elif self.config.relaxation == "softmax" and not explored:
                mix(self.network)
            elif explored:
                explore(self.network, self.generator)
            else:
                sample(self.network, self.temperature.value, self.generator)
            self._count(inputs, 1 + BACKWARD)

        def between(step: Step) -> None:
            if beside is not None and step.index % self.config.alpha.every == 0:
                inputs, targets = next(pairs(beside, device_of(self.network)))
                self._alpha_step(inputs, targets)

        return train_epoch(
            Drawn(self.network, draw),
            loader,
            self.weights,
            self.criterion,
            amp=self.config.recipe.amp,
            on_step=between,
        )

    def _alpha_step(self, inputs: Tensor, targets: Tensor) -> None:
        """One step of the architecture parameters; weights rest, and take no gradient."""
        config, network = self.config.alpha, self.network
        if self.config.relaxation == "softmax":
            mix(network)
        else:
            sample(
                network,
                self.temperature.value,
                self.generator,
                learning=True,
                run_all=config.run_all,
            )
        network.train()
        with frozen(other_parameters(network)):
            with torch.autocast(inputs.device.type, torch.bfloat16, enabled=self.config.recipe.amp):
                loss = self.criterion(network(inputs), targets)
            if not loss.requires_grad:
                raise SearchError(_UNHEARD.format("of any decision"))
            self.alpha.zero_grad()
            loss.backward()
        if not all_finite([alpha.grad for alpha in alphas(network) if alpha.grad is not None]):
            raise TrainingError(
                f"alpha's gradient isn't finite, at a loss of {float(loss.detach()):.3g}; lower "
                "the weights' learning rate"
            )
        self.alpha.step()
        self._count(inputs, 1 + BACKWARD)
        self._alpha_steps += 1
        for name, decision in decisions(network).items():
            if decision.alpha.grad is not None:
                self._heard.add(name)
            if decision.soft is not None:
                self._saturated += int(decision.soft.max() > SATURATED)
        self.temperature.after_alpha_step()

    def _check_heard(self) -> None:
        """Refuse a network of which some decisions make no difference.

        Raises:
            SearchError: naming one, once alpha has taken enough steps.
        """
        unheard = sorted(decisions(self.network).keys() - self._heard)
        if self._alpha_steps >= ENOUGH_STEPS and unheard:
            raise SearchError(_UNHEARD.format(f"of the decision {unheard[0]!r}"))

    def _count(self, inputs: Tensor, passes: int) -> None:
        self.flops += passes * len(inputs) * self.costs.active(self.network)

    def state_dict(self) -> dict[str, Any]:
        """All that a search goes on from, beside the network's own state."""
        return {
            "epoch": self.epoch,
            "flops": self.flops,
            "temperature": self.temperature.state_dict(),
            "history": [record.model_dump(mode="json") for record in self.history],
            "weights": self.weights.state_dict(),
            "alpha": self.alpha.state_dict(),
            "generator": self.generator.get_state(),
            "heard": sorted(self._heard),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave; the network has to be as it was by then."""
        self.epoch, self.flops = state["epoch"], state["flops"]
        self.temperature.load_state_dict(state["temperature"])
        self.history = [SearchEpoch.model_validate(record) for record in state["history"]]
        self.weights.load_state_dict(state["weights"])
        self.alpha.load_state_dict(state["alpha"])
        self.generator.set_state(state["generator"])
        self._heard = set(state["heard"])


class Drawn(nn.Module):
    """A network that says before every training batch which operations run."""

    def __init__(self, network: nn.Module, draw: Callable[[Tensor], None]) -> None:
        super().__init__()
        self.network, self._draw = network, draw

    def forward(self, x: Tensor) -> Tensor:
        """As the network, with a draw before."""
        if self.training:
            self._draw(x)
        outputs: Tensor = self.network(x)
        return outputs


def endless(loader: Iterable[Any]) -> Iterator[Any]:
    """A loader's batches, again and again.

    Raises:
        DataError: if there are none.
    """
    while True:
        empty = True
        for batch in loader:
            empty = False
            yield batch
        if empty:
            raise DataError("the loader for alpha yields nothing; give one that isn't used up")


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
