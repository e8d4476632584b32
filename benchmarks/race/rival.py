"""GroMo, another library that grows networks: its own VGG, its own criterion, the same recipe.

pip install torch==2.13.0 gromo==0.1.0
"""

import importlib
import importlib.util
import time
from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from results import known_settings
from settings import PFLOP, REGIMES, Job, Place
from torch import Tensor, nn

from neuroexapt.graph.flops import counting
from neuroexapt.runs import configure
from neuroexapt.training import (
    Batches,
    DataSplits,
    Recipe,
    Step,
    build_criterion,
    build_optimizer,
    evaluate,
    evaluation_batches,
    first_batch,
    load,
    seeded,
    set_lr,
    train_batches,
    train_epoch,
)

STEPS = 4
"""Growths, evenly spread over the compute until `UNTIL`."""
UNTIL = 0.6
STATISTICS = 2
"""Batches that a growth looks at."""
SCALES = (0.03, 0.1, 0.3, 1.0)
"""Sizes of the new weights that are tried at each growth: TINY's line search."""


def available() -> bool:
    """Whether GroMo is installed."""
    return importlib.util.find_spec("gromo") is not None


def gromo(job: Job, place: Place) -> dict[str, Any]:
    """Grow GroMo's VGG, two convolutions a stage as in airbench.

    It grows channels between the convolutions of a stage, from the seed's width to the stage's,
    that of the sweep's third width. Its optimiser doesn't follow growth, so it is built anew.

    Raises:
        SystemExit: if GroMo isn't installed.
    """
    if not available():
        raise SystemExit(
            "gromo isn't installed; pip install torch==2.13.0 gromo==0.1.0 beside neuroexapt, or "
            "leave this contender out"
        )
    regime = REGIMES[job.regime]
    recipe = configure(known_settings(job, place) | {"epochs": 1, "recipe": regime.recipe}).recipe
    data = load(job.data, place.data_dir)
    torch.set_num_threads(place.threads)
    seeded(job.seed)
    widths = regime.widths(job.budget)
    model = _vgg(data, start=widths[0], end=widths[min(2, len(widths) - 1)], device=place.device)
    return _Growing(job, data, recipe, model, place.device).finish()


def _vgg(data: DataSplits, start: int, end: int, device: str) -> Any:
    vgg = importlib.import_module("gromo.containers.vgg").VGG
    sides = min(data.image_size)
    stages = [(start, end), (4 * start, 4 * end), (4 * start, 4 * end)]
    now: list[int | str] = []
    goal: list[int | str] = []
    for hidden, outside in stages:
        now += [hidden, outside, "M"]
        goal += [outside, outside, "M"]
    return vgg(
        now,
        goal,
        in_features=data.num_channels,
        activation=nn.GELU(),
        normalization="batch",
        num_classes=data.num_classes,
        number_of_fc_layers=1,
        input_spatial_shape=(sides, sides),
        device=torch.device(device),
    )


def _forget_shapes(model: nn.Module) -> None:
    """Let statistics take the shape that they have at the next growth.

    After a growth GroMo 0.1.0 expects (in + 1) k k numbers of a layer with a bias, which are
    in k k + 1, so that a second growth fails on its own check.
    """
    for module in model.modules():
        for name in ("_tensor_s", "tensor_m"):
            statistic = getattr(module, name, None)
            if statistic is not None:
                statistic._shape = None


class _Growing:
    """A training that grows as it goes."""

    def __init__(self, job: Job, data: DataSplits, recipe: Recipe, model: Any, device: str) -> None:
        self.job, self.data, self.recipe = job, data, recipe
        self.model, self.device = model.to(device), device
        self.criterion = build_criterion(recipe)
        self.optimizer = build_optimizer(model, recipe)
        self.train = train_batches(data, recipe, seed=job.seed, device=device)
        self.flops = self.overhead = self.per_sample = 0
        self.curve: list[list[float]] = []
        self.growths: list[dict[str, Any]] = []
        self.done = 0

    @property
    def progress(self) -> float:
        return min(self.flops / self.job.max_flops, 1.0)

    def finish(self) -> dict[str, Any]:
        """Train until the compute is spent, then read the test part."""
        began, epoch = time.perf_counter(), 0
        params, macs = self._cost()
        validation = self._batches(self.data.validation)
        self._count_step()
        while self.progress < 1:
            self.train.set_epoch(epoch)
            set_lr(self.optimizer, self.recipe, self.progress)
            train_epoch(
                self.model, self.train, self.optimizer, self.criterion, on_step=self._after_step
            )
            found = evaluate(self.model, validation, self.criterion)
            self.curve.append([self.flops / PFLOP, found.accuracy, *self._cost()])
            epoch += 1
            if self.done < STEPS and UNTIL * (self.done + 1) / STEPS <= self.progress < 1:
                self._grow()
        test = self._batches(self.data.test)
        tested = evaluate(self.model, test, self.criterion, views=self.recipe.views)
        last_params, last_macs = self._cost()
        return {
            "settings": {"steps": STEPS, "until": UNTIL, "scales": SCALES, "batches": STATISTICS},
            "test_accuracy": tested.accuracy,
            "val_accuracy": self.curve[-1][1],
            "views": self.recipe.views,
            "params": last_params,
            "macs": last_macs,
            "params_seed": params,
            "macs_seed": macs,
            "pflop": self.flops / PFLOP,
            "overhead_share": self.overhead / self.flops,
            "epochs": epoch,
            "seconds": time.perf_counter() - began,
            "stopped": None,
            "curve": self.curve,
            "edits": self.growths,
            "layers": [],
        }

    def _batches(self, images: Any) -> Batches:
        return evaluation_batches(
            self.data, images, channels_last=self.recipe.channels_last, device=self.device
        )

    def _after_step(self, step: Step) -> bool:
        self.flops += self.per_sample * step.num_samples
        set_lr(self.optimizer, self.recipe, self.progress)
        return self.progress >= 1

    def _count_step(self) -> None:
        """What a forward and a backward pass take now, a sample."""
        inputs, targets = first_batch(self.train)
        self.model.train()
        with counting() as counter:
            self.criterion(self.model(inputs), targets).backward()
        self.per_sample = round(counter.get_total_flops() / len(inputs))
        self.model.zero_grad()

    def _cost(self) -> tuple[int, int]:
        """Parameters, and multiply-accumulates of a sample's forward pass."""
        inputs, _ = first_batch(self.train)
        self.model.eval()
        with counting() as counter, torch.no_grad():
            self.model(inputs[:2])
        params = sum(parameter.numel() for parameter in self.model.parameters())
        return params, counter.get_total_flops() // 4

    def _grow(self) -> None:
        """One growth of all layers that aren't at their goal; its passes count."""
        at, (params, macs) = self.flops, self._cost()
        layers = [layer for layer in self.model._growable_layers if layer.missing_neurons() > 0]
        with counting() as counter:
            self._gather()
            left = STEPS - self.done
            for layer in layers:
                layer.compute_optimal_updates(
                    maximum_added_neurons=-(-layer.missing_neurons() // left), compute_delta=False
                )
            scale = self._best_scale()
        spent = counter.get_total_flops()
        self.model.set_scaling_factor(scale)
        for layer in layers:
            layer.apply_change()
        self.model.reset_computation()
        for layer in layers:
            layer.delete_update()
        _forget_shapes(self.model)
        self.model.zero_grad()
        self.flops, self.overhead = self.flops + spent, self.overhead + spent
        self.optimizer = build_optimizer(self.model, self.recipe)
        self._count_step()
        self.done += 1
        now = self._cost()
        told = {"kind": "gromo", "scale": scale, "layers": len(layers)}
        change = {"params": [params, now[0]], "macs": [macs, now[1]]}
        self.growths.append({"pflop": at / PFLOP, "epoch": len(self.curve), "edit": told} | change)

    def _seen(self) -> Iterable[tuple[Tensor, Tensor]]:
        return islice(iter(self.train), STATISTICS)

    def _gather(self) -> None:
        """GroMo's statistics, with the summed loss that it asks for."""
        criterion = nn.CrossEntropyLoss(reduction="sum")
        self.model.init_computation()
        self.model.eval()
        for inputs, targets in self._seen():
            self.model.zero_grad()
            criterion(self.model(inputs), targets).backward()
            self.model.update_computation()

    def _best_scale(self) -> float:
        """The size of the new weights at which the loss on a batch is least."""
        losses: dict[float, float] = {}
        inputs, targets = next(iter(self._seen()))
        for scale in SCALES:
            self.model.set_scaling_factor(scale)
            with torch.no_grad():
                outputs = self.model.extended_forward(inputs)
            losses[scale] = float(nn.functional.cross_entropy(outputs, targets))
        return min(losses, key=lambda scale: losses[scale])
