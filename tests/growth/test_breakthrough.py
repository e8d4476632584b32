"""Breaking through a plateau: when, and by what."""

import json

import pytest
import torch
from small import CRITERION, batches, model

from neuroexapt import (
    DataError,
    EditError,
    LivingModel,
    PerformanceBreakthroughSystem,
    Settle,
    sense,
)
from neuroexapt.edits.activate import blends
from neuroexapt.training import EpochRecord, History

RISING = [0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.79, 0.81]
LEVEL = [0.8, 0.81, 0.8, 0.79, 0.8, 0.81, 0.8, 0.79]


def living() -> LivingModel:
    return LivingModel(model(), batches()[0][0][:4])


def system(**given) -> PerformanceBreakthroughSystem:
    return PerformanceBreakthroughSystem(batches(), entropy_threshold=0.1, **given)


def test_plateau_is_told_from_noise():
    found = system()
    assert not found.detect_performance_plateau(RISING)
    assert found.detect_performance_plateau(LEVEL)
    lucky = [*LEVEL[:4], 0.95, *LEVEL[5:]]
    assert found.detect_performance_plateau(lucky)
    unlucky = [*RISING[:-1], 0.3]
    assert not found.detect_performance_plateau(unlucky)


def test_plateau_of_a_history_is_that_of_its_validation_accuracy():
    history = History()
    for epoch, accuracy in enumerate(LEVEL):
        record = EpochRecord(
            epoch=epoch, train_loss=1, train_accuracy=0.5, val_loss=1, val_accuracy=accuracy,
            lr=0.1, flops=1, params=1, macs=1, seconds=0,
        )  # fmt: skip
        history.append(record)
    assert system().detect_performance_plateau(history)


def test_expansion_follows_the_four_strategies_and_keeps_the_function():
    grown = living()
    x = batches()[0][0]
    before = grown.eval()(x)
    changes = system().attempt_architecture_expansion(grown, LEVEL)
    kinds = [change.edit.kind for change in changes]
    assert list(dict.fromkeys(kinds)) == ["split", "deepen", "attend", "activate"]
    torch.testing.assert_close(grown.eval()(x), before, rtol=1e-4, atol=1e-5)
    assert system().attempt_architecture_expansion(grown, RISING) == []


def test_expansion_gives_the_network_a_window_before_the_next():
    grown, found = living(), system()
    assert found.attempt_architecture_expansion(grown, LEVEL)
    for more in range(1, 8):
        assert found.attempt_architecture_expansion(grown, LEVEL + LEVEL[:more]) == []
    again = found.attempt_architecture_expansion(grown, LEVEL + LEVEL)
    assert again
    assert not any(str(getattr(c.edit, "after", "")).startswith("edit") for c in again)


def test_expansion_goes_on_from_what_was_written_down():
    grown, found = living(), system()
    assert found.attempt_architecture_expansion(grown, LEVEL)
    resumed = system()
    resumed.load_state_dict(json.loads(json.dumps(found.state_dict())))
    assert resumed.attempt_architecture_expansion(grown, LEVEL + LEVEL[:7]) == []
    assert resumed.attempt_architecture_expansion(grown, LEVEL + LEVEL)


def test_expansion_ends_blends_that_have_settled_by_then():
    grown, found = living(), system()
    found.attempt_architecture_expansion(grown, LEVEL)
    ((name, blend),) = blends(grown).items()
    with torch.no_grad():
        blend.amount.fill_(0.5)
    undecided = found.attempt_architecture_expansion(grown, LEVEL + LEVEL)
    assert "settle" not in [change.edit.kind for change in undecided]
    with torch.no_grad():
        blends(grown)[name].amount.fill_(1.0)
    ended = found.attempt_architecture_expansion(grown, LEVEL + LEVEL + LEVEL)
    assert Settle(blend=name, keep="second", preserving=False) in [c.edit for c in ended]
    assert name not in blends(grown)


def test_expansion_gives_blends_of_others_time():
    grown, found = living(), system()
    found.evolve_activation_functions(grown)
    changes = found.attempt_architecture_expansion(grown, LEVEL)
    assert "settle" not in [change.edit.kind for change in changes]


def test_expansion_carries_the_optimizer():
    grown = living()
    optimizer = torch.optim.SGD(grown.parameters(), lr=0.1, momentum=0.9)
    CRITERION(grown(batches()[0][0]), batches()[0][1]).backward()
    optimizer.step()
    system().attempt_architecture_expansion(grown, LEVEL, optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in grown.parameters()}


def test_blocks_are_added_under_the_size_threshold_only():
    grown = living()
    changes = system(size_threshold=1).attempt_architecture_expansion(grown, LEVEL)
    assert "deepen" not in {change.edit.kind for change in changes}


def test_strategies_find_new_places_every_time():
    grown = living()
    found = system()
    for strategy in (
        found.add_residual_blocks,
        found.inject_attention_mechanisms,
        found.evolve_activation_functions,
    ):
        first, second = (strategy(grown)[0].edit for _ in range(2))
        assert first != second


def test_overloaded_units_are_those_of_the_highest_entropy():
    grown = living()
    overloaded = system(share=0.5).identify_overloaded_neurons(grown)
    readings = sense(grown, batches(), gradients=False)
    for name, units in overloaded.items():
        entropy = readings.entropy[name]
        rest = sorted(set(range(len(entropy))) - set(units))
        assert entropy[list(units)].min() >= entropy[rest].max()
        assert entropy[list(units)].min() > 0.1


def test_splits_are_all_checked_before_the_first():
    grown = living()
    with pytest.raises(EditError):
        system().split_neurons(grown, {"0": (1,), "3": (99,)})
    assert grown.edits == ()


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="give train_loader"):
        PerformanceBreakthroughSystem().identify_overloaded_neurons(living())
    with pytest.raises(ValueError, match="can't change its structure"):
        system().add_residual_blocks(model())
    with pytest.raises(ValueError, match="share 2"):
        PerformanceBreakthroughSystem(share=2)
    with pytest.raises(ValueError, match="window is 3"):
        system(window=3)
    with pytest.raises(ValueError, match="num_batches 0"):
        system(num_batches=0)
    with pytest.raises(ValueError, match="isn't finite in every epoch"):
        system().detect_performance_plateau([*LEVEL, float("nan")])
    with pytest.raises(DataError, match="no batch"):
        PerformanceBreakthroughSystem([]).identify_overloaded_neurons(living())


def test_optimizers_of_other_models_are_refused_by_every_strategy():
    grown, other = living(), torch.optim.SGD(living().parameters(), lr=0.1)
    for strategy in (
        system().add_residual_blocks,
        system().inject_attention_mechanisms,
        system().evolve_activation_functions,
    ):
        with pytest.raises(EditError, match="none of this model's"):
            strategy(grown, other)
    assert grown.edits == ()


def test_expansion_that_failed_is_tried_again():
    broken = PerformanceBreakthroughSystem([], entropy_threshold=0.1)
    grown = living()
    with pytest.raises(DataError):
        broken.attempt_architecture_expansion(grown, LEVEL)
    broken.train_loader = batches()
    assert broken.attempt_architecture_expansion(grown, LEVEL)
