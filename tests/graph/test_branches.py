"""Conditions on sizes and types are decided by the example, and kept to."""

import copy
import pickle
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt import LivingModel, TraceError, Widen

LONGEST = 6


class Tokens(nn.Module):
    """Checks what it is given, as language models do."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.hidden = nn.Linear(8, 6)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        _, length = x.size()
        assert length <= LONGEST, f"{length} tokens are more than {LONGEST}"
        assert x.dtype == torch.int64
        hidden = F.relu(self.norm(self.hidden(self.embedding(x)).transpose(1, 2)))
        if hidden.dim() == 2 or hidden.is_cuda or hidden.dtype is torch.float16:
            hidden = hidden.unsqueeze(2)
        if not hidden.is_floating_point() or torch.is_floating_point(x) or x.ndim != 2:
            raise ValueError("no")
        return self.head(hidden.transpose(1, 2))


def tokens(length: int) -> Tensor:
    return torch.randint(9, (8, length), generator=torch.Generator().manual_seed(0))


def test_conditions_on_sizes_and_types_are_decided_by_the_example() -> None:
    torch.manual_seed(0)
    model = Tokens()
    before = copy.deepcopy(model.state_dict())
    living = LivingModel(copy.deepcopy(model), tokens(4))
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    for length in (1, 4, LONGEST):
        assert torch.equal(living.eval()(tokens(length)), model.eval()(tokens(length)))
    assert living.group("hidden").frozen is None
    assert living.apply(Widen(group="hidden", count=3)).max_error < 1e-6
    for of in (living, pickle.loads(pickle.dumps(living)), copy.deepcopy(living)):
        torch.testing.assert_close(of.eval()(tokens(LONGEST)), model.eval()(tokens(LONGEST)))
        with pytest.raises(AssertionError, match=r"test_branches\.py:\d+ isn't True, as it was"):
            of(tokens(LONGEST + 1))


class Choosing(nn.Module):
    def __init__(self, chooses) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.last = nn.Linear(6, 2)
        self.chooses = chooses

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).tanh()
        if self.chooses(hidden):
            hidden = 2 * hidden
        return self.last(hidden)


@pytest.mark.parametrize("taken", [True, False])
def test_other_way_than_that_of_the_example_is_refused(taken: bool) -> None:
    model = Choosing(lambda h: h.shape[1] < 5)
    narrow, wide = (torch.randn(8, length, 4) for length in (3, 7))
    seen, other = (narrow, wide) if taken else (wide, narrow)
    living = LivingModel(model, seen)
    assert torch.equal(living(seen), model(seen))
    with pytest.raises(AssertionError, match=f"isn't {taken}, as it was for the example_input"):
        living(other)


@pytest.mark.parametrize(
    "chooses",
    [lambda h: h.shape[0] == 2, lambda h: h.flatten().shape[0] < 13],
)
def test_condition_on_the_number_of_samples_is_refused(chooses) -> None:
    with pytest.raises(
        TraceError, match=r"for 8 samples than for the example_input \(the condition"
    ):
        LivingModel(Choosing(chooses), torch.randn(2, 4))


def test_conditions_late_in_a_deep_model_are_decided() -> None:
    class Deep(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            for _ in range(600):
                x = self.layer(x).tanh()
            assert x.shape[1] == 4
            return x

    model = Deep()
    assert torch.equal(
        LivingModel(model, torch.ones(8, 4))(torch.ones(8, 4)), model(torch.ones(8, 4))
    )


def test_group_whose_size_is_asked_for_is_frozen() -> None:
    living = LivingModel(Choosing(lambda h: h.shape[-1] == 6), torch.randn(8, 4))
    assert re.match(
        r"with one channel more, the condition at .*test_branches\.py:\d+ isn't True",
        living.group("first").frozen,
    )


def test_part_that_stays_whole_decides_by_what_it_is_given() -> None:
    inner = Choosing(lambda h: h.shape[1] == 6)
    outer = nn.Sequential(nn.Linear(3, 4), inner, nn.Linear(2, 5))
    living = LivingModel(outer, torch.randn(8, 3), leaves=("1",))
    assert living.group("0").frozen is None
    assert "one channel more" in living.group("1.first").frozen


@pytest.mark.parametrize(
    "chooses",
    [
        lambda h: h.mean() > 0,
        lambda h: h.requires_grad,
        lambda h: h.sum().item() > 0,
        lambda h: h.max(1).values[0] > 0,
        lambda h: h.shape[1] == 6 and h.requires_grad,
    ],
)
def test_conditions_on_values_and_gradients_are_not_decided(chooses) -> None:
    with pytest.raises(TraceError, match=r"test_branches\.py:\d+ .*control flow"):
        LivingModel(Choosing(chooses), torch.randn(8, 4))
