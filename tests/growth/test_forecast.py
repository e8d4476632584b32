"""What a run teaches about the prior's savings."""

import math

import numpy as np
import pytest

from neuroexapt.growth.forecast import (
    COMMON_SPREAD,
    DOUBT,
    LEAST,
    NOISE,
    OWN_SPREAD,
    Outcome,
    elasticity,
    jitter,
    learnt_scales,
)


def test_scales_are_one_before_anything_followed():
    assert dict(learnt_scales([])) == {"other": 1.0}


def test_scales_of_one_outcome_are_the_posterior_mean_by_hand():
    """One kind, one outcome: a scalar Gaussian."""
    found = learnt_scales([Outcome({"widen": 0.1}, saved=0.3)])
    variance = COMMON_SPREAD**2 + OWN_SPREAD**2
    gain = variance * 0.1 / (0.1**2 * variance + NOISE**2)
    assert found["widen"] == pytest.approx(1 + gain * (0.3 - 0.1))
    assert found["other"] == pytest.approx(1 + gain * 0.2 * COMMON_SPREAD**2 / variance)


def test_scales_recover_each_kind_from_many_outcomes():
    rng = np.random.default_rng(0)
    true = {"widen": 0.5, "deepen": 2.0}
    outcomes = []
    for _ in range(200):
        predicted = {kind: rng.uniform(0, 0.05) for kind in true}
        saved = sum(true[kind] * predicted[kind] for kind in true) + rng.normal(0, NOISE)
        outcomes.append(Outcome(predicted, saved))
    found = learnt_scales(outcomes)
    for kind, scale in true.items():
        assert found[kind] == pytest.approx(scale, abs=0.25)


def test_scales_learn_less_where_the_trend_was_steep():
    steep, level = (learnt_scales([Outcome({"widen": 0.1}, 0.3, trend=t)]) for t in (1.0, 0.0))
    assert 1 < steep["widen"] < level["widen"]
    assert DOUBT > 0


def test_scales_learn_less_where_losses_jump():
    calm = learnt_scales([Outcome({"widen": 0.1}, 0.0)])["widen"]
    jumping = learnt_scales([Outcome({"widen": 0.1}, 0.0, jitter=0.3)])["widen"]
    assert calm < jumping < 1


def test_scales_never_fall_to_nothing():
    assert learnt_scales([Outcome({"widen": 0.1}, -2.0)] * 9)["widen"] == LEAST


def test_elasticity_of_a_power_law_is_its_exponent_whatever_one_outlier_says():
    log_compute = [math.log(c) for c in range(1, 8)]
    log_losses = [-0.3 * c for c in log_compute]
    assert elasticity(log_compute, log_losses) == pytest.approx(0.3)
    log_losses[4] += math.log(5)
    assert elasticity(log_compute, log_losses) == pytest.approx(0.3, rel=0.3)


def test_jitter_is_the_spread_around_the_trend():
    rng = np.random.default_rng(0)
    at = [math.log(n) for n in range(1, 2001)]
    losses = [-0.3 * x + 0.05 * float(rng.standard_normal()) for x in at[-300:]]
    assert jitter(at[-300:], losses) == pytest.approx(0.05, rel=0.1)
    assert jitter(at[:2], [0.0, 1.0]) == 0.0


def test_elasticity_of_a_rising_loss_is_negative():
    """Noise would else only ever make a trend steeper."""
    assert elasticity([0.0, 1.0, 2.0], [0.0, 0.1, 0.2]) == pytest.approx(-0.1)
