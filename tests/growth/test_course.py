"""When it is time to grow, and what is seen to follow."""

import json
import math

import pytest

from neuroexapt.growth import GrowthConfig
from neuroexapt.growth.course import Course


def after(metrics: list[float], losses: list[float] | None = None) -> Course:
    course = Course()
    for epoch, metric in enumerate(metrics):
        course.note(metric, losses[epoch] if losses else None, flops=100.0 * (epoch + 1))
    return course


def test_periodic_growth_is_due_every_few_epochs():
    config = GrowthConfig(every=3)
    assert [after([0.1] * n).is_due(config) for n in range(1, 7)] == [False, False, True] * 2


def test_plateau_growth_waits_for_the_metric_to_stop_rising():
    config = GrowthConfig(every=2, timing="plateau", plateau_window=6)
    rising = [0.1 * n for n in range(1, 9)]
    assert not after(rising).is_due(config)
    level = after([*rising, *[0.8, 0.81, 0.8, 0.79, 0.8, 0.8]])
    assert level.is_due(config)
    level.grew()
    assert not level.is_due(config), "a new window begins"


def test_gain_timing_asks_every_epoch_once_it_has_waited():
    config = GrowthConfig(every=2, timing="gain", policy="arbiter")
    assert [after([0.1] * n).is_due(config) for n in (1, 2, 3)] == [False, True, True]


def test_consequence_is_what_goes_beyond_the_trend():
    """The loss falls as compute^-0.5; after the growth, it is 10 % lower than that."""
    law = [(100.0 * n) ** -0.5 for n in range(1, 13)]
    course = after([0.5] * 6, law[:6])
    course.grew()
    for n in range(6, 12):
        course.note(0.5, 0.9 * law[n], flops=100.0 * (n + 1))
    found = course.consequence()
    assert found is not None
    level = math.log(law[4]) - math.log(0.9 * law[10])  # medians of the last three
    assert found.trend == pytest.approx(0.5 * math.log(12 / 6), rel=1e-6)
    assert found.saved == pytest.approx(level - found.trend, rel=1e-6)
    assert found.saved > 0.05


def test_consequence_is_unknown_without_losses():
    course = after([0.5] * 6)
    course.grew()
    course.note(0.6, None, 0.0)
    assert course.consequence() is None
    assert course.elasticity() is None


def test_course_goes_on_from_its_state():
    course = after([0.5] * 6, [1 / n for n in range(1, 7)])
    course.grew()
    course.note(0.6, 0.1, 700.0)
    again = Course.of(json.loads(json.dumps(course.state_dict())))
    assert again == course
