import json
import math
from functools import cache

import numpy as np
import pytest
import torch
from families import scramble_
from torch import Tensor, nn

from neuroexapt import ChannelGroup, DataError, EditError, LivingModel, Split, replay
from neuroexapt.growth import InformationEntropyNeuronDivision
from neuroexapt.growth.division import propose_splits
from neuroexapt.signals import Readings, sense

NAMES = ("0", "3", "6")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return scramble_(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Tanh(),
            nn.Conv2d(4, 6, 3, padding=1, stride=2),
            nn.Sigmoid(),
            nn.Flatten(),
            nn.Linear(6 * 16, 8),
            nn.ReLU(),
            nn.Linear(8, 4),
        )
    )


def living() -> LivingModel:
    return LivingModel(net(), torch.randn(2, 3, 8, 8))


def batches(num: int = 2, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, 8, 8, generator=generator), torch.zeros(size, dtype=torch.int64))
        for _ in range(num)
    ]


def readings(**entropy: list[float]) -> Readings:
    """As if these groups had been sensed, a letter before their name."""
    tensors = {name[1:]: torch.tensor(values) for name, values in entropy.items()}
    dead = {name: torch.zeros(len(values), dtype=torch.bool) for name, values in tensors.items()}
    return Readings(tensors, dead, {}, (), 1.0, 1.0, 128, 0, 0.0)


@cache
def groups() -> tuple[ChannelGroup, ...]:
    return living().groups


def proposals(found: Readings, threshold=0.6, probability=1.0, most=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return propose_splits(found, groups(), threshold, probability, most, generator)


# Proposals


def test_propose_splits_takes_the_highest_above_the_threshold() -> None:
    found = readings(g0=[0.7, 0.5, 0.9, 0.61], g3=[0.1, 0.8, 0.6, 0.3, 0.2, 0.59])
    (first, evidence), (second, _) = proposals(found)
    assert first == Split(group="0", units=(2, 0, 3))
    assert second == Split(group="3", units=(1,))
    assert evidence["entropy"] == pytest.approx([0.9, 0.7, 0.61])
    assert evidence["threshold"] == 0.6
    assert evidence["num_above"] == 3
    assert evidence["num_samples"] == 128


def test_propose_splits_has_the_group_of_highest_entropy_first() -> None:
    found = readings(g0=[0.7] * 4, g3=[0.8] * 6, g6=[0.75] * 8)
    assert [split.group for split, _ in proposals(found)] == ["3", "6", "0"]


def test_propose_splits_takes_no_more_than_the_most_of_a_group() -> None:
    found = readings(g0=[0.9, 0.8, 0.7, 0.65], g3=[0.7] * 6)
    assert [len(split.units) for split, _ in proposals(found, most=2)] == [2, 2]
    assert proposals(found, most=0) == []


def test_propose_splits_takes_each_unit_with_the_given_chance() -> None:
    """Group by group 14 chances of 0.3 a go, 300 goes; within 4 standard errors."""
    found = readings(g3=[0.9] * 6, g6=[0.9] * 8)
    taken = sum(
        len(split.units)
        for seed in range(300)
        for split, _ in proposals(found, probability=0.3, most=99, seed=seed)
    )
    chances = 300 * 14
    assert taken / chances == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / chances))


@pytest.mark.parametrize("probability, expected", [(0.0, []), (1.0, ["0"])])
def test_propose_splits_certain_chances(probability: float, expected: list[str]) -> None:
    found = proposals(readings(g0=[0.9] * 4), probability=probability)
    assert [split.group for split, _ in found] == expected


def test_propose_splits_is_repeatable() -> None:
    found = readings(g0=[0.9] * 4, g3=[0.9] * 6, g6=[0.9] * 8)
    first, again, other = (proposals(found, probability=0.5, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_propose_splits_passes_over_what_cannot_grow_or_was_not_read() -> None:
    assert proposals(readings(g8=[0.9] * 4)) == []


def test_propose_splits_evidence_is_json() -> None:
    (_, evidence), *_ = proposals(sense(living(), batches(), gradients=False))
    assert json.loads(json.dumps(evidence)) == evidence


@pytest.mark.parametrize("figures", [(1.5, 0.3, 3), (0.6, -0.1, 3), (0.6, 1.1, 3), (4.32, 0.3, -1)])
def test_propose_splits_figures_out_of_range_are_refused(figures) -> None:
    with pytest.raises(ValueError, match="give two figures from 0 to 1"):
        proposals(readings(), *figures)
    with pytest.raises(ValueError, match="give two figures from 0 to 1"):
        InformationEntropyNeuronDivision(*figures)


# The class


@pytest.mark.parametrize(
    "layer, shape",
    [
        (nn.Conv2d(3, 5, 3), (7, 5, 4, 4)),
        (nn.Conv1d(3, 5, 3), (7, 5, 11)),
        (nn.BatchNorm1d(5), (40, 5)),
        (nn.Linear(3, 5), (40, 5)),
        (nn.Linear(3, 5), (7, 6, 5)),
    ],
)
def test_analyze_gives_each_units_normalised_entropy(layer: nn.Module, shape) -> None:
    activations = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    division = InformationEntropyNeuronDivision(bins=20)
    entropy = division.analyze_neuron_information_load(layer, activations)
    dim = -1 if isinstance(layer, nn.Linear) else 1
    for unit in range(5):
        values = activations.select(dim, unit).flatten().numpy()
        counts, _ = np.histogram(values, 20)
        shares = counts[counts > 0] / counts.sum()
        assert entropy[unit].item() == pytest.approx(-(shares * np.log(shares)).sum() / np.log(20))


@pytest.mark.parametrize("shape", [(7, 4, 4, 4), (5,)])
def test_analyze_activations_of_another_layer_are_refused(shape) -> None:
    division = InformationEntropyNeuronDivision()
    with pytest.raises(ValueError, match="are not those of Conv2d"):
        division.analyze_neuron_information_load(nn.Conv2d(3, 5, 3), torch.zeros(shape))


def test_decide_chooses_what_the_readings_say() -> None:
    model, data = living(), batches()
    division = InformationEntropyNeuronDivision(split_probability=1)
    decisions = division.decide_neuron_splits(model, data)
    entropy = sense(model, data, gradients=False).entropy
    assert set(decisions) <= set(NAMES)
    for name in NAMES:
        order = entropy[name].argsort(descending=True).tolist()
        above = [unit for unit in order if entropy[name][unit] > 0.6]
        assert decisions.get(name, ()) == tuple(above[:3])
    assert len(decisions) >= 2


def test_decide_is_repeatable_and_goes_on() -> None:
    model, data = living(), batches()

    def decisions(seed: int) -> list[dict[str, tuple[int, ...]]]:
        division = InformationEntropyNeuronDivision(seed=seed)
        return [division.decide_neuron_splits(model, data) for _ in range(4)]

    assert decisions(3) == decisions(3) != decisions(4)
    assert len({str(decision) for decision in decisions(3)}) > 1


def test_decide_changes_nothing() -> None:
    model = living()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    InformationEntropyNeuronDivision().decide_neuron_splits(model, batches())
    assert model.edits == ()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_execute_divides_and_resizes_what_reads() -> None:
    model = living()
    changes = InformationEntropyNeuronDivision().execute_splits(model, {"3": (1, 4), "0": (2,)})
    assert [change.edit.group for change in changes] == ["3", "0"]
    shapes = {name: tuple(tensor.shape) for name, tensor in model.named_parameters()}
    assert shapes["0.weight"] == (5, 3, 3, 3)
    assert shapes["1.weight"] == (5,)
    assert shapes["3.weight"] == (8, 5, 3, 3)
    assert shapes["6.weight"] == (8, 8 * 16)
    for change in changes:
        assert change.max_error <= 1e-5
        assert change.params_after > change.params_before
    assert changes[-1].params_after == sum(tensor.numel() for tensor in model.parameters())


def test_execute_keeps_the_function_and_can_be_replayed() -> None:
    model, (inputs, _) = living().eval(), batches()[0]
    expected = model(inputs)
    division = InformationEntropyNeuronDivision(split_probability=1)
    division.execute_splits(model, division.decide_neuron_splits(model, batches()))
    torch.testing.assert_close(model(inputs), expected)
    twin = replay(net(), torch.randn(2, 3, 8, 8), model.edits)
    assert {n: p.shape for n, p in twin.named_parameters()} == {
        n: p.shape for n, p in model.named_parameters()
    }


def test_execute_carries_the_optimizer_and_twins_part() -> None:
    model = living()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    inputs, targets = batches()[0]

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    step()
    InformationEntropyNeuronDivision().execute_splits(model, {"3": (1,)}, optimizer)
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    weight = model.get_submodule("3").weight
    assert (optimizer.state[weight]["momentum_buffer"][:6] != 0).any()
    torch.testing.assert_close(weight[1], weight[6], rtol=0, atol=0)
    step()
    assert not torch.equal(weight[1], weight[6])


@pytest.mark.parametrize(
    "decisions, message",
    [
        ({"0": (1,), "4": (0,)}, "no channel group '4'"),
        ({"0": (1,), "8": (0,)}, "can't change its width: an output of the model"),
        ({"0": (1,), "3": (6,)}, "unit 6 is out of range"),
        ({"0": (1,), "3": ()}, "no units given"),
        ({"0": (1,), "3": 3}, r"units of '3' to divide are 3; give .* such as \(3,\)"),
    ],
)
def test_execute_checks_all_decisions_before_the_first(decisions, message: str) -> None:
    model = living()
    with pytest.raises(EditError, match=message):
        InformationEntropyNeuronDivision().execute_splits(model, decisions)
    assert model.edits == ()


def test_compiled_model_is_refused_with_what_to_do() -> None:
    compiled = torch.compile(living(), backend="eager")
    with pytest.raises(ValueError, match="give the LivingModel that it was made from"):
        InformationEntropyNeuronDivision().execute_splits(compiled, {"0": (1,)})


def test_plain_module_is_refused_with_what_to_do() -> None:
    division = InformationEntropyNeuronDivision()
    with pytest.raises(ValueError, match=r"LivingModel\(model, example_input\)"):
        division.decide_neuron_splits(net(), batches())
    with pytest.raises(ValueError, match=r"LivingModel\(model, example_input\)"):
        division.execute_splits(net(), {"0": (1,)})


def test_decide_loader_that_yields_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="yields nothing"):
        InformationEntropyNeuronDivision().decide_neuron_splits(living(), [])
