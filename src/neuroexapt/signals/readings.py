"""Sense everything in one pass over a few batches."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import torch
from torch import Tensor

from neuroexapt.errors import DataError, TrainingError
from neuroexapt.graph import Inputs, LivingModel
from neuroexapt.signals.capture import INPUT, GroupEntropy, Pass, first_not_finite
from neuroexapt.signals.correlation import LayerCorrelation, correlated, noise_floor
from neuroexapt.signals.layers import distant_pairs, layers
from neuroexapt.signals.loss import summed_loss
from neuroexapt.signals.pairs import checked, moved
from neuroexapt.signals.refusal import by_criterion, by_model
from neuroexapt.signals.untouched import untouched


@dataclass(frozen=True, eq=False)
class Readings:
    """What a model says it needs.

    Attributes:
        entropy: group name -> normalised activation entropy of each unit, 0 to 1, shape (size,).
        dead: group name -> which units gave one and the same value throughout, shape (size,).
        saliency: group name -> what each unit matters to the loss, shape (size,), never negative:
            units and groups can be compared by it, but together they matter more than their sum.
            Empty without gradients.
        correlations: of layers that are not adjacent, strongest first.
        loss: mean over the samples, in eval mode; not a number without gradients.
        noise_floor: magnitude from which one of these correlations is significant.
        num_samples: that were looked at.
        flops: spent on it, 2 a multiply-accumulate.
        seconds: wall-clock time.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> readings = sense(living, [(torch.randn(8, 4), None)], gradients=False)
        >>> readings.num_samples, readings.flops, readings.dead["0"]
        (8, 288, tensor([False, False, False]))
    """

    entropy: Mapping[str, Tensor] = field(repr=False)
    dead: Mapping[str, Tensor] = field(repr=False)
    saliency: Mapping[str, Tensor] = field(repr=False)
    correlations: tuple[LayerCorrelation, ...] = field(repr=False)
    loss: float
    noise_floor: float
    num_samples: int
    flops: int
    seconds: float


def sense(
    living: LivingModel,
    batches: Iterable[Any],
    criterion: Callable[[Any, Any], Tensor] | None = None,
    *,
    num_batches: int = 2,
    max_samples_per_unit: int = 2048,
    bins: int = 32,
    gradients: bool = True,
) -> Readings:
    """Measure activation entropy and gradient correlation, all groups and layers in one pass.

    The model runs in eval mode: norms use their running statistics and dropout is off, so that no
    sample's loss depends on another sample, and a reading is of the network, not of its noise.
    Modes, buffers, gradients and random numbers are as before afterwards, and no weight's gradient
    is computed. It takes time linear in the number of layers.

    Groups whose units are nowhere to be seen one by one (`group.site` is None) have no entropy;
    layers whose output does not begin with the samples have no correlation.

    FLOPs are counted as the forward pass and, with gradients, as much again for the gradients of
    the activations; the first layer's, which nobody needs, is counted too. A training step on the
    same samples takes half as much again.

    Args:
        living: the model, on any device; batches are moved there.
        batches: yields (inputs, targets): inputs are a tensor, a tuple or a dict of keywords, as
            for `LivingModel`, samples first.
        criterion: model output and targets to a loss. A single number is taken for the mean over
            the batch's samples, or their sum if the criterion's `reduction` says so; anything else
            is summed. It must not mix samples beyond that.
        num_batches: to look at, at most.
        max_samples_per_unit: activations that count for each unit, spread over samples and
            positions.
        bins: of the entropy's histogram.
        gradients: whether to correlate gradients; without, no criterion is needed.

    Raises:
        DataError: if `batches` yields nothing, or something else; or if the model doesn't take its
            inputs, or the criterion its targets.
        TrainingError: if anything isn't finite, naming the layer where that began.
        ValueError: if an argument is out of range.

    Example:
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> batch = torch.randn(64, 4), torch.randint(2, (64,))
        >>> readings = sense(living, [batch], nn.CrossEntropyLoss())
        >>> readings.num_samples, readings.entropy["0"].shape
        (64, torch.Size([3]))
        >>> [(pair.source, pair.target) for pair in readings.correlations]
        [('0', '3')]
    """
    _check(criterion, num_batches, max_samples_per_unit, gradients)
    start = time.perf_counter()
    first = next(chain(living.parameters(), living.buffers()), torch.zeros(()))
    limit = -(-max_samples_per_unit // num_batches)
    with untouched(living.graph_module, first.device), torch.set_grad_enabled(gradients):
        groups = [
            GroupEntropy(group, bins, limit, first.device)
            for group in living.groups
            if group.site is not None
        ]
        sensing = _Sensing(living, groups, criterion if gradients else None)
        living.graph_module.eval()
        for inputs, targets in islice(checked(batches), num_batches):
            sensing.look(inputs.to(first.device), moved(targets, first.device))
    if not sensing.num_samples:
        cause = "its data set is empty, or smaller than one batch while incomplete ones are dropped"
        if isinstance(batches, Iterator):
            cause = (
                f"it is an iterator ({type(batches).__name__}), which one pass uses up; give what "
                "it was made from, such as a DataLoader or a list of batches"
            )
        raise DataError(f"there is no batch to sense on: the loader yields nothing; {cause}")
    pairs, names, signatures = sensing.signatures()
    return Readings(
        entropy={watcher.group.name: watcher.entropy() for watcher in groups},
        dead={watcher.group.name: watcher.dead() for watcher in groups},
        saliency=sensing.saliency(),
        correlations=correlated(names, signatures, pairs),
        loss=sensing.total / sensing.num_samples,
        noise_floor=noise_floor(sensing.num_samples, len(pairs)),
        num_samples=sensing.num_samples,
        flops=2 * living.cost().macs * sensing.num_samples * (2 if gradients else 1),
        seconds=time.perf_counter() - start,
    )


class _Sensing:
    """What is gathered, batch by batch."""

    def __init__(
        self,
        living: LivingModel,
        groups: Iterable[GroupEntropy],
        criterion: Callable[[Any, Any], Tensor] | None,
    ) -> None:
        self.living, self.criterion = living, criterion
        self.num_samples = 0
        self.total = 0.0 if criterion is not None else math.nan
        self.groups = tuple(groups)
        self.watchers: dict[str, list[GroupEntropy]] = {}
        for watcher in self.groups:
            self.watchers.setdefault(watcher.site.node, []).append(watcher)
        self.layers = () if criterion is None else layers(living)
        begin = _with_samples_first(living)
        self.gained = {
            layer.output_node: layer.name for layer in self.layers if layer.output_node in begin
        }
        self.weighed: dict[str, list[tuple[str, int]]] = {}
        for watcher in self.groups if criterion is not None else ():
            if watcher.site.node in begin and watcher.site.dim > 0:
                place = (watcher.group.name, watcher.site.dim)
                self.weighed.setdefault(watcher.site.node, []).append(place)
        self._gathered: dict[str, list[Tensor]] = {name: [] for name in self.gained.values()}
        self._weights: dict[str, list[Tensor]] = {}

    def look(self, inputs: Inputs, targets: Any) -> None:
        """Run one batch, forward and, with a criterion, backward.

        Raises:
            TrainingError: if anything isn't finite.
            DataError: if the model or the criterion doesn't take the batch.
        """
        run = Pass(self.living.graph_module, self.watchers, self.gained, self.weighed)
        with by_model(self.living, inputs):
            outputs = run.run_on(inputs)
        for watcher in self.groups:
            try:
                watcher.count()
            except ValueError as error:
                raise self._not_finite("an activation", inputs) from error
        if self.criterion is not None:
            with by_criterion(outputs, targets):
                total = summed_loss(self.criterion, outputs, targets, inputs.batch_size)
            if not bool(total.isfinite()):
                raise self._not_finite("the loss", inputs)
            self.total += float(total.detach())
            self._differentiate(total, run, inputs)
        self.num_samples += inputs.batch_size

    def signatures(self) -> tuple[list[tuple[int, int]], list[str], Tensor]:
        """Pairs of layers to correlate, the layers' names, and one number a layer and sample."""
        whole = {name: torch.cat(parts) for name, parts in self._gathered.items() if parts}
        whole = {name: s for name, s in whole.items() if len(s) == self.num_samples}
        names = list(whole)
        if len(names) < 2:
            return [], names, torch.zeros(len(names), self.num_samples)
        index = {name: number for number, name in enumerate(names)}
        pairs = [
            (index[source.name], index[target.name])
            for source, target in distant_pairs(self.living)
            if source.name in index and target.name in index
        ]
        return pairs, names, torch.stack(list(whole.values())).cpu()

    def saliency(self) -> dict[str, Tensor]:
        """For each group what its units matter to the loss.

        A unit's gain g has, for sample n, the gradient s_n. Without the unit (g = 0 for 1) the loss
        rises by mean(s^2) / 2 to second order at a minimum, the Fisher information standing for
        the curvature (Theis et al. 2018, arXiv:1801.05787). Of samples that the network is sure of,
        the gradients are much smaller than the curvature is; so samples are weighted by one over
        the length of s_n, over the group's units, with weights of 1 on average.

        The first order, -mean(s), is left out, though training isn't at a minimum. Over some
        hundred samples it is mostly noise, of which those units have most that matter most; and
        it is large where smaller outputs would merely make the network less sure of itself.
        """
        found = {}
        for watcher in self.groups:
            parts = self._weights.get(watcher.group.name)
            if parts:
                effect = torch.cat(parts).double()
                length = effect.norm(dim=1, keepdim=True)
                weights = torch.where(length > 0, 1 / length, 0)
                weights = weights / weights.mean().clamp_min(torch.finfo(weights.dtype).tiny)
                found[watcher.group.name] = ((weights * effect.square()).mean(0) / 2).cpu()
        return found

    def _differentiate(self, total: Tensor, run: Pass, inputs: Inputs) -> None:
        wanted = {("layer", k): v for k, v in run.gains.items()}
        wanted |= {("group", k): v for k, v in run.channel_gains.items()}
        if not wanted or not total.requires_grad:
            return
        found = torch.autograd.grad(total, list(wanted.values()), materialize_grads=True)
        sizes = {watcher.group.name: watcher for watcher in self.groups}
        for (kind, name), gradient in zip(wanted, found, strict=True):
            if not bool(gradient.isfinite().all()):
                raise self._not_finite(f"the gradient at {name!r}", inputs)
            if kind == "layer":
                self._gathered[name].append(gradient.flatten().float())
            else:
                by_channel = gradient.reshape(len(gradient), -1).double()
                self._weights.setdefault(name, []).append(sizes[name].per_unit(by_channel))

    def _not_finite(self, what: str, inputs: Inputs) -> TrainingError:
        begin = first_not_finite(self.living.graph_module, inputs)
        if begin is None:
            cause = "every activation is finite, so mend the loss or lower the learning rate"
        elif begin == INPUT:
            cause = "the batch's inputs hold values that are not finite already, so mend the data"
        else:
            cause = f"the first such value is in what {begin} gives; lower the learning rate"
        return TrainingError(f"sensing met {what} that is not finite: {cause}")


def _with_samples_first(living: LivingModel) -> set[str]:
    """Names of the nodes whose output's first dimension is the samples."""
    found = set()
    for node in living.graph_module.graph.nodes:
        example = living.example_output(node)
        if isinstance(example, Tensor) and example.ndim:
            found |= {node.name} if len(example) == living.example_inputs.batch_size else set()
    return found


def _check(criterion: object, num_batches: int, max_samples_per_unit: int, gradients: bool) -> None:
    if gradients and criterion is None:
        raise ValueError("gradients need a criterion; give one, or gradients=False")
    if num_batches < 1 or max_samples_per_unit < num_batches:
        raise ValueError(
            f"num_batches is {num_batches} and max_samples_per_unit {max_samples_per_unit}; give "
            "at least 1 batch and a sample for each"
        )
