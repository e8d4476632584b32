"""Search spaces: shapes, who shares what, costs by hand, and deriving."""

import copy

import pytest
import torch
from torch import nn

from neuroexapt import LivingModel
from neuroexapt.errors import SearchError
from neuroexapt.search import (
    Mixed,
    NASBench201,
    aso_se,
    commit,
    decisions,
    derive,
    discretisation_gap,
    nasbench201,
    sample,
)
from neuroexapt.search.operations import ASO_SE_OPERATIONS, NASBENCH201_OPERATIONS, OPERATIONS

SPACES = {
    "nasbench201": lambda: nasbench201(channels=4, cells_a_stage=1),
    "aso-se": lambda: aso_se(channels=4),
}


def choose(network: nn.Module, choices: dict[str, str]) -> None:
    """Make some operations the likeliest."""
    for name, decision in decisions(network).items():
        with torch.no_grad():
            decision.alpha.zero_()
            decision.alpha[decision.operations.index(choices[name])] = 5.0
    commit(network)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(("outputs", "stride"), [(6, 1), (6, 2), (12, 2), (12, 1)])
def test_operations_agree_on_the_shape(name, outputs, stride):
    operation = OPERATIONS[name](6, outputs, stride)
    for side in (7, 8):
        y = operation(torch.randn(2, 6, side, side))
        assert y.shape == (2, outputs, -(-side // stride), -(-side // stride))


@pytest.mark.parametrize("space", SPACES)
def test_every_sample_of_a_space_maps_images_to_classes(space):
    network, generator = SPACES[space](), torch.Generator().manual_seed(0)
    for _ in range(10):
        sample(network, 1.0, generator)
        assert network(torch.randn(2, 3, 16, 16)).shape == (2, 10)


def test_nasbench201_decides_once_for_all_cells_and_aso_se_for_each():
    assert [*decisions(nasbench201(channels=4, cells_a_stage=2))] == [
        *("0->1", "0->2", "1->2", "0->3", "1->3", "2->3")
    ]
    own = decisions(aso_se(channels=4))
    assert len(own) == 4 * 3
    assert all(decision.operations == ASO_SE_OPERATIONS for decision in own.values())


@pytest.mark.parametrize("operation", NASBENCH201_OPERATIONS)
def test_cost_of_a_derived_cell_follows_from_its_edges(operation):
    """Of all edges alike, at 4, 8 and 16 channels on 16, 8 and 4 positions a side."""
    network = nasbench201(channels=4, cells_a_stage=1)
    choose(network, dict.fromkeys(decisions(network), operation))
    macs = LivingModel(derive(network), torch.zeros(1, 3, 16, 16)).cost().macs
    choose(network, dict.fromkeys(decisions(network), "none"))
    without = LivingModel(derive(network), torch.zeros(1, 3, 16, 16)).cost().macs
    taps = {"nor_conv_1x1": 1, "nor_conv_3x3": 9}.get(operation, 0)
    cells = sum(6 * taps * c * c * side * side for c, side in ((4, 16), (8, 8), (16, 4)))
    assert macs - without == cells


@pytest.mark.parametrize("space", SPACES)
def test_derived_network_is_plain_and_computes_what_was_committed(space):
    network = SPACES[space]()
    before = copy.deepcopy(network.state_dict())
    derived = derive(network)
    assert not any(isinstance(module, Mixed) for module in derived.modules())
    commit(network)
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(derived.eval()(x), network.eval()(x))
    with torch.no_grad():
        for parameter in derived.parameters():
            parameter.add_(1.0)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, before[name])


def test_derived_cell_leaves_out_what_nothing_reads():
    network = nasbench201(channels=4, cells_a_stage=1)
    choices = dict.fromkeys(decisions(network), "none")
    choose(network, choices | {"0->1": "nor_conv_3x3", "0->3": "skip_connect"})
    derived = derive(network)
    assert list(derived.cells[0].edges) == ["0->3"]
    x = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(derived.eval()(x), network.eval()(x))


def test_derived_network_can_grow():
    network = nasbench201(channels=4, cells_a_stage=1)
    choose(network, dict.fromkeys(decisions(network), "nor_conv_3x3"))
    living = LivingModel(derive(network), torch.randn(2, 3, 8, 8))
    assert any(group.frozen is None for group in living.groups)


def test_networks_with_decisions_are_seen_with_mixed_operations_as_leaves():
    network = aso_se(channels=4)
    living = LivingModel(network, torch.randn(2, 3, 8, 8), leaves=(Mixed,))
    assert [*decisions(living)] == [*decisions(network)]


def test_discretisation_gap_is_nothing_where_alpha_is_certain():
    network = aso_se(channels=4)
    for decision in decisions(network).values():
        with torch.no_grad():
            decision.alpha[decision.operations.index("conv_1x1")] = 50.0
    batches = [(torch.randn(16, 3, 8, 8), torch.arange(16) % 10)]
    gap = discretisation_gap(network, batches, nn.CrossEntropyLoss())
    assert gap.mixed.loss == pytest.approx(gap.derived.loss, rel=1e-5)
    assert gap.accuracy == 0


def test_discretisation_gap_shows_where_alpha_is_undecided():
    torch.manual_seed(0)
    network = aso_se(channels=4)
    batches = [(torch.randn(64, 3, 8, 8), torch.arange(64) % 10)]
    gap = discretisation_gap(network, batches, nn.CrossEntropyLoss())
    assert gap.mixed.loss != pytest.approx(gap.derived.loss, rel=1e-3)
    assert gap.accuracy == gap.mixed.accuracy - gap.derived.accuracy


@pytest.mark.parametrize(
    ("operations", "told"),
    [
        (("conv_3x3",), "conv_3x3: a search chooses from two operations or more"),
        ((), "no operation: a search chooses"),
        (("conv_3x3", "conv_3x3"), "each named once"),
        (("conv_3x3", "conv_9x9"), "there is no operation 'conv_9x9'; the operations are none"),
    ],
)
@pytest.mark.parametrize("build", [aso_se, nasbench201])
def test_spaces_refuse_operations_there_is_nothing_to_choose_from(build, operations, told):
    with pytest.raises(SearchError, match=told):
        build(operations=operations)


@pytest.mark.parametrize(
    ("build", "sizes", "told"),
    [
        (aso_se, {"channels": 0}, "channels is 0; give at least 1"),
        (aso_se, {"num_cells": 0}, "num_cells is 0"),
        (nasbench201, {"cells_a_stage": -1}, "cells_a_stage is -1"),
        (nasbench201, {"num_classes": 0}, "num_classes is 0"),
    ],
)
def test_spaces_refuse_sizes_of_nothing(build, sizes, told):
    with pytest.raises(SearchError, match=told):
        build(**sizes)


def test_seed_fixes_the_first_preferences():
    first, same, other = (
        torch.cat([d.alpha for d in decisions(aso_se(channels=4, seed=seed)).values()])
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_table_and_space_name_the_same_cells(tmp_path):
    assert {*NASBENCH201_OPERATIONS} <= OPERATIONS.keys()
    with pytest.raises(Exception, match="cannot be read"):
        NASBench201(tmp_path / "none.csv")
