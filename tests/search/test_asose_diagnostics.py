"""Live searches on real digits: planted causes are named, and nothing is changed by looking."""

import copy
import random

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.utils.data import DataLoader, Subset, TensorDataset

from neuroexapt.errors import DataError, SearchError
from neuroexapt.search import (
    AlphaConfig,
    Annealing,
    ASOSEDiagnostics,
    ImprovedASOSEFramework,
    OriginalASOSE,
    SearchConfig,
    SearchEpoch,
    Searching,
    SearchRun,
    aso_se,
    darts,
    decisions,
    original,
)
from neuroexapt.search.decisions import alphas
from neuroexapt.training import Recipe

OPERATIONS = ("skip_connect", "avg_pool_3x3", "conv_1x1", "conv_3x3")
Loaders = tuple[DataLoader, DataLoader]


def digits(batch_size: int, count: int = 300) -> Loaders:
    """Two loaders of real digits that share none, with generators of their own."""
    pixels, labels = load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 8 - 1
    data = TensorDataset(images, torch.tensor(labels))
    parts = Subset(data, range(count)), Subset(data, range(count, 2 * count))
    own = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    train, held_out = (
        DataLoader(part, batch_size, shuffle=True, drop_last=True, generator=generator)
        for part, generator in zip(parts, own, strict=True)
    )
    return train, held_out


def searching(config: SearchConfig, num_cells: int = 2) -> Searching:
    torch.manual_seed(0)
    network = aso_se(in_channels=1, channels=4, num_cells=num_cells, operations=OPERATIONS)
    return Searching(network, config, torch.zeros(2, 1, 8, 8))


QUICK = SearchConfig(
    epochs=4, warmup=1, recipe=Recipe(lr=0.05), alpha=AlphaConfig(every=1, unit="batches")
)


def trained(config: SearchConfig, loaders: Loaders, num_cells: int = 2) -> Searching:
    search = searching(config, num_cells)
    list(search.run(*loaders))
    return search


def test_original_names_the_planted_causes():
    loaders = digits(batch_size=4)
    search = trained(original(epochs=20), loaders, num_cells=1)
    found = ASOSEDiagnostics().diagnose(search, *loaders)
    assert found.is_critical
    assert found["leakage"].severity == "critical"
    assert found["too few alpha steps"].severity == "warning"
    assert found["too few alpha steps"].value == pytest.approx(0.2, abs=0.01)
    assert found["temperature at its floor"].severity == "warning"
    assert found["temperature at its floor"].value == 0.1
    assert found["Gumbel saturation"].severity == "critical"
    assert found["not learning"].severity == found["shared samples"].severity == "ok"
    for finding in found.with_severity("critical", "warning"):
        assert finding.remedy, finding.check


def test_improved_stays_quiet():
    loaders = digits(batch_size=25, count=200)
    search = trained(SearchConfig(), loaders, num_cells=1)
    found = ASOSEDiagnostics().diagnose(search, *loaders)
    assert not found.is_critical, found.with_severity("critical")
    for check in ("not learning", "leakage", "shared samples", "Gumbel saturation"):
        assert found[check].severity == "ok", found[check]
    assert found["temperature at its floor"].severity == "ok"


def test_darts_loses_by_deriving_though_it_learns():
    loaders = digits(batch_size=25, count=150)
    found = ASOSEDiagnostics().diagnose(trained(darts(epochs=8), loaders), *loaders)
    assert found["not learning"].severity == "ok"
    assert found["discretisation gap"].value > 0.1
    assert found["discretisation gap"].severity == "warning"
    assert found["Gumbel saturation"].severity == "not measured"


def test_network_that_does_not_learn_is_named_first():
    """As good as untrained, and all skips: that alpha is sure of them says nothing yet."""
    loaders = digits(25)
    search = trained(QUICK.model_copy(update={"recipe": Recipe(lr=1e-9)}), loaders)
    with torch.no_grad():
        for alpha in alphas(search.network):
            alpha[0] = 10.0
    found = ASOSEDiagnostics().diagnose(search, *loaders)
    first, skips = found.findings[0], found["skip dominance"]
    assert (first.check, first.severity) == ("not learning", "critical")
    assert (skips.value, skips.severity) == (1.0, "notice")
    assert "doesn't learn, so this says little" in skips.meaning


def test_draws_of_one_operation_are_measured_as_they_are_made():
    """Over all operations: that only one of them runs doesn't make a draw hard."""
    found = ASOSEDiagnostics(samples=50).diagnose(searching(original(epochs=20)), *digits(25))
    assert searching(original(epochs=20)).temperature.value == 5.0
    assert (found["Gumbel saturation"].severity, found["Gumbel saturation"].value) == ("ok", 0.0)


def test_search_that_has_only_begun_is_not_blamed():
    found = ASOSEDiagnostics().diagnose(searching(QUICK), *digits(25))["not learning"]
    assert found.severity == "notice"
    assert "it has only begun" in found.meaning


def test_final_phase_is_measured_as_it_is_trained():
    """The likeliest operations alone: what else could be drawn has been left behind."""
    loaders = digits(batch_size=25)
    framework = ImprovedASOSEFramework(
        {"epochs": 12, "warmup": 1, "final": 3, "expansion": None, "recipe": {"lr": 0.1}}
    )
    torch.manual_seed(0)
    network = aso_se(in_channels=1, channels=4, num_cells=2, operations=OPERATIONS)
    framework.train_with_enhanced_aso_se(network, *loaders)
    found = ASOSEDiagnostics().diagnose(framework, *loaders)
    assert found["not learning"].severity == "ok"
    assert found["not learning"].value == pytest.approx(
        framework.searching.history[-1].val_accuracy, abs=0.1
    )
    assert found["discretisation gap"].value == pytest.approx(0.0, abs=0.02)


def test_framework_can_be_diagnosed_while_it_searches():
    loaders = digits(25, count=100)
    framework, diagnostics, seen = OriginalASOSE({"epochs": 3}), ASOSEDiagnostics(samples=25), []
    with pytest.raises(SearchError, match="the OriginalASOSE hasn't searched anything yet"):
        diagnostics.diagnose(framework, *loaders)

    def look(record: SearchEpoch) -> None:
        seen.append((record.epoch, diagnostics.diagnose(framework, *loaders).epoch))

    network = aso_se(in_channels=1, channels=2, num_cells=1, operations=OPERATIONS)
    _, history = framework.train_with_aso_se(network, *loaders, on_epoch=look)
    assert seen == [(0, 1), (1, 2), (2, 3)]
    assert [record.gap is not None for record in history] == [False, False, True]


def test_loss_that_is_not_finite_is_named():
    search = searching(QUICK)
    with torch.no_grad():
        search.network.fc.weight.fill_(float("nan"))
    found = ASOSEDiagnostics().diagnose(search, *digits(25))
    assert found["not learning"].severity == "critical"
    assert "the held-out loss is nan" in found["not learning"].meaning
    assert found["curvature"].severity == found["gradient imbalance"].severity == "not measured"
    assert found.eigenvalue is None


@pytest.mark.parametrize("shared", [0, 30])
def test_samples_that_both_loaders_have_are_counted(shared):
    train, held_out = digits(25)
    data = held_out.dataset.dataset
    held_out = DataLoader(Subset(data, range(300 - shared, 600)), 25)
    found = ASOSEDiagnostics().diagnose(searching(QUICK), train, held_out)["shared samples"]
    assert (found.value, found.severity) == (shared, "critical" if shared else "ok")


def test_loaders_of_two_data_sets_are_compared_by_their_values():
    found = ASOSEDiagnostics(samples=25).diagnose(searching(QUICK), digits(25)[0], digits(25)[1])
    assert found["shared samples"].severity == "ok"


def test_curvature_is_known_after_nine_epochs():
    loaders = digits(25, count=50)
    config = QUICK.model_copy(update={"epochs": 9})
    search, diagnostics = searching(config), ASOSEDiagnostics(samples=25)
    found = []
    for _ in search.run(*loaders):
        diagnostics.diagnose(search, *loaders)
        found.append(diagnostics.diagnose(search, *loaders))
    assert all(diagnosis.eigenvalue > 0 for diagnosis in found)
    assert [diagnosis["curvature"].severity for diagnosis in found[:3]] == ["not measured"] * 3
    assert "of which there are only 8" in found[-2]["curvature"].meaning
    assert found[-2]["curvature"].severity != "warning"
    values = [diagnosis.eigenvalue for diagnosis in found]
    assert found[-1]["curvature"].value == pytest.approx(sum(values[4:]) / sum(values[:5]))
    other = ASOSEDiagnostics(samples=25).diagnose(search, *loaders)
    assert other["curvature"].severity == "not measured"


def test_diagnosis_is_the_same_again():
    loaders = digits(25)
    search, diagnostics = searching(QUICK), ASOSEDiagnostics()
    assert diagnostics.diagnose(search, *loaders) == diagnostics.diagnose(search, *loaders)


def flattened(value: object) -> list[object]:
    """All that is in nested containers, tensors as bytes."""
    if isinstance(value, dict):
        return [part for key in value for part in [key, *flattened(value[key])]]
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flattened(item)]
    return [value.detach().numpy().tobytes()] if isinstance(value, Tensor) else [value]


def everything(search: Searching, loaders: Loaders) -> dict[str, object]:
    """All that looking at a search could change."""
    network = search.network
    return {
        "network": flattened(network.state_dict()),
        "gradients": flattened([p.grad for p in network.parameters() if p.grad is not None]),
        "trainable": [p.requires_grad for p in network.parameters()],
        "modes": [module.training for module in network.modules()],
        "choices": [flattened([d.active, d.weights, d.soft]) for d in decisions(network).values()],
        "search": flattened(search.state_dict()),
        "random": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": flattened(tuple(str(part) for part in np.random.get_state())),  # noqa: NPY002
        "loaders": [loader.generator.get_state().tolist() for loader in loaders],
    }


@pytest.mark.parametrize("config", [QUICK, darts(epochs=4)], ids=["gumbel", "softmax"])
def test_looking_leaves_everything_as_it_was(config):
    loaders = digits(25)
    search = searching(config)
    running = search.run(*loaders)
    next(running), next(running)
    search.network.stem.eval()
    next(search.network.fc.parameters()).requires_grad_(False)
    with torch.no_grad():
        for parameter in search.network.parameters():
            parameter.grad = torch.full_like(parameter, 0.5)
    before = copy.deepcopy(everything(search, loaders))
    ASOSEDiagnostics().diagnose(search, *loaders)
    after = everything(search, loaders)
    for part, value in before.items():
        assert after[part] == value, part


def test_search_goes_on_as_if_nobody_had_looked():
    ends = []
    for looks in (False, True):
        loaders = digits(25, count=100)
        search = searching(QUICK)
        for _ in search.run(*loaders):
            if looks:
                ASOSEDiagnostics().diagnose(search, *loaders)
        ends.append(flattened(search.network.state_dict()))
    assert ends[0] == ends[1]


def test_everything_is_put_back_after_an_error():
    loaders = digits(25)
    search = searching(QUICK)
    before = copy.deepcopy(everything(search, loaders))
    bad = [(torch.zeros(4, 1, 8, 8), torch.full((4,), 99))]
    with pytest.raises(IndexError, match="out of bounds"):
        ASOSEDiagnostics().diagnose(search, loaders[0], bad)
    assert everything(search, loaders) == before


def test_gradients_are_fresh():
    """Stale gradients, and a caller who has switched gradients off, make no difference."""
    loaders = digits(25)
    search = searching(QUICK)
    first = ASOSEDiagnostics().diagnose(search, *loaders)
    for parameter in search.network.parameters():
        parameter.grad = torch.full_like(parameter, 1e9)
    with torch.no_grad():
        assert ASOSEDiagnostics().diagnose(search, *loaders) == first


def test_whatever_holds_a_search_can_be_diagnosed():
    class Framework:
        searching = searching(QUICK)

    loaders = digits(25)
    direct = ASOSEDiagnostics().diagnose(Framework.searching, *loaders)
    assert ASOSEDiagnostics().diagnose(Framework(), *loaders) == direct


def test_log_of_another_tool_goes_by_the_early_rule():
    train, valid = range(60, 10, -1), [50 - 0.6 * n for n in range(50)]
    whole = SearchRun(skips_normal=[3] * 50, train_err=train, valid_err=valid, ev_max=())
    run = whole.until(45)
    found = ASOSEDiagnostics().diagnose(run, majority=0.1)
    assert found["skip dominance"].severity == "critical"
    assert "it is going to collapse: after epoch 15 of 50" in found["skip dominance"].meaning
    assert found["not learning"].severity == "ok"
    early = ASOSEDiagnostics().diagnose(run.until(10))
    assert early["skip dominance"].severity == "warning"
    assert "10 of 50 epochs are too few" in early["skip dominance"].meaning
    assert (early.epoch, early.epochs) == (10, 50)


def test_search_that_is_over_without_collapse_is_not_going_to():
    train, valid = range(60, 10, -1), [50 - 0.6 * n for n in range(50)]
    run = SearchRun(skips_normal=[3] * 50, train_err=train, valid_err=valid, ev_max=())
    found = ASOSEDiagnostics().diagnose(run)["skip dominance"]
    assert found.severity == "warning"
    assert "it is over and hasn't collapsed, although the early rule fired" in found.meaning


def test_remedies_can_be_typed():
    loaders = digits(batch_size=4, count=60)
    search = searching(original(epochs=4))
    list(search.run(*loaders))
    names = {
        "AlphaConfig": AlphaConfig,
        "Annealing": Annealing,
        "Recipe": Recipe,
        "SearchConfig": SearchConfig,
        "ASOSEDiagnostics": ASOSEDiagnostics,
        "torch": torch,
        "data": loaders[0].dataset,
        "config": search.config,
    }
    search.temperature.value = 0.1
    found = ASOSEDiagnostics().diagnose(search, *loaders)
    remedies = [finding.remedy for finding in found.findings if finding.remedy]
    assert len(remedies) >= 4
    for remedy in remedies:
        eval(remedy, names)


@pytest.mark.parametrize(
    ("subject", "error", "message"),
    [
        ("a string", SearchError, "a str can't be diagnosed; give a Searching"),
        (None, SearchError, "a NoneType can't be diagnosed"),
    ],
)
def test_what_is_no_search_is_refused(subject, error, message):
    with pytest.raises(error, match=message):
        ASOSEDiagnostics().diagnose(subject)


def test_live_search_needs_its_loaders():
    with pytest.raises(SearchError, match="give train_loader and val_loader"):
        ASOSEDiagnostics().diagnose(searching(QUICK), digits(25)[0])
    with pytest.raises(DataError, match="can't be iterated over again"):
        ASOSEDiagnostics().diagnose(searching(QUICK), iter(digits(25)[0]), digits(25)[1])


def test_single_samples_are_left_out():
    """A last batch of one sample, on which norms over 1 x 1 pixels can't be trained."""
    torch.manual_seed(0)
    network = aso_se(in_channels=1, channels=4, num_cells=2, operations=("conv_1x1", "conv_3x3"))
    search = Searching(network, QUICK, torch.zeros(2, 1, 2, 2))
    data = [(torch.randn(8, 1, 2, 2), torch.arange(8)), (torch.randn(1, 1, 2, 2), torch.arange(1))]
    other = [(torch.randn(8, 1, 2, 2), torch.arange(8)) for _ in range(2)]
    found = ASOSEDiagnostics().diagnose(search, other, data)
    assert "of held-out data" in found["not learning"].meaning
    with pytest.raises(DataError, match="single samples"):
        ASOSEDiagnostics().diagnose(search, other, data[1:])


@pytest.mark.parametrize("settings", [{"samples": 0}, {"window": 0}])
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="give whole numbers from 1 on"):
        ASOSEDiagnostics(**settings)
