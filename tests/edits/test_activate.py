"""Blends of activations: what they compute in between, and how they end."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt import Activate, EditError, LivingModel, Settle, Split
from neuroexapt.edits.activate import CANDIDATES, activations

INPUTS = torch.randn(16, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def net(activation: nn.Module | None = None) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), activation or nn.ReLU(), nn.Linear(6, 2)).double()


def amounts(living: LivingModel) -> nn.Parameter:
    return living.graph_module.edit0.blend.amount


@pytest.mark.parametrize("to", sorted(CANDIDATES))
def test_activate_blends_channel_by_channel(to):
    seed = net(nn.Sigmoid())
    living = LivingModel(seed, INPUTS)
    living.apply(Activate(node="1", to=to))
    share = torch.linspace(-0.5, 1.5, 6, dtype=torch.float64)
    with torch.no_grad():
        amounts(living).copy_(share)
    before = seed[0](INPUTS)
    candidate = F.leaky_relu(before, 0.1) if to == "leaky_relu" else getattr(F, to)(before)
    expected = seed[2]((1 - share) * torch.sigmoid(before) + share * candidate)
    torch.testing.assert_close(living(INPUTS), expected)


class InPlace(nn.Module):
    """Activates in place, and reads afterwards what it activated."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.last = nn.Linear(4, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        y = F.relu(x, inplace=True)
        return self.last(x + y)


def test_activate_in_place_keeps_the_input_for_the_candidate():
    torch.manual_seed(0)
    seed = InPlace().double()
    living = LivingModel(seed, INPUTS)
    expected = living(INPUTS)
    living.apply(Activate(node="relu", to="silu"))
    torch.testing.assert_close(living(INPUTS), expected, rtol=0, atol=0)
    with torch.no_grad():
        amounts(living).fill_(1)
    torch.testing.assert_close(living(INPUTS), seed.last(2 * F.silu(seed.linear(INPUTS))))
    living(INPUTS).sum().backward()
    assert amounts(living).grad.any()
    living.apply(Settle(blend="edit0.blend", keep="second"))
    torch.testing.assert_close(living(INPUTS), seed.last(2 * F.silu(seed.linear(INPUTS))))


@pytest.mark.parametrize(("keep", "left"), [("first", ("1",)), ("second", ("edit0.candidate",))])
def test_settle_leaves_one_plain_activation(keep, left):
    living = LivingModel(net(), INPUTS)
    optimizer = torch.optim.Adam(living.parameters())
    living.apply(Activate(node="1", to="tanh"), optimizer)
    assert any(p is amounts(living) for p in optimizer.param_groups[0]["params"])
    with torch.no_grad():
        amounts(living).fill_(float(keep == "second"))
    living(INPUTS).sum().backward()
    optimizer.step()
    with torch.no_grad():
        amounts(living).fill_(float(keep == "second"))
    expected = living(INPUTS)
    change = living.apply(Settle(blend="edit0.blend", keep=keep), optimizer)
    assert change.max_error <= 1e-15
    assert change.params_after == change.params_before - 6
    torch.testing.assert_close(living(INPUTS), expected)
    assert activations(living) == left
    held = {id(p) for p in optimizer.param_groups[0]["params"]}
    assert held == {id(p) for p in living.parameters()} == {id(p) for p in optimizer.state}


def test_settle_with_consent_reports_what_it_changes():
    living = LivingModel(net(), INPUTS)
    living.apply(Activate(node="1", to="tanh"))
    with torch.no_grad():
        amounts(living).fill_(0.1)
    with pytest.raises(EditError, match="Consent with preserving=False"):
        living.apply(Settle(blend="edit0.blend", keep="first"))
    change = living.apply(Settle(blend="edit0.blend", keep="first", preserving=False))
    assert 1e-3 < change.max_error < 1


def test_blend_follows_a_split():
    living = LivingModel(net(), INPUTS)
    living.apply(Activate(node="1", to="tanh"))
    with torch.no_grad():
        amounts(living).copy_(torch.arange(6.0))
    expected = living(INPUTS)
    living.apply(Split(group="0", units=(2, 5)))
    assert amounts(living).tolist() == [0, 1, 2, 3, 4, 5, 2, 5]
    torch.testing.assert_close(living(INPUTS), expected)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Activate(node="0", to="silu"), "'0' is no activation; give one, such as '1'"),
        (Activate(node="1", to="relu"), "is relu already"),
        (Settle(blend="1", keep="first"), "is no blend of activations; there are \\(none here\\)"),
    ],
)
def test_activate_refuses(edit, message):
    living = LivingModel(net(), INPUTS)
    with pytest.raises(EditError, match=message):
        living.apply(edit)
    assert living.edits == ()
