"""The prior's law, and what it is told of an edit."""

import math

import pytest

from neuroexapt import Attend, Cost, Deepen, Widen
from neuroexapt.growth.prior import (
    Features,
    Prior,
    growing_features,
    kind_of,
    pruning_features,
    shipped_prior,
    standing_log,
)
from neuroexapt.signals import Gain

WIDEN = Widen(group="0", count=2)
LAW = Prior(
    horizon=300,
    kinds={"widen": math.log(0.01), "prune": math.log(0.02)},
    exponents={"grow": {"gain": 0.5, "params": -1.0}, "prune": {"saliency": 1.0}},
    source="by hand",
)


def gain(value: float, error: float = 0.1) -> Gain:
    return Gain(
        WIDEN,
        value,
        error,
        dual=1.0,
        share=0.5,
        beyond=value,
        beyond_error=error,
        num_parameters=4,
        params=20,
        macs=300,
    )


def test_saving_follows_the_power_law_by_hand():
    features = Features(kind="widen", values={"gain": math.log(4.0), "params": math.log(0.5)})
    assert LAW.saving(features) == pytest.approx(0.01 * 4**0.5 / 0.5)


def test_saving_of_pruning_is_a_loss():
    features = Features(kind="prune", values={"saliency": math.log(0.3), "removed": 0.0})
    assert LAW.saving(features) == pytest.approx(-0.02 * 0.3)


def test_features_are_relative_to_the_model_and_its_loss():
    found = growing_features(gain(0.4), 0.4, loss=2.0, cost=Cost(params=100, macs=3000)).values
    assert found["gain"] == pytest.approx(math.log(0.2))
    assert found["dual"] == pytest.approx(math.log(0.5))
    assert found["params"] == pytest.approx(math.log(0.2))
    assert found["macs"] == pytest.approx(math.log(0.1 + 0.01))
    assert found["share"] == 0.5


def test_features_of_a_negative_gain_are_finite_and_below_any_sure_one():
    cost = Cost(params=100, macs=3000)
    unsure = growing_features(gain(-0.3), 0.2, 2.0, cost).values["gain"]
    assert math.isfinite(unsure)
    assert unsure < growing_features(gain(0.2), 0.2, 2.0, cost).values["gain"]
    assert math.isfinite(growing_features(gain(-1.0, math.inf), 0.2, 2.0, cost).values["gain"])


def test_standing_counts_standard_errors_beyond_the_third_of_the_largest_gain_only():
    assert standing_log(1.0, 0.05, largest=1.0) == pytest.approx(math.log(20 / 3))
    assert standing_log(1.0, 0.05, largest=2.0) == pytest.approx(math.log(10 / 3))
    assert standing_log(1.0, 0.05, largest=9.0) == 0, "certain, but small among the others"
    assert standing_log(1.0, 0.4, largest=1.0) == 0, "large, but it may be noise"
    assert standing_log(-1.0, 0.1, 1.0) == standing_log(1.0, math.inf, 1.0) == 0


def test_features_of_units_that_help_nothing_are_those_of_none():
    none, harmful, needed = (pruning_features(s, 0.25, loss=1.0) for s in (0.0, -0.2, 0.2))
    assert none == harmful
    assert needed.values["saliency"] > none.values["saliency"]


def test_kind_tells_the_forms_of_attention_and_blocks_apart():
    assert kind_of(Attend(after="0")) == "attend-channels"
    assert kind_of(Attend(after="1", source="0")) == "attend-source"
    assert kind_of(Deepen(after="0")) == kind_of(Deepen(after="0", form="identity")) == "deepen"
    assert kind_of(Deepen(after="0", form="inverted")) == "deepen-inverted"
    assert kind_of(WIDEN) == "widen"


def test_shipped_prior_knows_every_kind_and_is_finite():
    prior = shipped_prior()
    growing = {"split", "widen", "deepen", "connect", "activate"}
    forms = {"deepen-bottleneck", "deepen-inverted", "attend-channels", "attend-positions"}
    assert growing | forms | {"attend-source", "prune"} == set(prior.kinds)
    for kind in prior.kinds:
        law = "prune" if kind == "prune" else "grow"
        values = dict.fromkeys(prior.exponents[law], -1.0)
        assert 0 < abs(prior.saving(Features(kind=kind, values=values))) < 1
