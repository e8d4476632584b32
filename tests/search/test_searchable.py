"""Any model's layers become decisions that start as what they were."""

import copy

import pytest
import torch
from torch import nn

from neuroexapt import LivingModel, Widen
from neuroexapt.errors import SearchError, TraceError
from neuroexapt.search import decisions, derive, explore, mix, sample, searchable
from neuroexapt.search.decisions import fix
from neuroexapt.search.searchable import Call, _mixed

X = torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(0))


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1, bias=False),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, groups=6),
        nn.Conv2d(6, 6, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def test_network_computes_what_the_model_did_and_the_model_stays():
    given = model()
    before = copy.deepcopy(given.state_dict())
    network = searchable(given, X)
    for training in (True, False):
        given.train(training)
        network.train(training)
        torch.testing.assert_close(network(X), given(X), rtol=0, atol=0)
    given.load_state_dict(before)
    assert derive(network)[6].weight.equal(given[6].weight)


def test_decisions_are_between_what_gives_the_same_shape():
    found = decisions(searchable(model(), X))
    assert list(found) == ["0", "3", "4", "6"], "all convolutions, and nothing else"
    assert "skip_connect" not in found["0"].operations, "it changes the channels"
    assert "skip_connect" not in found["4"].operations, "it halves the picture"
    assert "skip_connect" in found["6"].operations
    assert "conv_3x3" not in found["6"].operations, "that is what it is already"
    assert "conv_5x5" not in found["4"].operations
    assert all(decision.chosen == "present" for decision in found.values())


def test_every_sample_runs():
    network, generator = searchable(model(), X), torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(40):
        sample(network, 5.0, generator)
        assert network(X).shape == (2, 4)
        seen |= {(name, d.active) for name, d in decisions(network).items()}
    assert len(seen) == sum(len(d.operations) for d in decisions(network).values())


def test_alternatives_have_a_bias_only_where_the_layer_had():
    network = searchable(model(), X, operations=["conv_1x1", "sep_conv_3x3"])
    assert network[0].operations["conv_1x1"].bias is None
    assert network[6].operations["sep_conv_3x3"][1].bias is not None


def test_layer_that_is_used_twice_is_decided_once():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(3, 3, 3, padding=1)
            self.again = self.first

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.again(self.first(x))

    network = searchable(Twice(), X)
    assert network.first is network.again
    assert len(decisions(network)) == 1
    torch.testing.assert_close(network.train()(X), network(X))


def test_grown_model_becomes_searchable():
    living = LivingModel(model(), X)
    living.apply(Widen(group="6", count=2))
    network = searchable(living, X, layers=["6"])
    torch.testing.assert_close(network.eval()(X), living.eval()(X))
    assert network.get_submodule("6").operations["conv_1x1"].out_channels == 8


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"layers": ["1"]},
            r"'1' is no layer of the model that can be decided; there are 0, 2, 3, 4, 5, 6, 7, 9",
        ),
        ({"layers": ["10"]}, "'10' is no layer"),
        ({"layers": []}, r"no layer of the model that can be decided is named"),
        ({"operations": ["conv_9x9"]}, "'conv_9x9' is no operation to put in a layer"),
        ({"operations": []}, "no operation to put in a layer's place is named"),
        (
            {"layers": ["0"], "operations": ["skip_connect"]},
            "nothing else gives the same shape as any",
        ),
    ],
)
def test_what_cannot_be_decided_is_refused(given, told):
    with pytest.raises(SearchError, match=told):
        searchable(model(), X, **given)


def test_model_without_layers_to_decide_is_refused():
    told = "Linear contains no layer that can be decided.* as modules: convolution, linear layer"
    with pytest.raises(SearchError, match=told):
        searchable(nn.Linear(2, 2), torch.zeros(1, 2))


def test_every_family_begins_as_it_was_and_every_alternative_runs():
    torch.manual_seed(0)
    signals = torch.randn(4, 6, 16)
    given = nn.Sequential(
        nn.Conv1d(6, 6, 3, padding=1, groups=6, padding_mode="circular"),
        nn.ReLU(inplace=True),
        nn.MaxPool1d(2, ceil_mode=True),
        nn.LeakyReLU(0.1),
        nn.AdaptiveAvgPool1d(4),
        nn.Flatten(),
        nn.Linear(24, 24),
        nn.PReLU(),
        nn.Linear(24, 4, bias=False),
    )
    layers = ["0", "1", "2", "3", "4", "6", "7", "8"]
    network = searchable(given, signals, layers)
    assert torch.equal(network(signals), given(signals))
    found = {name: decision.operations for name, decision in decisions(network).items()}
    assert list(found) == layers
    assert "conv_3x3" not in found["0"], "it is one"
    assert {"conv_5x5", "sep_conv_3x3", "skip_connect"} <= set(found["0"])
    assert "relu" not in found["1"]
    assert {"gelu", "tanh"} <= set(found["1"])
    assert "leaky_relu" not in found["3"]
    assert found["2"] == ("present", "avg_pool")
    assert found["4"] == ("present", "max_pool")
    assert found["6"] == ("present", "skip_connect", "low_rank")
    assert found["8"] == ("present", "low_rank"), "a skip would not change the width"
    assert network[0].operations["sep_conv_3x3"][1].groups == 6
    mix(network)
    assert network(signals).shape == (4, 4)
    narrow = network[8].operations["low_rank"]
    assert [layer.out_features for layer in narrow] == [1, 4]
    assert narrow[1].bias is None
    assert network[0].operations["conv_5x5"].groups == 6
    assert network[0].operations["conv_5x5"].padding_mode == "circular"


@pytest.mark.parametrize(
    ("present", "name", "other"),
    [
        (nn.AvgPool2d(3, 2, 1), "max_pool", nn.MaxPool2d(3, 2, 1)),
        (nn.MaxPool2d(2), "avg_pool", nn.AvgPool2d(2)),
        (nn.AdaptiveMaxPool2d(3), "avg_pool", nn.AdaptiveAvgPool2d(3)),
    ],
)
def test_pooling_has_the_other_pooling_for_an_alternative(present, name, other):
    network = searchable(nn.Sequential(present), X, ["0"])
    fix(network, {"0": name})
    assert torch.equal(network(X), other(X))


def test_model_without_convolutions_has_its_linear_layers_decided():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    given = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    assert list(decisions(searchable(given, x))) == ["0", "2"]


def test_linear_layer_of_zeros_has_a_silent_alternative():
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    layer = nn.Linear(8, 8)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    network = searchable(nn.Sequential(layer), x)
    assert decisions(network)["0"].operations == ("present", "low_rank")
    fix(network, {"0": "low_rank"})
    assert not network(x).any()
    assert network[0].operations["low_rank"][0].weight.any(), "it can learn"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_alternatives_are_those_of_float32_in_any_type(dtype):
    layer = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1))
    expected = decisions(searchable(layer, X))["0"].operations
    network = searchable(layer.to(dtype), X.to(dtype))
    assert decisions(network)["0"].operations == expected
    mix(network)
    assert network(X.to(dtype)).shape == X.shape


def test_silence_is_that_of_weights_alone():
    x = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    given = nn.Sequential(nn.Linear(4, 4), nn.PReLU(init=0.0))
    assert "gelu" in decisions(searchable(given, x, ["1"]))["1"].operations
    conv = nn.Conv2d(3, 3, 3, padding=1)
    nn.init.zeros_(conv.bias)
    network = searchable(nn.Sequential(nn.utils.parametrizations.weight_norm(conv)), X)
    assert "skip_connect" in decisions(network)["0"].operations
    assert network[0].operations["conv_5x5"].weight.any()


def test_low_rank_is_offered_only_where_it_is_one():
    x = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    given = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 1))
    assert list(decisions(searchable(given, x, operations=["low_rank"]))) == ["0"]


def test_decisions_are_where_the_layer_is_and_in_its_mode():
    reads = X.to("meta")
    call = Call(reads, nn.AvgPool2d(2)(reads).shape, reads.device)
    place = _mixed("pool", nn.AvgPool2d(2).eval(), ["max_pool"], [call])
    assert place.decision.alpha.device == reads.device
    assert not any(module.training for module in place.modules())


class Overwriting(nn.Module):
    """Reads what an activation has left in its input's place."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x + 1.0
        return self.act(y) + 2 * y


def test_model_that_reads_what_a_layer_overwrites_is_refused():
    with pytest.raises(SearchError, match=r"reads what 'act' overwrites \(inplace=True\)"):
        searchable(Overwriting(), torch.zeros_like(X))  # of which nothing would show


class Indexed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.pool = nn.MaxPool2d(2, return_indices=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.conv(x))[0]


def test_layer_of_several_outputs_stays():
    network = searchable(Indexed(), X, ["conv", "pool"])
    assert list(decisions(network)) == ["conv"]


def test_alternatives_leave_random_numbers_as_they_were():
    given = model()
    before = torch.get_rng_state()
    searchable(given, X)
    assert torch.equal(torch.get_rng_state(), before)


def test_alternatives_of_different_layers_start_differently():
    network = searchable(model(), X, operations=["sep_conv_5x5"])
    first, other = (network[place].operations["sep_conv_5x5"][0] for place in (4, 6))
    assert first.weight.shape == other.weight.shape
    assert not torch.equal(first.weight, other.weight)


def test_padding_by_name_is_told_in_numbers():
    layers = [nn.Conv2d(3, 3, 3, padding=padding) for padding in ("same", "valid", 1)]
    found = [
        decisions(searchable(nn.Sequential(layer), X))["0"].operations for layer in layers[::2]
    ]
    assert found[0] == found[1]
    assert "conv_3x3" not in found[0]
    with pytest.raises(SearchError, match="nothing else gives the same shape"):
        searchable(nn.Sequential(layers[1]), X)


class Pyramid(nn.Module):
    """Calls one convolution at two sizes, of which a stride makes different things."""

    def __init__(self, **settings: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, **settings)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x).mean() + self.conv(x[..., 1:, 1:]).mean()


def test_alternatives_fit_every_call_of_a_layer():
    """Of 9 and of 8 pixels, 2 x 2 with stride 2 makes 4, but 3 x 3 with padding makes 5 and 4."""
    network = searchable(Pyramid(kernel_size=3, padding=1), X)
    assert "conv_5x5" in decisions(network)["conv"].operations
    with pytest.raises(SearchError, match="nothing else gives the same shape"):
        searchable(Pyramid(kernel_size=2, stride=2), X, operations=["conv_3x3"])


class Inspecting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) * self.last(x) * self.last.weight.mean()


def test_layer_of_which_a_model_reads_more_than_outputs_is_named():
    with pytest.raises(SearchError, match=r"reads 'weight' of the layer 'last', .* leave it out"):
        searchable(Inspecting(), X, layers=["first", "last"])
    assert list(decisions(searchable(Inspecting(), X))) == ["first"]
    attending = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    plain = nn.Sequential(attending, nn.Linear(8, 8))
    assert list(decisions(searchable(plain, torch.randn(2, 5, 8)))) == ["1"]


class Twofold(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.last(self.first(x) + y)


def test_model_of_several_inputs_is_searchable():
    present = Twofold()
    for example in ((X, X + 1), {"x": X, "y": X + 1}):
        network = searchable(present, example)
        assert list(decisions(network)) == ["first", "last"]
        torch.testing.assert_close(network(X, X + 1), present(X, X + 1))
        explore(network, torch.Generator().manual_seed(0))
        assert derive(network)(X, X + 1).shape == X.shape


def test_models_that_have_decisions_or_do_not_run_are_refused():
    with pytest.raises(SearchError, match=r"the model has decisions already, as '0'"):
        searchable(searchable(model(), X), X)
    with pytest.raises(TraceError, match=r"doesn't run on the example_input of shapes \[\(2, 5\)"):
        searchable(model(), torch.zeros(2, 5))


class ByKeyword(Inspecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.last(input=x))


def test_layer_that_is_called_by_keyword_stays():
    network = searchable(ByKeyword(), X)
    assert list(decisions(network)) == ["first"]
    assert network(X).shape == X.shape


class ByBoth(Inspecting):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.last(input=self.last(x)))


def test_layer_that_is_called_by_keyword_once_stays():
    assert list(decisions(searchable(ByBoth(), X))) == ["first"]
