"""Searches that measure themselves: what is recorded, and that nothing else is changed by it."""

import logging

import pytest
import torch
from torch import Tensor

from neuroexapt.search import (
    CHECKS,
    AlphaConfig,
    ASOSEDiagnostics,
    MeasureConfig,
    SearchConfig,
    SearchEpoch,
    SearchHistory,
    Searching,
    aso_se,
    darts,
    diagnose_history,
    original,
)
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.measuring import Effort, measure
from neuroexapt.training import Augment, Batches, ImageSet

OPERATIONS = ("none", "skip_connect", "conv_1x1", "conv_3x3")
MEASURE = MeasureConfig(every=2, samples=16)
QUICK = SearchConfig(epochs=8, warmup=1, final=7, alpha=AlphaConfig(every=1), measure=MEASURE)


def resident(seed: int, **settings: object) -> Batches:
    """48 images whose class is where they are bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(48) % 3
    images = torch.randint(100, (48, 1, 8, 8), generator=generator, dtype=torch.uint8)
    images[torch.arange(48), :, 2 * labels] += 100
    known = {"mean": [0.4], "std": [0.3], "seed": seed, "augment": Augment(shift=1)}
    return Batches(ImageSet(images, labels, ("a", "b", "c")), 16, **known, **settings)


def searching(config: SearchConfig) -> Searching:
    torch.manual_seed(0)
    network = aso_se(3, in_channels=1, channels=4, num_cells=2, operations=OPERATIONS)
    return Searching(network, config, torch.zeros(2, 1, 8, 8))


def searched(config: SearchConfig) -> Searching:
    search = searching(config)
    list(search.run(resident(0), resident(1)))
    return search


@pytest.fixture(scope="module")
def measured() -> Searching:
    """A search that is over; not to be changed."""
    return searched(QUICK)


@pytest.fixture(scope="module")
def watched() -> Searching:
    """Likewise, measured after each epoch."""
    return searched(QUICK.model_copy(update={"measure": MeasureConfig(every=1, samples=16)}))


def without(record: SearchEpoch) -> dict[str, object]:
    return record.model_dump(exclude={"seconds", "measured"})


@pytest.mark.parametrize(
    "config",
    [
        QUICK,
        QUICK.model_copy(update={"max_flops": 1.2e8}),
        darts(epochs=3),
        original(epochs=3),
    ],
    ids=["improved", "flops", "darts", "original"],
)
def test_what_is_found_does_not_depend_on_measuring(config):
    ends = []
    for measure_config in (None, MeasureConfig(every=1, samples=16)):
        search = searched(config.model_copy(update={"measure": measure_config}))
        weights = {n: v.numpy().tobytes() for n, v in search.network.state_dict().items()}
        history = [without(record) for record in search.history]
        ends.append((weights, history, torch.get_rng_state().tolist(), search.flops))
    assert ends[0] == ends[1]
    assert any(record.measured for record in search.history)


def test_search_is_measured_while_alpha_is_trained(measured):
    found = [record.epoch for record in measured.history if record.measured]
    assert found == [2, 4, 6]
    assert [measured.config.measures(epoch) for epoch in range(8)].count(True) == 3


@pytest.mark.parametrize(
    ("planned", "every"), [(1, 1), (4, 1), (8, 2), (13, 2), (18, 2), (38, 4), (9000, 1000)]
)
def test_search_is_measured_about_nine_times_and_four_at_least(planned, every):
    assert MeasureConfig().interval(planned) == every
    assert planned // every >= min(planned, 4)


def test_measurement_is_what_looking_from_outside_gives():
    search, train, held_out = searching(QUICK), resident(0), resident(1)
    for record in search.run(train, held_out):
        if not record.measured:
            continue
        again = measure(
            search.network,
            QUICK,
            search.temperature.value,
            search.criterion,
            train,
            held_out,
            Effort.in_passing(MEASURE),
            QUICK.seed,
        )
        assert again == record.measured
        assert (train.epoch, held_out.epoch) == (record.epoch, 1000 * record.epoch)


def test_records_of_a_measured_search_allow_every_check(measured):
    history = SearchHistory(
        config=QUICK, epochs=tuple(measured.history), majority=1 / 3, num_held_out=48
    )
    again = SearchHistory.model_validate_json(history.model_dump_json())
    assert again == history
    found = diagnose_history(again)
    told = {finding.check: finding.severity for finding in found.findings}
    assert told.pop("curvature") == "not measured", "which takes four measurements"
    assert told.keys() | {"curvature"} == set(CHECKS)
    assert "not measured" not in told.values()
    last = measured.history[6].measured
    assert found["discretisation gap"].value == last.supernet - last.derived
    assert found["operation overfit"].value == last.agreements.held_out
    assert found["shared samples"].value == 0
    assert found.eigenvalue == last.eigenvalue


def test_curvature_is_told_by_four_measurements(watched):
    found = diagnose_history(SearchHistory(config=watched.config, epochs=tuple(watched.history)))
    values = [r.measured.eigenvalue for r in watched.history if r.measured]
    assert len(values) == 6
    windows = [sum(values[i : i + 3]) for i in range(4)]
    assert found["curvature"].value == pytest.approx(windows[3] / windows[0])


def test_live_diagnosis_knows_what_was_measured_on_the_way(watched):
    found = ASOSEDiagnostics(samples=16).diagnose(watched, resident(0), resident(1))
    assert found["curvature"].severity != "not measured"
    plain = searched(QUICK.model_copy(update={"measure": None, "epochs": 2, "final": None}))
    told = ASOSEDiagnostics(samples=16).diagnose(plain, resident(0), resident(1))["curvature"]
    assert "diagnose with this object after every epoch" in told.meaning


def test_records_that_are_not_measured_yet_say_when(measured):
    first = SearchHistory(config=QUICK, epochs=tuple(measured.history[:2]))
    told = diagnose_history(first)["operation overfit"]
    assert (told.severity, told.meaning) == (
        "not measured",
        "the search is measured first after epoch 3",
    )


def test_loss_that_is_not_finite_is_recorded_and_told():
    search = searching(QUICK)
    with torch.no_grad():
        search.network.fc.weight.fill_(float("nan"))
    found = measure(
        search.network,
        QUICK,
        1.0,
        search.criterion,
        resident(0),
        resident(1),
        Effort.in_passing(MEASURE),
        0,
    )
    assert found.failure == "the held-out loss is nan"
    assert found.eigenvalue is None
    assert Measurement.model_validate_json(found.model_dump_json()) == found


def test_gradients_that_are_not_finite_are_no_numbers():
    """The square root's slope at zero, where the loss itself is finite."""

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return ((outputs - outputs.detach()) ** 2).sum().sqrt() + 0 * targets.sum()

    search = searching(QUICK)
    found = measure(
        search.network,
        QUICK,
        1.0,
        criterion,
        resident(0),
        resident(1),
        Effort.in_passing(MEASURE),
        0,
    )
    assert (found.alpha, found.weights, found.agreements, found.eigenvalue) == (None,) * 4
    assert found.supernet is not None


def test_search_goes_on_where_it_cannot_be_measured(caplog):
    """Single samples: a search takes them, but nothing can be told of their gradients."""
    generator = torch.Generator().manual_seed(0)
    single = [[(torch.randn(1, 1, 8, 8, generator=generator), torch.arange(1))] for _ in range(2)]
    search = searching(QUICK.model_copy(update={"epochs": 3, "final": None}))
    with caplog.at_level(logging.WARNING):
        found = list(search.run(*single))
    assert [record.measured for record in found] == [None] * 3
    assert "can't be measured: the loader yields single samples" in caplog.text


@pytest.mark.parametrize("settings", [{"every": 0}, {"samples": 2}])
def test_settings_of_measuring_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValueError, match="greater than or equal"):
        MeasureConfig(**settings)
