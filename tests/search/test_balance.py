"""Relative rates of alpha and weights, by hand."""

import math

import pytest
import torch
from torch import nn

from neuroexapt.search import AlphaConfig
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


@pytest.mark.parametrize(
    ("gradient", "severity"), [(1.0, "ok"), (9e2, "ok"), (1e5, "warning"), (1e-5, "warning")]
)
def test_imbalance_is_the_ratio_of_relative_rates(gradient, severity):
    alpha, weights = Rate(gradient, 1.0, 0.1), Rate(1.0, 1.0, 0.1)
    found = gradient_imbalance(alpha, weights)
    assert (found.severity, found.value) == (severity, pytest.approx(gradient))
    if severity == "warning":
        proposed = eval(found.remedy, {"AlphaConfig": AlphaConfig})
        mended = gradient_imbalance(Rate(gradient, 1.0, proposed.lr), weights)
        assert mended.severity == "ok"


def test_parameters_at_zero_move_endlessly_fast():
    assert Rate(1.0, 0.0, 0.1).relative == math.inf
    assert Rate(0.0, 0.0, 0.1).relative == 0.0


def test_no_gradient_at_all_is_critical():
    assert gradient_imbalance(Rate(0.0, 1.0, 0.1), Rate(1.0, 1.0, 0.1)).severity == "critical"


@pytest.mark.parametrize(
    ("alpha", "weights"),
    [
        (Rate(1.0, 0.0, 0.1), Rate(1.0, 1.0, 0.1)),
        (Rate(1.0, 1.0, 0.1), Rate(0.0, 1.0, 0.1)),
        (Rate(math.nan, 1.0, 0.1), Rate(1.0, 1.0, 0.1)),
    ],
)
def test_what_cannot_be_compared_is_not_measured(alpha, weights):
    assert gradient_imbalance(alpha, weights).severity == "not measured"
