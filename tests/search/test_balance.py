"""Relative rates of alpha and weights, by hand."""

import math

import pytest
import torch
from torch import nn

from neuroexapt.search import AlphaConfig, Finding, SearchConfig
from neuroexapt.search.balance import Rate, rate
from neuroexapt.search.separation import gradient_imbalance


def test_rate_by_hand():
    """Loss 3 x mean(w x): gradients 3 and 6, root mean square of 3 sqrt(2.5)."""
    linear = nn.Linear(1, 1, bias=False)
    nn.init.constant_(linear.weight, 2.0)
    batches = [(torch.full((4, 1), x), torch.zeros(4)) for x in (1.0, 2.0)]
    draws = []
    found = rate(
        linear,
        batches,
        lambda outputs, _: 3 * outputs.mean(),
        linear.parameters(),
        0.1,
        lambda: draws.append(1),
    )
    assert found.gradient == pytest.approx(3 * math.sqrt(2.5))
    assert (found.length, found.lr, len(draws)) == (2.0, 0.1, 2)
    assert found.relative == pytest.approx(0.1 * 3 * math.sqrt(2.5) / 2)
    assert linear.weight.grad is None


def test_rate_of_parameters_that_have_no_part_is_zero():
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    batch = (torch.ones(2, 1), torch.zeros(2))
    found = rate(first, [batch], lambda o, _: o.sum(), second.parameters(), 0.1, lambda: None)
    assert found.gradient == found.relative == 0.0


CONFIG = SearchConfig()
ONE = SearchConfig(alpha=AlphaConfig(num_running=1))


def imbalance(alpha: Rate, weights: Rate, config: SearchConfig = CONFIG) -> Finding:
    return gradient_imbalance(alpha, weights, config, temperature=0.1)


@pytest.mark.parametrize(
    ("gradient", "severity"), [(1.0, "ok"), (9e2, "ok"), (9e3, "warning"), (2e-4, "warning")]
)
def test_imbalance_is_the_ratio_of_relative_rates(gradient, severity):
    alpha, weights = Rate(gradient, 1.0, 0.1), Rate(1.0, 1.0, 0.1)
    found = imbalance(alpha, weights)
    assert (found.severity, found.value) == (severity, pytest.approx(gradient))
    if severity == "warning":
        proposed = eval(found.remedy, {"AlphaConfig": AlphaConfig})
        assert imbalance(Rate(gradient, 1.0, proposed.lr), weights).severity == "ok"


def test_no_learning_rate_is_proposed_that_throws_alpha_about():
    """Adam's steps are as long as the learning rate, however small the gradient."""
    weights = Rate(1.0, 1.0, 0.1)
    assert imbalance(Rate(1e9, 1.0, 0.1), weights).remedy == "AlphaConfig(lr=0.01)"
    vanishing = Rate(3e-7, 1.0, 0.1)
    assert imbalance(vanishing, weights).remedy.startswith("Annealing(")
    assert imbalance(vanishing, weights, ONE).remedy == "AlphaConfig(num_running=2)"
    assert imbalance(Rate(0.0, 1.0, 0.1), weights, ONE).remedy == "AlphaConfig(num_running=2)"


def test_parameters_at_zero_move_endlessly_fast():
    assert Rate(1.0, 0.0, 0.1).relative == math.inf
    assert Rate(0.0, 0.0, 0.1).relative == 0.0


def test_no_gradient_at_all_is_critical():
    assert imbalance(Rate(0.0, 1.0, 0.1), Rate(1.0, 1.0, 0.1)).severity == "critical"


@pytest.mark.parametrize(
    ("alpha", "weights"),
    [
        (Rate(1.0, 0.0, 0.1), Rate(1.0, 1.0, 0.1)),
        (Rate(1.0, 1.0, 0.1), Rate(0.0, 1.0, 0.1)),
        (Rate(math.nan, 1.0, 0.1), Rate(1.0, 1.0, 0.1)),
    ],
)
def test_what_cannot_be_compared_is_not_measured(alpha, weights):
    assert imbalance(alpha, weights).severity == "not measured"
