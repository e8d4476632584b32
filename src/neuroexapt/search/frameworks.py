"""ASO-SE in one call: a network goes in, the plain network that it was found to be comes out."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from neuroexapt.graph import LivingModel
from neuroexapt.search.config import SearchConfig, as_count, improved, original, overridden
from neuroexapt.search.decisions import Decision
from neuroexapt.search.derive import derive
from neuroexapt.search.fitting import check_fits
from neuroexapt.search.record import SearchEpoch
from neuroexapt.search.searchable import searchable
from neuroexapt.search.searching import Searching
from neuroexapt.training import build_criterion, first_batch
from neuroexapt.training.modes import device_of
from neuroexapt.training.settings import validated


class ImprovedASOSEFramework:
    """ASO-SE as it was meant to be: alpha learns from held-out data, and the network grows.

    Args:
        config: a `SearchConfig`, or a mapping with fields that differ from `improved()`.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed.

    Attributes:
        config: how it searches.
        searching: the last search, also while it goes on; what `ASOSEDiagnostics` looks at.

    Example:
        >>> import torch
        >>> from neuroexapt.search import aso_se
        >>> _ = torch.manual_seed(0)
        >>> net = aso_se(num_classes=2, channels=4, operations=["skip_connect", "conv_3x3"])
        >>> x, y = torch.randn(64, 3, 8, 8), torch.arange(64) % 2
        >>> train, val = [(x[:32], y[:32])], [(x[32:], y[32:])]
        >>> framework = ImprovedASOSEFramework({"epochs": 3, "warmup": 1, "final": 2})
        >>> trained, history = framework.train_with_enhanced_aso_se(net, train, val)
        >>> [record.phase for record in history], trained(x).shape
        (['warm-up', 'search', 'final'], torch.Size([64, 2]))
    """

    def __init__(self, config: SearchConfig | Mapping[str, Any] | None = None) -> None:
        self.config = _completed(config, improved)
        self.searching: Searching | None = None

    def train_with_enhanced_aso_se(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any],
        *,
        on_epoch: Callable[[SearchEpoch], object] | None = None,
    ) -> tuple[nn.Module, list[SearchEpoch]]:
        """Search, derive and train on.

        Args:
            model: with decisions, as `aso_se()` or `nasbench201()` give it; or any model, whose
                convolutions, or linear layers, are decided on then. One with decisions is trained
                in place.
            train_loader: yields (inputs, targets), for the weights; again for every epoch.
            val_loader: likewise, held out from the weights; alpha learns on it.
            on_epoch: is given each epoch's record; `ASOSEDiagnostics` can look at `searching` then.

        Returns:
            The plain network of the operations that were chosen, trained, in eval mode; and one
            record an epoch.

        Raises:
            SearchError: if there is nothing to decide, the loaders share samples, or alpha has no
                part in what is computed.
            TrainingError: if a loss isn't finite.
            DataError: if a loader yields nothing usable.
        """
        self.searching = begin(model, self.config, train_loader)
        return _searched(self.searching, train_loader, val_loader, on_epoch)


class OriginalASOSE:
    """ASO-SE as it first was, with its faults, to compare with.

    Alpha takes a step every 5 batches on the data that the weights are trained on; the temperature
    is at its floor soon; the phase that is called growth reaches nothing.

    Args:
        config: a `SearchConfig`, or a mapping with fields that differ from `original()`.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed.

    Attributes:
        config: how it searches.
        searching: the last search, also while it goes on; what `ASOSEDiagnostics` looks at.

    Example:
        >>> OriginalASOSE({"epochs": 100}).config.final
        80
    """

    def __init__(self, config: SearchConfig | Mapping[str, Any] | None = None) -> None:
        self.config = _completed(config, original)
        self.searching: Searching | None = None

    def train_with_aso_se(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any],
        *,
        on_epoch: Callable[[SearchEpoch], object] | None = None,
    ) -> tuple[nn.Module, list[SearchEpoch]]:
        """Search, derive and train on; see `ImprovedASOSEFramework`.

        Args:
            model: as there.
            train_loader: as there; alpha is trained on it, too.
            val_loader: only to judge by.
            on_epoch: as there.

        Returns:
            As there.

        Raises:
            NeuroexaptError: as there.
        """
        self.searching = begin(model, self.config, train_loader)
        return _searched(self.searching, train_loader, val_loader, on_epoch)


def _searched(
    searching: Searching,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any],
    on_epoch: Callable[[SearchEpoch], object] | None,
) -> tuple[nn.Module, list[SearchEpoch]]:
    """Search to the end."""
    for record in searching.run(train_loader, val_loader):
        if on_epoch is not None:
            on_epoch(record)
    return derive(searching.network).eval(), list(searching.history)


def begin(model: nn.Module, config: SearchConfig, train_loader: Iterable[Any]) -> Searching:
    """A search that is about to begin; `run` goes through with it.

    Args:
        model: with decisions, which is trained in place; or any model, of which a copy becomes
            `searchable`.
        config: how.
        train_loader: gives an example of the inputs.

    Raises:
        SearchError: if there is nothing to decide.
        DataError: if the loader yields nothing that the model and the loss take.
    """
    inputs, _ = first_batch(train_loader)
    example = inputs.to(device_of(model))
    network = with_decisions(model, example)
    check_fits(network, train_loader, build_criterion(config.recipe), "training")
    return Searching(network, config, example)


def with_decisions(model: nn.Module, example: Tensor) -> nn.Module:
    """The model itself if it has decisions; otherwise a copy that is `searchable`."""
    if any(isinstance(module, Decision) for module in model.modules()):
        return model.graph_module if isinstance(model, LivingModel) else model
    return searchable(model, example)


def _completed(
    config: SearchConfig | Mapping[str, Any] | None, default: Callable[..., SearchConfig]
) -> SearchConfig:
    """A configuration as it is; or the default one of so many epochs, with fields that differ.

    A mapping within the mapping overrides the default's fields one by one, too.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed.
    """
    if config is None or isinstance(config, Mapping):
        given = dict(config or {})
        known = default(as_count(given.get("epochs"), SearchConfig().epochs)).model_dump()
        return validated(SearchConfig, overridden(known, given), "the config")
    return validated(SearchConfig, config, "the config")
