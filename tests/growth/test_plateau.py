"""Plateaus: how often they are found and missed, by simulation; and the formulas by hand."""

import random

import pytest
from scipy.stats import kendalltau, theilslopes

from neuroexapt.growth.plateau import is_plateau, trend


def test_trend_is_theil_sen_and_mann_kendall():
    rng = random.Random(0)
    for count in (5, 8, 20):
        values = [0.01 * i + rng.gauss(0, 0.05) for i in range(count)]
        slope, p_value = trend(values)
        assert slope == pytest.approx(theilslopes(values).slope)
        exact = kendalltau(range(count), values, alternative="greater", method="exact").pvalue
        assert p_value == pytest.approx(exact, abs=0.03)


def test_trend_of_equal_values_is_none():
    assert trend([0.5] * 8) == (0.0, 1.0)


def share_of_plateaus(slope: float, noise: float, **options) -> float:
    rng = random.Random(1)
    found = 0
    for _ in range(2000):
        found += is_plateau([slope * i + rng.gauss(0, noise) for i in range(8)], **options)
    return found / 2000


def test_plateau_is_found_at_the_rate_that_alpha_promises():
    assert share_of_plateaus(0.0, 1.0, alpha=0.1) == pytest.approx(0.9, abs=0.03)


def test_plateau_is_not_seen_in_a_rise_that_stands_out_of_the_noise():
    assert share_of_plateaus(0.5, 1.0) < 0.12
    assert share_of_plateaus(1.0, 1.0) < 0.001


def test_plateau_is_not_hidden_nor_made_by_one_outlier():
    flat = [0.80, 0.81, 0.80, 0.79, 0.80, 0.81, 0.80]
    assert is_plateau([*flat, 0.2])
    assert is_plateau([*flat, 0.95])
    rising = [0.50, 0.55, 0.59, 0.64, 0.70, 0.74, 0.79]
    assert not is_plateau([*rising[:4], 0.1, *rising[4:]])


def test_plateau_of_a_rise_too_small_to_matter():
    creeping = [0.8 + 0.0001 * i for i in range(8)]
    assert not is_plateau(creeping)
    assert is_plateau(creeping, min_gain=0.001)


def test_plateau_needs_enough_values():
    assert not is_plateau([0.5] * 7, window=8)
    with pytest.raises(ValueError, match="window is 4"):
        is_plateau([0.5] * 9, window=4)
    with pytest.raises(ValueError, match="at least 3"):
        trend([0.1, 0.2])
