"""A search, epoch by epoch: weights and architecture parameters, each with data of their own."""

import time
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError
from neuroexapt.search.alpha import BACKWARD, AlphaSteps, frozen
from neuroexapt.search.config import SEARCHING, Phase, SearchConfig
from neuroexapt.search.cost import OperationCosts
from neuroexapt.search.decisions import alphas, commit, other_parameters, probabilities
from neuroexapt.search.drawn import Drawn, draw
from neuroexapt.search.expand import Expansion
from neuroexapt.search.fitting import check_fits
from neuroexapt.search.growing import adopt, grow, grow_again, is_stuck
from neuroexapt.search.heard import check_heard, check_traceable
from neuroexapt.search.judging import judge, settle
from neuroexapt.search.loaders import endless, read_beside
from neuroexapt.search.measuring import gap_of, measure_in_passing
from neuroexapt.search.movement import movement
from neuroexapt.search.overlap import check_apart
from neuroexapt.search.record import SearchEpoch
from neuroexapt.search.temperature import Temperature
from neuroexapt.training import (
    EpochResult,
    Step,
    build_criterion,
    build_optimizer,
    set_lr,
    train_epoch,
)
from neuroexapt.training.loaders import check_repeatable, pairs, tell_epoch

_GROWS = "Only what can be traced can grow within a search: or leave growth out, by expansion=None"
EXAMPLES = 8
"""Samples that expansions are checked on."""
PASSES = 1000
"""More than alpha ever makes over its data in one epoch; so each pass has a number of its own."""


class Searching:
    """A search as it goes.

    Args:
        network: with decisions; it is trained in place.
        config: how.
        example: a batch of inputs, on the network's device.

    Raises:
        SearchError: if there is nothing to decide, or to train.

    Attributes:
        network: as it is now; an expansion puts another one here that shares its modules.
        epoch: how many are trained.
        temperature: as it is now.
        history: one record an epoch.
        expansions: how the network grew.
        weights: the optimiser of everything but alpha.
        steps: trains the architecture parameters.
        flops: spent so far.
    """

    def __init__(self, network: nn.Module, config: SearchConfig, example: Tensor) -> None:
        self.network, self.config = network, config
        self.costs = OperationCosts.of(network, example)
        self.temperature = Temperature.of(config.annealing)
        self.history: list[SearchEpoch] = []
        self.expansions: list[Expansion] = []
        self.epoch = self.flops = 0
        if not any(parameter.requires_grad for parameter in other_parameters(network)):
            raise SearchError(
                "no weight of the network is trainable; unfreeze what is to be trained"
            )
        with frozen(alphas(network)):
            self.weights = build_optimizer(network, config.recipe)
        self.criterion = build_criterion(config.recipe)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.steps = AlphaSteps(network, config, self.temperature, self.generator)
        self._example = example[:EXAMPLES]

    @property
    def alpha(self) -> torch.optim.Optimizer:
        """The optimiser of the architecture parameters."""
        return self.steps.optimizer

    @property
    def progress(self) -> float:
        """Share of the search that is over, 0 to 1."""
        limit = self.config.max_flops
        return min(self.flops / limit, 1.0) if limit else self.epoch / self.config.epochs

    @property
    def finished(self) -> bool:
        """Whether the last epoch is over, or the FLOPs are spent."""
        return self.progress >= 1

    def run(self, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> Iterator[SearchEpoch]:
        """Search to the end, giving each epoch's record.

        Args:
            train_loader: yields (inputs, targets), for the weights; again for every epoch.
            val_loader: likewise, held out from the weights.

        Loaders with `set_epoch` are told a new number for every pass.

        Raises:
            SearchError: if loaders share samples, or a decision has no part in what is computed.
            TraceError: if the network is to grow, and can't be traced.
            TrainingError: if a loss isn't finite.
            DataError: if a loader yields nothing that the network and the loss take, or is used up
                by one pass.
        """
        for name, loader in (("training", train_loader), ("validation", val_loader)):
            check_repeatable(loader)
            check_fits(self.network, loader, self.criterion, name)
        check_heard(self.network, self._example)
        if self.config.expansion is not None:
            check_traceable(self.network, self._example, _GROWS)
        if self.config.alpha.data == "held-out":
            check_apart(train_loader, val_loader)
        while not self.finished:
            yield self.run_epoch(train_loader, val_loader)

    def run_epoch(self, train_loader: Iterable[Any], val_loader: Iterable[Any]) -> SearchEpoch:
        """Train one epoch, with alpha's turns and, on a plateau, growth; see `run`.

        Norms are calibrated for what was chosen whenever it is judged, and in the end for good.
        """
        began = time.perf_counter()
        config, epoch = self.config, self.epoch
        phase, explored = config.phase(epoch), config.explores(epoch)
        before, temperature = probabilities(self.network), self.temperature.value
        searching = phase in SEARCHING
        derived = phase == "final" and (not epoch or config.phase(epoch - 1) != "final")
        gap = self._gap(val_loader) if derived else None
        self.steps.begin_epoch()
        set_lr(self.weights, config.recipe, self._scheduled(phase))
        for_alpha = train_loader if config.alpha.data == "training" else val_loader
        by_batches = searching and config.alpha.unit == "batches"
        taken = sum(record.alpha_steps for record in self.history)
        own = endless(read_beside(for_alpha), PASSES * epoch, taken) if by_batches else None
        tell_epoch(train_loader, epoch)
        trained = self._train(train_loader, own, phase)
        if searching and self._is_turn(epoch):
            tell_epoch(for_alpha, PASSES * epoch)
            for inputs, targets in pairs(for_alpha, self.network):
                self._alpha_step(inputs, targets)
        if searching:
            self.temperature.after_epoch(epoch + 1)
        tell_epoch(val_loader, PASSES * epoch)
        judged = (self.network, train_loader, val_loader, self.criterion)
        held_out = judge(*judged, amp=config.recipe.amp)
        self.epoch += 1
        if searching and is_stuck(config, self.history, self.expansions, held_out.accuracy):
            self._grow(val_loader)
        if self.finished:
            gap = gap if phase == "final" else self._gap(val_loader)
            settle(self.network, train_loader)
        measured = None
        if config.measures(epoch):
            known = (self.network, config, self.temperature.value, self.criterion)
            measured = measure_in_passing(*known, train_loader, val_loader)
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
            alpha_steps=self.steps.num_steps,
            saturated=self.steps.saturated,
            movement=movement(before, probabilities(self.network)),
            choices=commit(self.network),
            expansions=len(self.expansions),
            flops=self.flops,
            seconds=time.perf_counter() - began,
            gap=gap,
            measured=measured,
        )
        self.history.append(record)
        return record

    def _scheduled(self, phase: Phase) -> float:
        """How far the learning rate's schedule is, 0 to 1."""
        if phase != "final" or not self.config.restart:
            return self.progress
        limit, before = self.config.max_flops, [r for r in self.history if r.phase != "final"]
        if limit:
            began = before[-1].flops / limit if before else 0.0
        else:
            began = len(before) / self.config.epochs
        return (self.progress - began) / (1 - began)

    def _gap(self, val_loader: Iterable[Any]) -> float | None:
        tell_epoch(val_loader, PASSES * self.epoch)
        known = (self.network, self.config, self.temperature.value, self.criterion)
        return gap_of(*known, val_loader)

    def _is_turn(self, epoch: int) -> bool:
        """Whether alpha takes a pass over its data after an epoch."""
        alpha = self.config.alpha
        since = epoch - self.config.warmup
        return alpha.unit == "epochs" and since % alpha.every == alpha.every - 1

    def _train(self, loader: Iterable[Any], own: Iterator[Any] | None, phase: Phase) -> EpochResult:
        """Train the weights for an epoch; alpha takes steps between, if it has data of its own.

        Where the schedule follows the FLOPs that are spent, so does each step's learning rate.
        """
        limit = self.config.max_flops

        def before(inputs: Tensor) -> None:
            draw(self.network, self.config, self.epoch, self.temperature.value, self.generator)
            self._count(inputs, 1 + BACKWARD)

        def between(step: Step) -> bool:
            if own is not None and step.index % self.config.alpha.every == 0:
                inputs, targets = next(pairs(own, self.network))
                self._alpha_step(inputs, targets)
            if limit:
                set_lr(self.weights, self.config.recipe, min(self._scheduled(phase), 1.0))
            return bool(limit) and self.finished

        return train_epoch(
            Drawn(self.network, before),
            loader,
            self.weights,
            self.criterion,
            amp=self.config.recipe.amp,
            clip_norm=self.config.recipe.clip_norm,
            on_step=between,
        )

    def _alpha_step(self, inputs: Tensor, targets: Tensor) -> None:
        self.steps.step(self.network, inputs, targets, self.criterion)
        self._count(inputs, self.steps.passes)

    def _grow(self, val_loader: Iterable[Any]) -> None:
        config = self.config.expansion
        assert config is not None
        grown = grow(
            self.network,
            val_loader,
            self.config,
            self._example,
            self.criterion,
            epoch=self.epoch,
            number=len(self.expansions),
        )
        self.flops += grown.flops
        if grown.expansion is None:
            return
        self._go_on_with(grown.network)
        self.expansions.append(grown.expansion)
        self.temperature.reheat(config.reheat * self.config.annealing.start)

    def _go_on_with(self, grown: nn.Module) -> None:
        """Search an expanded network instead of the one that it was made from."""
        adopt(grown, self.network, self.weights, self.steps, self.config.recipe)
        self.network = grown
        self.costs = OperationCosts.of(grown, self._example)

    def _count(self, inputs: Tensor, passes: int) -> None:
        self.flops += passes * len(inputs) * self.costs.active(self.network)

    def state_dict(self) -> dict[str, Any]:
        """All that a search goes on from, beside the network's own state."""
        return {
            "progress": self.progress_dict(),
            "weights": self.weights.state_dict(),
            "alpha": self.alpha.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave.

        Args:
            state: of a search of the same network and settings; this one has to be new. The
                network is expanded as that one's was; its weights are loaded after this.
        """
        self.load_progress_dict(state["progress"])
        self.weights.load_state_dict(state["weights"])
        self.alpha.load_state_dict(state["alpha"])
        self.generator.set_state(state["generator"])

    def progress_dict(self) -> dict[str, Any]:
        """How far the search is, as JSON values."""
        return {
            "epoch": self.epoch,
            "flops": self.flops,
            "temperature": self.temperature.state_dict(),
            "history": [record.model_dump(mode="json") for record in self.history],
            "expansions": [growth.model_dump(mode="json") for growth in self.expansions],
            "prospects": self.steps.prospects.state_dict() if self.steps.prospects else None,
        }

    def load_progress_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `progress_dict` gave; expands the network, see `load_state_dict`."""
        self.expansions = [Expansion.model_validate(growth) for growth in state["expansions"]]
        for growth in self.expansions:
            self._go_on_with(grow_again(self.network, growth, self.config, self._example))
        self.epoch, self.flops = state["epoch"], state["flops"]
        self.temperature.load_state_dict(state["temperature"])
        self.history = [SearchEpoch.model_validate(record) for record in state["history"]]
        if self.steps.prospects is not None:
            self.steps.prospects.load_state_dict(state["prospects"])
