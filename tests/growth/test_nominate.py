"""What can be proposed of a model."""

import torch
from small import CRITERION, batches, model
from torch import nn

from neuroexapt import Attend, Deepen, LivingModel, sense
from neuroexapt.growth.nominate import (
    BLOCKS,
    growable,
    nominate_activations,
    nominate_attention,
    nominate_blocks,
    nominate_connections,
    nominate_driving,
)


def living() -> LivingModel:
    found = LivingModel(model(), batches()[0][0][:2])
    found.train()
    return found


def test_blocks_of_every_form_fit_wherever_one_does():
    network = living()
    forms: dict[str, list[str]] = {}
    for proposal in nominate_blocks(network, BLOCKS):
        assert isinstance(proposal.edit, Deepen)
        change = living().apply(proposal.edit)
        assert change.max_error is not None and change.max_error < 1e-6
        forms.setdefault(proposal.edit.after, []).append(proposal.edit.form)
    assert [p.edit.form for p in nominate_blocks(network)] == ["residual"] * len(forms)
    assert set(map(tuple, forms.values())) == {BLOCKS}


def test_distant_layers_drive_channels_and_do_so_once():
    network = living()
    readings = sense(network, batches(), CRITERION)
    proposals = list(nominate_driving(readings, network))
    assert len(proposals) == 1 and abs(proposals[0].evidence["correlation"]) > 0
    order = {name: index for index, name in enumerate(network.nodes)}
    for proposal in proposals:
        assert isinstance(proposal.edit, Attend) and proposal.edit.source is not None
        assert order[proposal.edit.source] < order[proposal.edit.after]
    change = network.apply(proposals[0].edit)
    assert change.max_error is not None and change.max_error < 1e-6
    assert list(nominate_driving(readings, network)) == [], "the only such layer is driven now"


def test_attention_is_proposed_once_a_layer_and_form():
    network = living()
    before = [proposal.edit for proposal in nominate_attention(network)]
    for edit in before:
        network.apply(edit)
    assert {edit.form for edit in before} == {"channels", "positions"}
    assert list(nominate_attention(network)) == []


class Siamese(nn.Module):
    """One tower for both inputs, and a head that compares."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.Tanh())
        self.head = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))

    def forward(self, x):
        first, second = self.tower(x[:, :4]), self.tower(x[:, 4:])
        return self.head(first * second)


def test_calls_of_one_layer_stay_alike():
    network = LivingModel(Siamese(), torch.zeros(2, 8)).train()
    data = [(torch.randn(64, 8), torch.randint(2, (64,)))]
    readings = sense(network, data, CRITERION)
    assert [p.edit.after for p in nominate_blocks(network)] == ["head.1"]
    assert [p.edit.node for p in nominate_activations(network)] == ["head.1"]
    assert {p.edit.target for p in nominate_connections(readings, network)} <= {"head.0", "head.2"}
    assert [g.name for g in growable(network)] == ["tower.0", "tower.2", "head.0"]
