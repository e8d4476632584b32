"""Signs of collapse, on searches whose course is known."""

import numpy as np
import pytest

from neuroexapt.search import PUBLISHED, CollapseRule, SearchRun, is_collapsed
from neuroexapt.search.collapse import eigenvalue_over, eigenvalue_ratio, skips_at

EPOCHS = 50


def search(skips, gap=0.0, epochs=EPOCHS, num_edges=8, noise=0.0, seed=0):
    """A search whose gap of overfitting widens evenly from 0 to `gap`, with Gaussian `noise`."""
    jitter = noise * np.random.default_rng(seed).standard_normal(epochs)
    valid = [60 - 40 * n / epochs for n in range(epochs)]
    gaps = [gap * n / epochs + jitter[n] for n in range(epochs)]
    train = [(1 - g) * v for g, v in zip(gaps, valid, strict=True)]
    counts = [skips] * epochs if isinstance(skips, int) else skips
    return SearchRun(skips_normal=counts, train_err=train, valid_err=valid, num_edges=num_edges)


@pytest.mark.parametrize(("skips", "collapsed"), [(4, False), (5, True)])
def test_is_collapsed_from_five_of_eight_at_the_end(skips, collapsed):
    assert is_collapsed(search([0] * (EPOCHS - 1) + [skips])) is collapsed


def test_rule_fires_when_overfitting_grows_and_there_are_skips():
    verdict = CollapseRule().judge(search(3, gap=0.5))
    assert verdict.fires and verdict.decided and verdict.epoch == 15
    assert verdict.reason == (
        "after epoch 15 of 50, 38% of the normal cell's edges are skips and overfitting grows: the "
        "part of the held-out error that training doesn't have widens by at least 0.50 a search"
    )


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (search(1, gap=0.5), "at epoch 25, 12% of .* are skips, under 25%"),
        (search(3, gap=0.0), "38% .* but overfitting doesn't grow beyond doubt"),
        (search(3, gap=-0.5), "doesn't grow"),
        (search(3, gap=0.1, noise=0.05), "doesn't grow beyond doubt"),
    ],
)
def test_rule_is_silent_without_either(run, reason):
    verdict = CollapseRule().judge(run)
    assert not verdict.fires and verdict.decided and verdict.epoch is None
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(verdict.reason)


def test_widening_is_the_trend_of_the_gap():
    rule = CollapseRule()
    assert rule.widening(search(3, gap=0.4)) == pytest.approx(0.4)
    assert rule.widening(search(3).until(8)) is None


def test_widening_is_seldom_more_than_the_truth():
    """The lower end of a two-sided interval of 95 % lies above the truth once in 40 times."""
    count = 400
    found = [
        CollapseRule().widening(search(3, gap=0.4, noise=0.05, seed=seed)) for seed in range(count)
    ]
    error = (0.025 * 0.975 / count) ** 0.5
    assert np.mean(np.array(found) > 0.4) < 0.025 + 4 * error


def test_rule_is_seldom_deceived_by_noise():
    """It asks 11 times, so that it is wrong more often than once in 40, but not 11 times so."""
    alarms = [CollapseRule().judge(search(3, noise=0.05, seed=seed)).fires for seed in range(200)]
    assert np.mean(alarms) < 0.15


def test_rule_waits_longer_the_noisier_the_errors_are():
    waits = [CollapseRule().judge(search(3, 0.8, noise=n)).epoch for n in (0.0, 0.05, 0.1)]
    assert waits[0] < waits[1] < waits[2]


def test_rule_is_monotone_in_skips():
    for gap in (-0.5, 0.0, 0.2, 0.8):
        epochs = [CollapseRule().judge(search(k, gap)).epoch or EPOCHS for k in range(9)]
        assert epochs == sorted(epochs, reverse=True)


def test_many_skips_speak_for_themselves():
    verdict = CollapseRule().judge(search(5, gap=-0.5))
    assert verdict.epoch == 15 and "as many as in a collapsed one" in verdict.reason


def test_rule_stays_with_its_first_yes():
    """What comes later changes nothing: skips go, and the search is past the rule's latest."""
    run = search([3] * 20 + [0] * 30, gap=0.5)
    assert CollapseRule().judge(run).epoch == CollapseRule().judge(run.until(20)).epoch == 15


def test_rule_looks_no_further_than_half_of_the_search():
    run = search([0] * 30 + [8] * 20, gap=0.5)
    assert CollapseRule().judge(run) == CollapseRule().judge(run.until(25))


def test_rule_on_a_running_search_says_whether_it_is_decided():
    run, rule = search(3, gap=0.0), CollapseRule()
    early, midway, half = (rule.judge(run.until(n)) for n in (14, 20, 25))
    assert (early.decided, midway.decided, half.decided) == (False, False, True)
    assert early.reason == "14 of 50 epochs are too few; the rule asks from 15 on"
    assert midway.reason.endswith("the rule asks up to epoch 25")


@pytest.mark.parametrize("epochs", [20, 50, 200])
@pytest.mark.parametrize("num_edges", [8, 14, 4])
def test_rule_goes_by_shares(epochs, num_edges):
    many, few = round(num_edges / 2), 0
    fires = CollapseRule().judge(search(many, 0.5, epochs, num_edges))
    assert fires.epoch == 0.3 * epochs
    assert not CollapseRule().judge(search(few, 0.5, epochs, num_edges)).fires


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
def test_rule_on_very_short_searches_says_something(epochs):
    assert CollapseRule().judge(search(3, 0.5, epochs)).reason


@pytest.mark.parametrize(
    ("skips", "fires"),
    [([1] * 10 + [2] * 40, True), ([3] * 50, False), ([4] * 10 + [2] * 40, False)],
)
def test_rule_without_errors_asks_whether_skips_climb(skips, fires):
    verdict = CollapseRule().judge(SearchRun(skips_normal=skips))
    assert verdict.fires is fires
    assert "no errors were logged" in verdict.reason


def test_rule_needs_no_eigenvalues():
    run = search(3, gap=0.5)
    measured = run.model_copy(update={"ev_epochs": (0, 1), "ev_max": (0.1, 9.0)})
    assert CollapseRule().judge(run) == CollapseRule().judge(measured)


def test_gap_of_perfect_networks_is_bounded():
    run = SearchRun(skips_normal=[3] * 50, train_err=[60] + [0] * 49, valid_err=[50] + [0] * 49)
    assert not CollapseRule().judge(run).fires


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"confidence": 1.0}, "confidence is 1.0"), ({"earliest": 0.6}, "in this order")],
)
def test_rule_refuses_settings_that_mean_nothing(settings, message):
    with pytest.raises(ValueError, match=message):
        CollapseRule(**settings)


def curved(values):
    return SearchRun(skips_normal=[0] * EPOCHS, ev_epochs=list(range(len(values))), ev_max=values)


def test_eigenvalue_ratio_compares_averages_four_measurements_apart():
    """Averages of 1 1 1 1 1 | 1 1 1 1 6: 1 and 2."""
    assert eigenvalue_ratio(curved([1.0] * 8 + [6.0])) == pytest.approx(2.0)
    assert eigenvalue_ratio(curved([1.0] * 8)) is None
    assert eigenvalue_over(1.3)(curved([1.0] * 8 + [3.0])) is True
    assert eigenvalue_over(1.5)(curved([1.0] * 8 + [3.0])) is False
    assert eigenvalue_over(1.3)(search(3)) is None


def test_skips_at_counts_epochs_that_are_through():
    run = search([0] * 19 + [3] + [0] * 30)
    assert skips_at(3 / 8, 20 / 50)(run) is True
    assert skips_at(3 / 8, 25 / 50)(run) is False
    assert skips_at(3 / 8, 25 / 50)(run.until(24)) is None


def test_published_rules_are_four():
    said = [rule(search(3)) for rule in PUBLISHED.values()]
    assert said == [None, None, True, True]
