"""When it is time to grow, and what is seen to follow."""

import json
import math
from statistics import fmean, stdev

import numpy as np
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


def test_present_loss_is_a_median_and_the_lowest_stays_until_training_begins_anew():
    course = after([0.1] * 6, [0.001, 0.5, 0.4, 0.6, 0.8, 7.0])
    assert course.loss() == pytest.approx(0.8)
    assert course.lowest_loss() == pytest.approx(0.4), "of the medians: 0.4, 0.5, 0.6, 0.8"
    course.grew()
    course.note(0.1, 0.1, flops=700.0)
    assert course.lowest_loss() == pytest.approx(0.4), "one epoch may be an outlier"
    resumed = Course.of(json.loads(json.dumps(course.state_dict())))
    assert resumed.lowest_loss() == course.lowest_loss()
    course.restart()
    assert course.loss() is None
    assert course.lowest_loss() is None
    assert after([0.1] * 3).lowest_loss() is None, "no losses are told"


def test_scale_is_the_largest_ratio_so_far_and_any_scale_will_do():
    for times in (1.0, 64.0):
        course = after([0.1] * 3, [0.5 * times] * 3)
        course.compare(0.4)
        course.compare(0.2)
        assert course.scale == pytest.approx(0.8 / times)
    silent = after([0.1] * 3)
    silent.compare(0.4)
    assert silent.scale == 0.0


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("told", [True, False])
def test_consequence_is_what_goes_beyond_the_trend(every, told):
    """The loss falls as epochs^-0.5, and after the growth, when an epoch takes three times the
    compute, it is 10 % lower than that."""
    course = Course()
    epochs = range(1, 13 + every)
    for n in epochs:
        loss = n**-0.5 * (0.9 if n > 12 else 1.0)
        course.note(0.5, loss, flops=100.0 * (n + 2 * max(n - 12, 0)) if told else 0.0)
        if n == 12:
            course.grew()
    found = course.consequence()
    assert found is not None
    assert found.saved == pytest.approx(-math.log(0.9), rel=1e-6)
    assert found.trend > 0


def test_consequence_says_how_far_losses_jump():
    """Losses that jump up and down by 20 % tell no more of a growth than so much."""
    course = Course()
    for n in range(1, 10):
        course.note(0.5, n**-0.5 * (1.2 if n % 2 else 1 / 1.2), flops=100.0 * n)
        if n == 6:
            course.grew()
    found = course.consequence()
    assert found is not None
    assert found.jitter == pytest.approx(math.log(1.2), rel=0.5)


def test_trend_is_carried_over_frequent_growths():
    """Epochs before a growth count where those since are too few: the function was kept."""
    course = Course()
    for n in range(1, 20):
        course.note(0.5, n**-0.3, flops=100.0 * n)
        if n > 3:
            found = course.consequence()
            assert found is None or found.saved == pytest.approx(0, abs=1e-6)
            course.grew()
    assert course.elasticity() == pytest.approx(0.3)


def test_noise_alone_saves_nothing_on_average():
    """A trend read from a few epochs, and taken to be falling, would find every growth harmful."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        course = Course()
        for n in range(1, 13):
            course.note(0.5, 0.7 * math.exp(0.05 * rng.standard_normal()), flops=100.0 * n)
            if n in (6, 9, 12):
                found.append(course.consequence())
                course.grew()
    saved = [one.saved for one in found if one is not None]
    assert len(saved) == 800
    assert abs(fmean(saved)) < 3 * stdev(saved) / math.sqrt(len(saved)) < 0.01


def test_consequence_is_unknown_without_losses_or_trend():
    course = after([0.5] * 6)
    course.grew()
    course.note(0.6, None, 0.0)
    assert course.consequence() is None
    assert course.elasticity() is None
    early = after([0.5], [1.0])
    early.grew()
    early.note(0.6, 0.5, 200.0)
    assert early.consequence() is None


def test_looks_are_far_enough_apart_whatever_the_timing():
    config = GrowthConfig(every=3, timing="gain", policy="arbiter")
    course = after([0.1] * 3)
    assert course.is_due(config)
    course.looked = course.epoch
    due = []
    for _ in range(3):
        course.note(0.1, None, 0.0)
        due.append(course.is_due(config))
    assert due == [False, False, True]


def test_course_goes_on_from_its_state():
    course = after([0.5] * 6, [1 / n for n in range(1, 7)])
    course.grew()
    course.note(0.6, 0.1, 700.0)
    again = Course.of(json.loads(json.dumps(course.state_dict())))
    assert again == course


def test_course_that_restarts_knows_no_trend_and_keeps_counting():
    course = after([0.5] * 6, [1 / n for n in range(1, 7)])
    course.grew()
    course.restart()
    assert course.elasticity() is None
    assert course.consequence() is None
    assert course.epoch == 6


def test_consequence_is_unknown_while_no_loss_is_told_after_a_growth():
    course = after([0.5] * 6, [n**-0.5 for n in range(1, 7)])
    course.grew()
    for _ in range(3):
        course.note(0.6, None, flops=0.0)
    assert course.consequence() is None
    course.note(0.6, 0.3, flops=0.0)
    found = course.consequence()
    assert found is not None
    assert found.saved > 0


def test_loss_that_falls_to_nothing_is_seen():
    course = after([0.5] * 6, [1.0] * 6)
    course.grew()
    for _ in range(3):
        course.note(1.0, 0.0, flops=0.0)
    found = course.consequence()
    assert found is not None
    assert found.saved == pytest.approx(-math.log(1e-6))
