"""Judgements of what holds a search back, by hand."""

import pytest

from neuroexapt.search import SearchConfig, darts
from neuroexapt.search.bottleneck import discretisation_gap, not_learning, skip_dominance
from neuroexapt.training import Recipe


@pytest.mark.parametrize(
    ("accuracy", "num_samples", "severity"),
    [
        (0.10, None, "critical"),
        (0.11, None, "ok"),
        (0.15, 100, "critical"),
        (0.15, 10_000, "ok"),
        (0.02, 10_000, "critical"),
    ],
)
def test_learning_is_more_than_chance(accuracy, num_samples, severity):
    """With 100 samples chance alone gives 10 % +- 3 %, so that 16 % are needed."""
    found = not_learning(accuracy, 0.1, lr=0.025, num_samples=num_samples)
    assert (found.value, found.severity) == (accuracy, severity)
    assert found.remedy == ("" if severity == "ok" else "Recipe(lr=0.005)")


@pytest.mark.parametrize(
    ("skips", "entropy", "severity"),
    [
        (1, 0.5, "ok"),
        (2, 0.5, "notice"),
        (3, 0.5, "warning"),
        (5, 0.5, "critical"),
        (8, 0.96, "notice"),
        (1, 0.96, "ok"),
    ],
)
def test_skips_dominate_where_alpha_has_decided_so(skips, entropy, severity):
    choices = ["skip_connect"] * skips + ["none"] * (8 - skips)
    found = skip_dominance(choices, entropy, weight_decay=3e-4)
    assert found.severity == severity
    assert ("by chance" in found.meaning) is (entropy > 0.95 and skips > 1)
    if found.remedy:
        assert eval(found.remedy, {"Recipe": Recipe}).weight_decay == 9e-4


def test_decisions_without_a_skip_are_not_measured():
    assert skip_dominance([], 0.5, 3e-4).severity == "not measured"


@pytest.mark.parametrize(
    ("config", "remedy"),
    [
        (darts(epochs=60), 'SearchConfig(relaxation="gumbel")'),
        (SearchConfig(epochs=60), 'config.model_copy(update={"final": 48})'),
    ],
)
def test_gap_is_what_deriving_loses(config, remedy):
    large = discretisation_gap(0.8, 0.6, config)
    assert (large.value, large.severity) == (pytest.approx(0.2), "warning")
    assert large.remedy == remedy
    eval(remedy, {"SearchConfig": SearchConfig, "config": config})
    assert discretisation_gap(0.8, 0.75, config).severity == "ok"
    assert discretisation_gap(0.6, 0.8, config).severity == "ok"
