"""Limits and measured latency."""

import pytest
from grown_nets import grown, net

from neuroexapt.edits import Deepen
from neuroexapt.evolution import Limits
from neuroexapt.graph import Cost
from neuroexapt.graph.latency import latency_ms


def test_excess_adds_up_relative_to_each_limit() -> None:
    scores = {"params": 300.0, "macs": 150.0, "latency_ms": 1.0, "error": 0.5}
    assert Limits(params=200, macs=100, latency_ms=2.0).excess(scores) == pytest.approx(1.0)
    assert Limits().excess(scores) == 0


def test_exceeded_says_which() -> None:
    limits = Limits(params=200, macs=100)
    assert limits.exceeded(Cost(200, 100)) is None
    assert "201 parameters, at most 200" in (limits.exceeded(Cost(201, 50)) or "")
    assert "101 MACs, at most 100" in (limits.exceeded(Cost(1, 101)) or "")


def test_latency_is_of_one_sample_and_leaves_the_modes() -> None:
    living = net()
    shapes = []
    living.get_submodule("0").register_forward_hook(lambda _m, i, _o: shapes.append(i[0].shape[0]))
    assert latency_ms(living.graph_module, living.example_inputs) > 0
    assert set(shapes) == {1}
    assert living.training
    assert all(module.training for module in living.modules())


def test_latency_of_a_deeper_network_is_larger() -> None:
    blocks = [Deepen(after="4") for _ in range(6)]
    deep, shallow = grown(*blocks), net()
    assert latency_ms(deep.graph_module, deep.example_inputs) > latency_ms(
        shallow.graph_module, shallow.example_inputs
    )
