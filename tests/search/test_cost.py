"""What a draw costs is what the network derived from it costs."""

from functools import partial

import pytest
import torch

from neuroexapt import LivingModel
from neuroexapt.search import aso_se, commit, decisions, derive, mix, nasbench201
from neuroexapt.search.cost import OperationCosts


@pytest.mark.parametrize(
    "build", [partial(nasbench201, cells_a_stage=2), aso_se], ids=["nasbench201", "aso_se"]
)
def test_cost_of_a_draw_is_that_of_the_derived_network(build):
    network, x = build(channels=4), torch.randn(2, 3, 16, 16)
    costs = OperationCosts.of(network, x)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for decision in decisions(network).values():
            with torch.no_grad():
                decision.alpha.normal_(generator=generator)
                for name in ("none", "skip_connect"):  # what is left out wouldn't be counted
                    decision.alpha[decision.operations.index(name)] = -9.0
        commit(network)
        assert costs.active(network) == 2 * LivingModel(derive(network), x).cost().macs


def test_cost_of_mixing_is_that_of_everything():
    network = aso_se(channels=4)
    costs = OperationCosts.of(network, torch.randn(2, 3, 8, 8))
    mix(network)
    assert costs.active(network) == costs.rest + sum(map(sum, costs.by_decision.values()))
    assert set(costs.by_decision) == set(decisions(network))


def test_counting_leaves_the_network_as_it_is():
    network = aso_se(channels=4)
    commit(network)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    OperationCosts.of(network, torch.randn(2, 3, 8, 8))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(len(d.active) == 1 for d in decisions(network).values())
    assert not any(m._forward_hooks for m in network.modules())
