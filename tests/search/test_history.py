"""What the records of a search tell."""

import pytest

from neuroexapt.search import (
    AlphaConfig,
    ASOSEDiagnostics,
    SearchConfig,
    SearchEpoch,
    SearchHistory,
    darts,
    diagnose_history,
    original,
)
from neuroexapt.search.history import findings_of_history
from neuroexapt.search.movement import Movement


def record(epoch: int, config: SearchConfig, **fields: object) -> SearchEpoch:
    """An epoch of 20 batches in which nothing is wrong."""
    searching = config.phase(epoch) in ("search", "growth")
    known: dict[str, object] = {
        "epoch": epoch,
        "phase": config.phase(epoch),
        "explored": config.explores(epoch),
        "temperature": 1.0,
        "train_loss": 1.0,
        "train_accuracy": 0.6,
        "val_loss": 1.0,
        "val_accuracy": 0.6,
        "weight_steps": 20,
        "alpha_steps": 20 if searching else 0,
        "saturated": 0.1,
        "movement": Movement(change=0.1, largest=0.1, flips=1, entropy=0.8),
        "choices": {str(n): "conv_3x3" for n in range(8)},
        "flops": 1,
        "seconds": 1.0,
    }
    return SearchEpoch.model_validate(known | fields)


def history(config: SearchConfig, epochs: int, **fields: object) -> SearchHistory:
    records = tuple(record(epoch, config, **fields) for epoch in range(epochs))
    return SearchHistory(config=config, epochs=records)


SOUND = SearchConfig(epochs=40, warmup=5, alpha=AlphaConfig(every=1, unit="batches"))
STILL = Movement(change=0.0, largest=1e-5, flips=0, entropy=0.99)


def severity(check: str, found: SearchHistory, majority: float | None = 0.1) -> str:
    return diagnose_history(found, majority=majority)[check].severity


def test_sound_history_is_quiet():
    found = diagnose_history(history(SOUND, 40), majority=0.1)
    assert {finding.severity for finding in found.findings} == {"ok", "not measured"}
    assert (found.epoch, found.epochs) == (40, 40)


def test_history_survives_json():
    found = history(SOUND, 12)
    assert SearchHistory.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize("epochs", range(8))
def test_search_that_has_just_begun_is_told_of(epochs):
    found = diagnose_history(history(SOUND, epochs), majority=0.1)
    assert not found.is_critical
    assert found["leakage"].severity == "ok"
    if epochs <= 5:
        assert found["too few alpha steps"].severity == "not measured"
    if 0 < epochs <= 5:
        assert "first turn by the end of epoch 6" in found["alpha stagnation"].meaning


def test_training_data_for_alpha_is_leakage():
    found = diagnose_history(history(original(40), 40))["leakage"]
    assert found.severity == "critical"
    assert eval(found.remedy, {"AlphaConfig": AlphaConfig}).data == "held-out"


@pytest.mark.parametrize(
    ("steps", "expected"), [(4, "warning"), (9, "warning"), (10, "ok"), (20, "ok")]
)
def test_alpha_steps_are_counted_for_each_weight_step(steps, expected):
    records = [record(epoch, SOUND, alpha_steps=steps) for epoch in range(20)]
    found = diagnose_history(SearchHistory(config=SOUND, epochs=tuple(records)))
    assert found["too few alpha steps"].value == steps / 20
    assert found["too few alpha steps"].severity == expected


@pytest.mark.parametrize("epochs", [13, 14, 15, 16, 30])
def test_alpha_steps_are_counted_over_whole_turns(epochs):
    """A pass of 20 steps every third epoch is a third of a step a weight step, whenever asked."""
    config = SearchConfig(epochs=60, warmup=10, alpha=AlphaConfig(every=3, unit="epochs"))
    records = tuple(
        record(epoch, config, alpha_steps=20 if epoch >= 10 and (epoch - 10) % 3 == 2 else 0)
        for epoch in range(epochs)
    )
    found = diagnose_history(SearchHistory(config=config, epochs=records))
    assert found["too few alpha steps"].value == pytest.approx(1 / 3)


@pytest.mark.parametrize(("lr", "expected"), [(6e-4, "notice"), (1.5e-3, "notice"), (1.6e-3, "ok")])
def test_alpha_steps_must_lead_as_far_as_a_decision(lr, expected):
    """700 steps for ln(9) / 2 = 1.10: of 1.57e-3 each."""
    config = SOUND.model_copy(update={"alpha": SOUND.alpha.model_copy(update={"lr": lr})})
    found = findings_of_history(history(config, 20), operations=10)
    (steps,) = [finding for finding in found if finding.check == "too few alpha steps"]
    assert (steps.value, steps.severity) == (1.0, expected)
    assert ("700 steps" in steps.meaning) is (expected == "notice")
    if steps.remedy:
        assert eval(steps.remedy, {"AlphaConfig": AlphaConfig}).lr == pytest.approx(2e-3)


def test_alpha_steps_of_long_ago_do_not_count():
    records = [record(epoch, SOUND, alpha_steps=20 if epoch < 25 else 2) for epoch in range(40)]
    found = diagnose_history(SearchHistory(config=SOUND, epochs=tuple(records)))
    assert found["too few alpha steps"].value == 0.1


@pytest.mark.parametrize(
    ("movement", "expected"),
    [
        (STILL, "critical"),
        (STILL.model_copy(update={"largest": 1.1e-4}), "notice"),
        (STILL.model_copy(update={"flips": 1}), "notice"),
        (STILL.model_copy(update={"entropy": 0.9}), "ok"),
    ],
)
def test_alpha_stagnates_if_nothing_moves_and_nothing_is_decided(movement, expected):
    assert severity("alpha stagnation", history(SOUND, 20, movement=movement)) == expected


def test_stagnation_takes_a_whole_window_or_all_there_will_be():
    still = history(SOUND, 12, movement=STILL)
    assert severity("alpha stagnation", still) == "not measured"
    short = SearchConfig(epochs=8, warmup=3, alpha=AlphaConfig(every=1, unit="batches"))
    assert severity("alpha stagnation", history(short, 8, movement=STILL)) == "critical"
    assert ASOSEDiagnostics(window=3).diagnose(still)["alpha stagnation"].severity == "critical"


def test_saturation_is_that_of_the_last_turn():
    cooled = [record(n, SOUND, saturated=0.9 if n >= 19 else 0.1) for n in range(20)]
    assert severity("Gumbel saturation", SearchHistory(config=SOUND, epochs=tuple(cooled))) == (
        "critical"
    )
    assert severity("Gumbel saturation", history(SOUND, 20)) == "ok"


def test_temperature_at_its_floor_is_named():
    found = history(original(40), 40, temperature=0.1, saturated=0.7)
    assert severity("temperature at its floor", found) == "warning"
    assert severity("temperature at its floor", history(original(40), 40)) == "ok"


def test_search_without_draws_has_no_temperature():
    found = diagnose_history(history(darts(10), 10, temperature=0.1, saturated=0.0))
    for check in ("Gumbel saturation", "temperature at its floor"):
        assert found[check].severity == "not measured"
        assert "nothing is drawn" in found[check].meaning


@pytest.mark.parametrize(
    ("skips", "expected"),
    [(1, "ok"), (2, "notice"), (3, "warning"), (4, "warning"), (5, "critical")],
)
def test_skips_are_counted_among_choices(skips, expected):
    choices = {str(n): "skip_connect" if n < skips else "conv_3x3" for n in range(8)}
    found = diagnose_history(history(SOUND, 20, choices=choices))
    assert found["skip dominance"].value == skips / 8
    assert found["skip dominance"].severity == expected
    even = Movement(change=0.1, largest=0.1, flips=1, entropy=0.99)
    undecided = severity("skip dominance", history(SOUND, 20, choices=choices, movement=even))
    assert undecided == ("ok" if skips == 1 else "notice"), "choices of an even alpha are chance"


@pytest.mark.parametrize(
    ("valid", "train", "majority", "expected"),
    [
        (0.6, 0.6, 0.1, "ok"),
        (0.1, 0.1, 0.1, "critical"),
        (0.1, 0.6, 0.1, "not measured"),
        (0.6, 0.6, 0.7, "critical"),
        (0.6, 0.6, None, "not measured"),
    ],
)
def test_learning_is_told_by_the_most_frequent_class(valid, train, majority, expected):
    found = history(SOUND, 20, val_accuracy=valid, train_accuracy=train)
    assert severity("not learning", found, majority) == expected


def test_search_that_has_only_begun_is_not_blamed_for_knowing_nothing():
    known = {"val_accuracy": 0.1, "train_accuracy": 0.1, "flops": 10}
    assert severity("not learning", history(SOUND, 9, **known)) == "notice"
    assert severity("not learning", history(SOUND, 10, **known)) == "critical"
    limited = SOUND.model_copy(update={"max_flops": 41.0})
    assert severity("not learning", history(limited, 30, **known)) == "notice"
    assert severity("not learning", history(limited, 2, **known | {"flops": 11})) == "critical"


def test_history_says_what_it_can_not_tell():
    found = diagnose_history(history(SOUND, 20))
    for check in ("shared samples", "curvature", "operation overfit", "gradient imbalance"):
        assert found[check].severity == "not measured"
        assert "diagnose the live search" in found[check].meaning
