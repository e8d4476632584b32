"""Choices drawn from architecture parameters: what runs, what is learnt, and how often."""

import copy
import math

import pytest
import torch
from torch import nn

from neuroexapt.errors import SearchError
from neuroexapt.search import (
    Decision,
    Mixed,
    aso_se,
    commit,
    decisions,
    derive,
    mix,
    probabilities,
    sample,
)
from neuroexapt.search.decisions import (
    alphas,
    explore,
    other_parameters,
    relaxed_sample,
    straight_through,
)


class Scale(nn.Module):
    """Multiplies by a number, and counts how often it did."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))
        self.calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.factor * x


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixed(*alpha: float, factors: tuple[float, ...] = (1.0, 2.0, 4.0)) -> Mixed:
    names = tuple("abc"[: len(factors)])
    decision = Decision("d", names)
    with torch.no_grad():
        decision.alpha.copy_(torch.tensor(alpha or (0.0,) * len(factors)))
    return Mixed({name: Scale(f) for name, f in zip(names, factors, strict=True)}, decision)


def test_only_what_was_drawn_runs():
    place = mixed()
    sample(place, 1.0, generator())
    (drawn,) = place.decision.active
    output = place(torch.ones(2))
    assert output.tolist() == [2.0**drawn] * 2
    assert [op.calls for op in place.operations.values()] == [int(i == drawn) for i in range(3)]


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
def test_operations_are_drawn_as_likely_as_alpha_says_at_any_temperature(temperature):
    place = mixed(0.0, 1.0, 2.0)
    random = generator()
    counts = torch.zeros(3)
    for _ in range(4000):
        sample(place, temperature, random)
        counts[place.decision.active[0]] += 1
    expected = torch.tensor([0.0, 1.0, 2.0]).softmax(0)
    error = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts / 4000 - expected).abs() < 4 * error).all()


def test_exploring_draws_all_alike_whatever_alpha_says():
    place = mixed(0.0, 9.0, -9.0)
    random = generator()
    counts = torch.zeros(3)
    for _ in range(3000):
        explore(place, random)
        counts[place.decision.active[0]] += 1
    assert ((counts / 3000 - 1 / 3).abs() < 4 * (2 / 9 / 3000) ** 0.5).all()


def test_hard_choice_has_the_gradient_of_the_relaxed_sample_by_hand():
    alpha = torch.tensor([0.3, -0.2, 0.1], dtype=torch.float64, requires_grad=True)
    soft = relaxed_sample(alpha, 0.7, generator())
    toward = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    (expected,) = torch.autograd.grad(soft @ toward, alpha, retain_graph=True)
    (found,) = torch.autograd.grad(straight_through(soft) @ toward, alpha)
    torch.testing.assert_close(found, expected)
    s = soft.detach()
    by_hand = (s * toward - s * (s @ toward)) / 0.7
    torch.testing.assert_close(found, by_hand)


def test_learning_changes_no_output_and_gives_alpha_a_gradient():
    place = mixed()
    sample(place, 1.0, generator(3))
    plain = place(torch.ones(2))
    sample(place, 1.0, generator(3), learning=True)
    learning = place(torch.ones(2))
    torch.testing.assert_close(learning, plain)
    learning.sum().backward()
    assert place.decision.alpha.grad.abs().sum() > 0


def test_running_all_gives_what_was_drawn_and_every_operation_its_say():
    place = mixed()
    sample(place, 1.0, generator(3), learning=True, num_running=None)
    drawn = int(place.decision.soft.argmax())
    output = place(torch.ones(1))
    assert output.item() == pytest.approx(2.0**drawn)
    output.sum().backward()
    soft = place.decision.soft
    toward = torch.tensor([1.0, 2.0, 4.0])
    torch.testing.assert_close(place.decision.alpha.grad, soft * toward - soft * (soft @ toward))


def test_mixing_weighs_by_softmax_and_committing_runs_the_likeliest():
    place = mixed(0.0, math.log(2), 0.0)
    mix(place)
    assert place(torch.ones(1)).item() == pytest.approx(0.25 * 1 + 0.5 * 2 + 0.25 * 4)
    assert commit(place) == {"d": "b"}
    assert place(torch.ones(1)).item() == 2.0
    torch.testing.assert_close(probabilities(place)["d"], torch.tensor([0.25, 0.5, 0.25]))


def test_shared_decision_counts_once_and_its_parameters_are_apart():
    first = mixed()
    second = Mixed({name: Scale(1.0) for name in "abc"}, first.decision)
    network = nn.Sequential(first, second)
    assert list(decisions(network)) == ["d"]
    assert alphas(network) == [first.decision.alpha]
    assert len(list(other_parameters(network))) == 6
    sample(network, 1.0, generator())
    assert first.decision.active == second.decision.active


def test_same_seed_draws_the_same():
    drawn = []
    for _ in range(2):
        place, random = mixed(), generator(7)
        drawn.append([])
        for _ in range(10):
            sample(place, 1.0, random)
            drawn[-1].append(place.decision.active)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 1


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="give a number above 0"):
        sample(mixed(), temperature, generator())


def test_network_without_decisions_is_named():
    with pytest.raises(SearchError, match="Linear has nothing to decide; build one by aso_se"):
        sample(nn.Linear(2, 2), 1.0, generator())


def test_mixed_operation_has_the_decisions_names():
    with pytest.raises(SearchError, match="operations a for a decision between a, b"):
        Mixed({"a": nn.Identity()}, Decision("d", ("a", "b")))


@pytest.mark.parametrize(
    ("operations", "told"),
    [
        ([], "between no operations; give two"),
        (["a"], "'d' is between a; give two"),
        (["a", "a"], "between a, a; give two operations or more, each named once"),
    ],
)
def test_decision_is_between_two_operations_or_more(operations, told):
    with pytest.raises(SearchError, match=told):
        Decision("d", operations)


def test_two_decisions_of_one_name_are_refused():
    """Or one of them would never be drawn, and its alpha trained with the weights."""
    with pytest.raises(SearchError, match="two decisions of Sequential are named 'd'; name each"):
        decisions(nn.Sequential(mixed(), mixed()))


def gradients(output: torch.Tensor, network: nn.Module, toward: torch.Tensor):
    """Of each alpha; zeros where nothing that ran hears of it."""
    return torch.autograd.grad(
        (output * toward).sum(),
        alphas(network),
        retain_graph=True,
        allow_unused=True,
        materialize_grads=True,
    )


@pytest.mark.parametrize("num_running", [1, 2, None])
def test_alpha_learns_as_if_everything_had_run(num_running):
    """Against a naive network that runs all operations and multiplies each by its weight."""
    torch.manual_seed(0)
    names = ("none", "skip_connect", "avg_pool_3x3", "conv_3x3")
    network = aso_se(channels=4, num_cells=2, operations=names).double()
    x = torch.randn(4, 3, 8, 8, dtype=torch.float64)
    toward = torch.randn(4, 10, dtype=torch.float64)
    random = generator(5)
    for _ in range(5):
        sample(network, 1.0, random, learning=True, num_running=num_running)
        output = network(x)
        found = gradients(output, network, toward)
        for decision in decisions(network).values():
            if num_running == 1:  # alpha hears of the choice alone
                heard = torch.zeros(len(names)).index_fill(0, torch.tensor(decision.active), 1.0)
                decision.weights = decision.weights * heard
            decision.active = tuple(range(len(names)))
        naive = network(x)
        expected = gradients(naive, network, toward)
        torch.testing.assert_close(output, naive)
        for mine, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize(
    "draw", [mix, lambda place: sample(place, 1.0, generator(), learning=True)]
)
def test_network_is_copied_and_derived_in_the_midst_of_a_step(draw):
    place = mixed(0.0, 1.0, 0.0)
    draw(place)
    twin = copy.deepcopy(place)
    assert twin(torch.ones(1)).item() == place(torch.ones(1)).item()
    assert not twin.decision.weights.requires_grad
    assert place.decision.weights.requires_grad
    assert derive(place) is not place.operations["b"]
    assert derive(place)(torch.ones(1)).item() == 2.0
