"""Neuron division: units that carry much information divide."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroexapt.edits import Change, Split
from neuroexapt.edits.width import checked_units, growable
from neuroexapt.errors import EditError
from neuroexapt.graph import ChannelGroup, LivingModel
from neuroexapt.growth import nominate
from neuroexapt.signals import Readings, activation_entropy, sense

CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.RMSNorm, nn.Embedding)


class InformationEntropyNeuronDivision:
    """Divides the units whose activations have the highest entropy.

    A unit that uses its whole range evenly carries as much information as it can; a second one
    relieves it. Entropy is normalised, see `neuroexapt.signals.HistogramEntropy`, so that the
    threshold means the same for every number of bins.

    Args:
        threshold: normalised entropy above which a unit may divide, 0 to 1.
        split_probability: chance that such a unit does.
        max_splits_per_layer: units of one group that divide at a time, at most.
        bins: of the entropy's histogram.
        seed: of the chances.
        num_batches: that `decide_neuron_splits` looks at.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> loader = [(torch.randn(64, 4), torch.randint(2, (64,)))]
        >>> division = InformationEntropyNeuronDivision(split_probability=1)
        >>> decisions = division.decide_neuron_splits(living, loader)
        >>> [str(change.edit) for change in division.execute_splits(living, decisions)]
        ['split 3 units of 0']
    """

    def __init__(
        self,
        threshold: float = 0.6,
        split_probability: float = 0.3,
        max_splits_per_layer: int = 3,
        bins: int = 32,
        seed: int = 0,
        num_batches: int = 2,
    ) -> None:
        _check(threshold, split_probability, max_splits_per_layer)
        self.threshold = threshold
        self.split_probability = split_probability
        self.max_splits_per_layer = max_splits_per_layer
        self.bins = bins
        self.num_batches = num_batches
        self._generator = torch.Generator().manual_seed(seed)

    def analyze_neuron_information_load(self, layer: nn.Module, activations: Tensor) -> Tensor:
        """Normalised entropy of each unit of a layer.

        Args:
            layer: what gave the activations. Linear layers have their units last, others second.
            activations: shape (N, units), (N, units, H, W) or the like; (N, ..., units) of a
                linear layer.

        Returns:
            Shape (units,), 0 to 1.

        Raises:
            ValueError: if the activations can't be this layer's, or aren't finite.

        Example:
            >>> division = InformationEntropyNeuronDivision()
            >>> silent, even = torch.zeros(64), torch.linspace(-1, 1, 64)
            >>> activations = torch.stack([silent, even], dim=1)
            >>> load = division.analyze_neuron_information_load(nn.Linear(4, 2), activations)
            >>> (load > division.threshold).tolist()
            [False, True]
        """
        dim = activations.ndim - 1 if isinstance(layer, CHANNELS_LAST) else 1
        units = getattr(layer, "out_features", getattr(layer, "out_channels", None))
        if activations.ndim < 2 or units not in (None, activations.shape[dim]):
            raise ValueError(
                f"activations of shape {tuple(activations.shape)} are not those of {layer}: "
                f"dimension {dim} has to hold its units"
            )
        return activation_entropy(activations.movedim(dim, 0).flatten(1), self.bins)

    def decide_neuron_splits(
        self, model: nn.Module, train_loader: Iterable[Any]
    ) -> dict[str, tuple[int, ...]]:
        """Choose units to divide.

        Of each group that can grow, units above the threshold come up in order of their entropy,
        and each is taken with the given chance until there are enough.

        Args:
            model: a `LivingModel`.
            train_loader: yields (inputs, targets); the first few batches are looked at.

        Returns:
            Group name -> its units to divide, highest entropy first. Groups without any are left
            out.

        Raises:
            ValueError: if the model is no `LivingModel`.
            DataError: if the loader yields nothing.
            TrainingError: if activations aren't finite.
        """
        living = as_living(model)
        readings = sense(
            living, train_loader, num_batches=self.num_batches, bins=self.bins, gradients=False
        )
        proposals = propose_splits(
            readings,
            nominate.growable(living),
            self.threshold,
            self.split_probability,
            self.max_splits_per_layer,
            self._generator,
        )
        return {split.group: split.units for split, _ in proposals}

    def execute_splits(
        self,
        model: nn.Module,
        split_decisions: Mapping[str, Iterable[int]],
        optimizer: Optimizer | Sequence[Optimizer] | None = None,
    ) -> list[Change]:
        """Divide units, and resize whatever reads them.

        All decisions are checked before the first is carried out.

        Args:
            model: a `LivingModel`; it changes.
            split_decisions: group name -> units to divide, as `decide_neuron_splits` returns them.
            optimizer: one or several, carried across.

        Returns:
            What changed, one a group.

        Raises:
            ValueError: if the model is no `LivingModel`.
            EditError: if a group is unknown or can't grow, or units are none of its numbers.
        """
        living = as_living(model)
        splits = as_splits(split_decisions)
        for split in splits:
            checked_units(growable(living, split.group), split.units)
        return [living.apply(split, optimizer, seed=len(living.edits)) for split in splits]


def propose_splits(
    readings: Readings,
    groups: Iterable[ChannelGroup],
    threshold: float,
    probability: float,
    max_per_group: int,
    generator: torch.Generator,
) -> list[tuple[Split, dict[str, Any]]]:
    """Splits of units with high entropy, with the evidence for each.

    Args:
        readings: of a model with these groups.
        groups: those that can't grow, or have no reading, are passed over.
        threshold: normalised entropy above which a unit may divide.
        probability: chance that such a unit does.
        max_per_group: units of one group, at most.
        generator: the only source of randomness.

    Returns:
        Splits and their JSON-ready evidence, the one with the highest entropy first; the units of
        each likewise.

    Raises:
        ValueError: if a figure is out of range.
    """
    _check(threshold, probability, max_per_group)
    proposals = []
    for group in groups:
        entropy = readings.entropy.get(group.name)
        if group.frozen is not None or entropy is None:
            continue
        values, order = entropy.sort(descending=True, stable=True)
        above = order[values > threshold]
        drawn = torch.rand(len(above), generator=generator) < probability
        units = above[drawn][:max_per_group].tolist()
        if units:
            evidence = {
                "entropy": entropy[units].tolist(),
                "threshold": threshold,
                "num_above": len(above),
                "num_samples": readings.num_samples,
            }
            proposals.append((Split(group=group.name, units=tuple(units)), evidence))
    return sorted(proposals, key=lambda proposal: -proposal[1]["entropy"][0])


def as_splits(decisions: Mapping[str, Iterable[int]]) -> list[Split]:
    """Splits of the units that are named for each group.

    Raises:
        EditError: if units aren't numbers of units.
    """
    found = []
    for name, units in decisions.items():
        if not isinstance(units, Iterable) or isinstance(units, str):
            raise EditError(
                f"the units of {name!r} to divide are {units!r}; give their numbers, such as "
                f"({units!r},)"
            )
        found.append(Split(group=name, units=tuple(units)))
    return found


def as_living(model: nn.Module) -> LivingModel:
    """The model, which has to be living.

    Raises:
        ValueError: if it isn't; says how to make it so.
    """
    if isinstance(getattr(model, "_orig_mod", None), LivingModel):  # what torch.compile makes
        raise ValueError(
            "a compiled model can't change its structure; give the LivingModel that it was made "
            "from, and compile that again after each change"
        )
    if not isinstance(model, LivingModel):
        raise ValueError(
            f"a {type(model).__name__} can't change its structure; make it "
            "neuroexapt.LivingModel(model, example_input) first, and train that"
        )
    return model


def _check(threshold: float, probability: float, max_per_group: int) -> None:
    if not (0 <= threshold <= 1 and 0 <= probability <= 1 and max_per_group >= 0):
        raise ValueError(
            f"threshold is {threshold}, the probability {probability}, and {max_per_group} units "
            "divide at most; give two figures from 0 to 1 (entropy is normalised), and a count"
        )
