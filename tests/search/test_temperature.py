"""The temperature falls as told, stops at its floor, and reheating never cools."""

import pytest
from pydantic import ValidationError

from neuroexapt.search.temperature import ORIGINAL, Annealing, Temperature


def test_original_is_at_its_floor_after_194_alpha_steps():
    temperature = Temperature.of(ORIGINAL)
    for _ in range(193):
        temperature.after_alpha_step()
    assert not temperature.is_at_floor
    temperature.after_alpha_step()
    assert temperature.is_at_floor
    assert temperature.value == 0.1


def test_epochs_and_alpha_steps_are_told_apart():
    by_epoch = Temperature.of(Annealing(rate=0.5, reheat_every=None))
    by_epoch.after_alpha_step()
    assert by_epoch.value == 2.0
    by_epoch.after_epoch(1)
    assert by_epoch.value == 1.0
    by_step = Temperature.of(Annealing(rate=0.5, each="alpha step", reheat_every=None))
    by_step.after_epoch(1)
    assert by_step.value == 2.0
    by_step.after_alpha_step()
    assert by_step.value == 1.0


def test_improved_never_cools_by_reheating():
    """By the papers' own rate the first reheating, at epoch 20, would have cooled: 1.81 to 1.6."""
    temperature = Temperature.of(Annealing())
    before = []
    for epoch in range(1, 101):
        before.append(temperature.value)
        temperature.after_epoch(epoch)
        fallen = before[-1] * 0.995
        assert temperature.value == pytest.approx(max(fallen, 1.6) if epoch % 20 == 0 else fallen)
    assert before[20] == pytest.approx(2 * 0.995**20)
    assert min(before) < 1.6, "and later it does reheat"


def test_temperature_goes_on_from_its_state():
    first, second = Temperature.of(Annealing()), Temperature.of(Annealing())
    for epoch in range(1, 8):
        first.after_epoch(epoch)
    second.load_state_dict(first.state_dict())
    assert second.value == first.value


@pytest.mark.parametrize("given", [{"start": 0}, {"rate": 1.1}, {"floor": -1}, {"reheat_every": 0}])
def test_schedules_that_make_no_sense_are_refused(given):
    with pytest.raises(ValidationError):
        Annealing(**given)


def test_floor_above_the_start_is_refused():
    with pytest.raises(ValidationError, match="the floor, 3, is above the start, 2; give a lower"):
        Annealing(floor=3)
