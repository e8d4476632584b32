"""What is switched on around the caller doesn't reach into a living model."""

from contextlib import nullcontext

import pytest
import torch
from tolerance import assert_equal_tensors
from torch import Tensor, nn

from neuroexapt import Connect, Deepen, LivingModel, Prune, Split, Widen
from neuroexapt.graph.shield import shielded

SURROUNDINGS = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}
EDITS = {
    "split": (Split(group="0", units=(0, 1)), {}),
    "widen": (Widen(group="0", count=2), {}),
    "gradmax": (
        Widen(group="0", count=2, init="gradmax"),
        {"loss": lambda model: model(noise(8, 4)).square().mean()},
    ),
    "deepen": (Deepen(after="1"), {}),
    "connect": (Connect(source="0", target="4"), {}),
    "prune": (Prune(group="0", units=(0,), preserving=False), {}),
}
each_surrounding = pytest.mark.parametrize("surrounding", SURROUNDINGS)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)
    return nn.Sequential(*layers)


@each_surrounding
@pytest.mark.parametrize("kind", EDITS)
@pytest.mark.parametrize("made_inside", [False, True])
def test_edit_is_the_same_whatever_is_switched_on(surrounding, kind, made_inside):
    """Same parameters and error as without; all of them can be trained."""
    edit, options = EDITS[kind]
    plain = LivingModel(network(), noise(8, 4))
    expected = plain.apply(edit, seed=1, **options)
    model, enter = network(), SURROUNDINGS[surrounding]
    with enter() if made_inside else nullcontext():
        living = LivingModel(model, noise(8, 4))
    with enter():
        assert [group.size for group in living.groups] == [6, 6, 2]
        change = living.apply(edit, torch.optim.SGD(living.parameters(), 0.1), seed=1, **options)
        assert living.cost() == plain.cost()
    assert (change.max_error, change.checked_in) == (expected.max_error, expected.checked_in)
    for ours, theirs in zip(living.parameters(), plain.parameters(), strict=True):
        assert_equal_tensors(ours, theirs)
        assert not ours.is_inference()
    living(noise(8, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in living.parameters())


@each_surrounding
def test_submodule_becomes_living_whatever_is_switched_on(surrounding):
    outer = nn.Sequential(nn.Linear(4, 4), network())
    with SURROUNDINGS[surrounding]():
        living = LivingModel.within(outer, "1", noise(8, 4))
        living.apply(Split(group="0", units=(0,)))
    (example,) = living.example_inputs.tensors
    assert example.dtype == torch.float32
    assert not example.is_inference()
    outer(noise(8, 4)).sum().backward()


@each_surrounding
def test_surroundings_are_as_before(surrounding):
    with SURROUNDINGS[surrounding]():
        before = torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")
        grad = torch.is_grad_enabled()
        with shielded():
            assert not torch.is_inference_mode_enabled()
            assert not torch.is_autocast_enabled("cpu")
            assert torch.is_grad_enabled()
        assert before == (torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"))
        assert grad == torch.is_grad_enabled()
