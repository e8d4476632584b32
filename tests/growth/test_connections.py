import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from families import scramble_
from torch import Tensor, nn

from neuroexapt import Connect, DataError, EditError, LivingModel
from neuroexapt.growth import GradientGuidedConnectionGrowth
from neuroexapt.growth.connections import propose_connections
from neuroexapt.signals import LayerCorrelation, Readings, sense

CRITERION = nn.CrossEntropyLoss()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return scramble_(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Tanh(),
            nn.Conv2d(6, 5, 3, padding=1),
            nn.BatchNorm2d(5),
            nn.ReLU(inplace=True),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(5, 4),
        )
    )


def living() -> LivingModel:
    return LivingModel(net(), torch.randn(2, 3, 8, 8))


def batches(num: int = 2, size: int = 64) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(size, 3, 8, 8, generator=generator),
            torch.randint(4, (size,), generator=generator),
        )
        for _ in range(num)
    ]


def pair(source: str, target: str, correlation: float = 0.9, significant: bool = True):
    return LayerCorrelation(source, target, correlation, 128, 1e-9, significant)


def readings(*pairs: LayerCorrelation) -> Readings:
    return Readings({}, {}, {}, pairs, 1.0, 0.2, 128, 0, 0.0)


# Proposals


def test_propose_connections_reads_what_follows_the_source() -> None:
    (connect, evidence), *_ = propose_connections(readings(pair("0", "6", 0.8)), living(), 1)
    assert connect == Connect(source="2", target="6")
    assert evidence == {
        "correlation": 0.8,
        "p_value": 1e-9,
        "num_samples": 128,
        "noise_floor": 0.2,
    }
    assert json.loads(json.dumps(evidence)) == evidence


def test_propose_connections_are_strongest_first_up_to_the_limit() -> None:
    found = readings(pair("0", "11"), pair("4", "11", -0.8), pair("0", "6", 0.7))
    for limit in range(4):
        proposed = propose_connections(found, living(), limit)
        targets = [("2", "11"), ("5", "11"), ("2", "6")][:limit]
        assert [(connect.source, connect.target) for connect, _ in proposed] == targets


def test_propose_connections_leaves_out_what_is_under_the_noise_floor() -> None:
    found = readings(pair("0", "6", 0.1, significant=False), pair("4", "11", 0.3))
    ((connect, _),) = propose_connections(found, living(), 9)
    assert connect.target == "11"


@pytest.mark.parametrize("source", ["0", "2"])
@pytest.mark.parametrize("target", ["6", "8"])
def test_propose_connections_leaves_out_what_is_connected(source: str, target: str) -> None:
    model = living()
    model.apply(Connect(source=source, target=target))
    assert propose_connections(readings(pair("0", "6")), model, 1) == []
    assert len(propose_connections(readings(pair("0", "11")), model, 1)) == 1


class Sequence(nn.Module):
    """From a feature map to a sequence: no connection crosses over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.fc1, self.fc2, self.fc3 = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x).relu()).relu()
        x = x.flatten(2).transpose(1, 2)
        return self.fc3(self.fc2(self.fc1(x).relu()).relu())


def test_propose_connections_leaves_out_what_does_not_fit(caplog) -> None:
    model = LivingModel(Sequence(), torch.randn(2, 3, 8, 8))
    found = readings(pair("conv1", "fc2"), pair("fc2", "fc1"), pair("fc1", "fc3", 0.8))
    with caplog.at_level(logging.INFO):
        ((connect, _),) = propose_connections(found, model, 9)
    assert (connect.source, connect.target) == ("relu_2", "fc3")
    assert "has no meaning here" in caplog.text
    assert "would make a cycle" in caplog.text


def test_propose_connections_changes_nothing() -> None:
    model = living()
    found = sense(model, batches(), CRITERION)
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert propose_connections(found, model, 1)
    assert torch.equal(torch.rand(3), expected)
    assert model.edits == ()


# The class


def test_analyze_gives_significant_pairs_strongest_first() -> None:
    model, data = living(), batches()
    found = GradientGuidedConnectionGrowth().analyze_gradient_patterns(model, data, CRITERION)
    everything = sense(model, data, CRITERION).correlations
    assert found == [pair for pair in everything if pair.significant]
    assert found
    strengths = [abs(pair.correlation) for pair in found]
    assert strengths == sorted(strengths, reverse=True)
    assert not {(pair.source, pair.target) for pair in found} & {
        ("0", "4"),
        ("4", "6"),
        ("6", "11"),
    }


class Unrelated(nn.Module):
    """Layers that act on inputs of their own; what each says counts as its own weight says."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(6)])

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        outputs = [self.layers[0](x[:, :3])]
        for number, layer in enumerate(self.layers[1:], start=1):
            outputs.append(layer(x[:, 3 * number : 3 * number + 3] + 0 * outputs[-1]))
        return torch.stack([output.sum(1) for output in outputs], 1) * weights


def test_analyze_finds_nothing_in_noise() -> None:
    torch.manual_seed(0)
    model = LivingModel(Unrelated(), (torch.randn(2, 18), torch.randn(2, 6)))
    data = [((torch.randn(100, 18), torch.randn(100, 6)), None)]

    def losses(outputs: Tensor, _: object) -> Tensor:
        return outputs.sum(1)

    assert len(sense(model, data, losses).correlations) == 10
    growth = GradientGuidedConnectionGrowth()
    assert growth.analyze_gradient_patterns(model, data, losses) == []


@pytest.mark.parametrize("source, target", [("0", "6"), ("0", "11"), ("4", "11")])
def test_grown_connection_is_used_in_forward(source: str, target: str) -> None:
    model, (inputs, targets) = living().eval(), batches()[0]
    expected = model(inputs)
    (change,) = GradientGuidedConnectionGrowth().grow_connections(model, [pair(source, target)])
    assert change.max_error <= 1e-5
    torch.testing.assert_close(model(inputs), expected)
    weight = model.get_submodule("edit0.project").weight
    assert change.params_after - change.params_before == weight.numel()
    assert change.params_after == sum(p.numel() for p in model.parameters())
    CRITERION(model(inputs), targets).backward()
    assert weight.grad.abs().max() > 0
    with torch.no_grad():
        weight += 0.1
    assert (model(inputs) - expected).abs().max() > 1e-3


def test_grown_connection_trains() -> None:
    """With all else frozen, its weights alone lower the loss."""
    model, (inputs, targets) = living().eval(), batches()[0]
    GradientGuidedConnectionGrowth().grow_connections(model, [pair("0", "11")])
    weight = model.get_submodule("edit0.project").weight
    optimizer = torch.optim.SGD([weight], lr=0.1)
    losses = []
    for _ in range(20):
        loss = CRITERION(model(inputs), targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.01


def test_grow_connections_from_analysis_end_to_end() -> None:
    model = living()
    optimizer = torch.optim.AdamW(model.parameters())
    growth = GradientGuidedConnectionGrowth(max_connections=2)
    found = growth.analyze_gradient_patterns(model, batches(), CRITERION)
    changes = growth.grow_connections(model, found, optimizer)
    assert len(changes) == min(2, len(found)) > 0
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}
    assert growth.grow_connections(model, found[:1]) == []


@pytest.mark.parametrize("most", [0, 1, 2])
def test_grow_connections_stops_at_the_limit(most: int) -> None:
    model = living()
    wanted = [pair("0", "6"), pair("0", "6"), pair("0", "11"), pair("4", "11")]
    changes = GradientGuidedConnectionGrowth(most).grow_connections(model, wanted)
    assert [change.edit.target for change in changes] == ["6", "11"][:most]


def test_grow_connections_accepts_names_of_any_node() -> None:
    model = living()
    (change,) = GradientGuidedConnectionGrowth().grow_connections(model, [pair("3", "7")])
    assert change.edit == Connect(source="3", target="7")


def test_grow_connections_accepts_pairs_of_names() -> None:
    by_pair, by_names = living(), living()
    GradientGuidedConnectionGrowth().grow_connections(by_pair, [pair("0", "6")])
    GradientGuidedConnectionGrowth().grow_connections(by_names, [("0", "6")])
    assert by_names.edits == by_pair.edits


@pytest.mark.parametrize("given", ["06", ("0",), ("0", 6), 6])
def test_grow_connections_of_what_is_no_pair_is_refused(given: Any) -> None:
    with pytest.raises(EditError, match="is no pair of layers to connect"):
        GradientGuidedConnectionGrowth().grow_connections(living(), [given])


def test_grow_connections_unknown_layer_is_refused() -> None:
    with pytest.raises(EditError, match="there is no node 'conv9'"):
        GradientGuidedConnectionGrowth().grow_connections(living(), [pair("conv9", "6")])


@pytest.mark.parametrize(
    "call",
    [
        lambda growth: growth.analyze_gradient_patterns(net(), batches(), CRITERION),
        lambda growth: growth.grow_connections(net(), [pair("0", "6")]),
    ],
)
def test_plain_module_is_refused_with_what_to_do(
    call: Callable[[GradientGuidedConnectionGrowth], object],
) -> None:
    with pytest.raises(ValueError, match=r"LivingModel\(model, example_input\)"):
        call(GradientGuidedConnectionGrowth())


def test_analyze_loader_that_yields_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="yields nothing"):
        GradientGuidedConnectionGrowth().analyze_gradient_patterns(living(), [], CRITERION)


def test_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="max_connections is -1"):
        GradientGuidedConnectionGrowth(max_connections=-1)
