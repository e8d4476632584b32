"""Parameters and multiply-accumulates, against sums done by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from neuroexapt import Cost, LivingModel, TraceError
from neuroexapt.graph.flops import counting


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def cost_of(model: nn.Module, *shape: int) -> Cost:
    """The model's cost on noise of this shape."""
    return LivingModel(model, noise(*shape)).cost()


@pytest.mark.parametrize("num_samples", [1, 3, 16])
@pytest.mark.parametrize("bias", [True, False])
def test_cost_of_linear(num_samples, bias):
    """A multiply-accumulate a weight, whatever the batch; adding the bias isn't counted."""
    model = nn.Linear(5, 7, bias=bias)
    assert cost_of(model, num_samples, 5) == Cost(params=35 + 7 * bias, macs=35)


def test_cost_of_linear_over_a_sequence():
    assert cost_of(nn.Linear(5, 7), 2, 11, 5).macs == 11 * 35


@pytest.mark.parametrize(
    ("model", "shape", "positions"),
    [
        (nn.Conv1d(3, 4, 5), (2, 3, 20), 16),
        (nn.Conv2d(3, 4, 3, stride=2, padding=1), (2, 3, 8, 10), 4 * 5),
        (nn.Conv3d(3, 4, (1, 3, 3)), (2, 3, 4, 5, 6), 4 * 3 * 4),
        (nn.Conv2d(6, 4, 3, groups=2, padding=1), (2, 6, 8, 8), 64),
        (nn.Conv2d(6, 6, 3, groups=6, padding=1), (2, 6, 8, 8), 64),
        (nn.Conv2d(3, 4, 3, dilation=2), (2, 3, 8, 8), 16),
    ],
    ids=["1d", "strided", "3d", "grouped", "depthwise", "dilated"],
)
def test_cost_of_convolution(model, shape, positions):
    """Every weight once for each position of the output."""
    weights = model.weight.numel()
    assert cost_of(model, *shape) == Cost(weights + len(model.bias), weights * positions)


def test_cost_of_transposed_convolution():
    """Every weight once for each position of the input."""
    model = nn.ConvTranspose2d(3, 4, 2, stride=2, bias=False)
    assert cost_of(model, 2, 3, 5, 6) == Cost(3 * 4 * 4, 3 * 4 * 4 * 30)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.proj = nn.Linear(dim, dim, bias=False)
        self.heads = heads

    def forward(self, x):
        b, n, c = x.shape
        qkv = self.qkv(x).view(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.proj(y.transpose(1, 2).reshape(b, n, c))


def test_cost_of_attention():
    """Projections of every token, and two products of n x n by the width."""
    n, c = 10, 8
    cost = cost_of(Attention(c, heads=2), 3, n, c)
    assert cost == Cost(4 * c * c, 4 * n * c * c + 2 * n * n * c)


def test_cost_of_what_multiplies_nothing_by_weights_is_no_mac():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(),
    )
    assert cost_of(model, 2, 3, 4, 4) == Cost(12 + 8, 12 * 16)


def test_cost_counts_tied_weights_once_and_runs_twice():
    """Parameters are held once; each of the calls computes."""
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second)
    assert cost_of(model, 2, 6) == Cost(params=36, macs=72)


def test_cost_counts_a_module_called_twice_twice():
    shared = nn.Linear(6, 6, bias=False)
    assert cost_of(nn.Sequential(shared, nn.ReLU(), shared), 2, 6) == Cost(params=36, macs=72)


def test_cost_counts_frozen_parameters_and_no_buffers():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    model.requires_grad_(False)
    assert cost_of(model, 2, 4).params == 24 + 6 + 12


def test_cost_looks_into_leaves():
    """What runs inside a leaf that can't be traced is counted, even if it looks at values."""

    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.small = nn.Linear(4, 4, bias=False)
            self.large = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.large(x) if x.sum() > 0 else self.small(x)

    model = nn.Sequential(nn.Linear(4, 4, bias=False), Chooses())
    living = LivingModel(model, noise(2, 4), leaves=(Chooses,))
    assert living.cost() == Cost(params=48, macs=32)


def test_cost_of_a_map_is_exact_for_the_examples_size():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU())
    assert cost_of(model, 1, 3, 8, 8).macs * 4 == cost_of(model, 1, 3, 16, 16).macs


class Calls(nn.Module):
    """Calls a layer with its input, `times` times; one of its outputs if it gives several."""

    def __init__(self, layer, times=1, output=None, **settings):
        super().__init__()
        self.layer, self.times, self.output, self.settings = layer, times, output, settings

    def forward(self, x):
        out = self.layer(*[x] * self.times, **self.settings)
        return out if self.output is None else out[self.output]


STEPS, IN, HIDDEN, FEED = 7, 8, 6, 16
ONE = IN * HIDDEN + HIDDEN * HIDDEN  # weights of one gate, for the input and for the state
PROJECTED = 4 * HIDDEN * (IN + 3) + HIDDEN * 3
SELF = STEPS * 4 * IN * IN + 2 * STEPS * STEPS * IN  # four projections and two products
LAYER = SELF + STEPS * 2 * IN * FEED


@pytest.mark.parametrize("num_samples", [1, 2])
@pytest.mark.parametrize(
    ("layer", "macs"),
    [
        (nn.LSTM(IN, HIDDEN, batch_first=True), STEPS * 4 * ONE),
        (nn.LSTM(IN, HIDDEN, batch_first=True, bias=False), STEPS * 4 * ONE),
        (nn.LSTM(IN, HIDDEN, batch_first=True, bidirectional=True), STEPS * 8 * ONE),
        (
            nn.LSTM(IN, HIDDEN, num_layers=2, batch_first=True),
            STEPS * 4 * (ONE + 2 * HIDDEN * HIDDEN),
        ),
        (
            nn.LSTM(IN, HIDDEN, num_layers=2, batch_first=True, bidirectional=True),
            STEPS * 8 * (ONE + 3 * HIDDEN * HIDDEN),
        ),
        pytest.param(
            nn.LSTM(IN, HIDDEN, proj_size=3, batch_first=True),
            STEPS * PROJECTED,
            marks=pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning"),  # torch
        ),
        (nn.GRU(IN, HIDDEN, batch_first=True), STEPS * 3 * ONE),
        (nn.RNN(IN, HIDDEN, batch_first=True), STEPS * ONE),
        (nn.RNN(IN, HIDDEN, batch_first=True, nonlinearity="relu"), STEPS * ONE),
    ],
    ids=["lstm", "bare", "both_ways", "deep", "deep_both_ways", "proj", "gru", "tanh", "relu"],
)
def test_cost_of_recurrent_layers(layer, macs, num_samples):
    """Every weight once a step, whichever operators the layer runs as."""
    assert cost_of(Calls(layer, output=0), num_samples, STEPS, IN).macs == macs


def test_cost_of_an_lstm_with_time_first():
    """Two steps of 21 sequences; a sample is whatever comes first, as for every example input."""
    assert cost_of(Calls(nn.LSTM(IN, HIDDEN), output=0), 2, 21, IN).macs == 21 * 4 * ONE


@pytest.mark.parametrize(
    ("cell", "gates"),
    [(nn.LSTMCell(IN, HIDDEN), 4), (nn.GRUCell(IN, HIDDEN), 3), (nn.RNNCell(IN, HIDDEN), 1)],
    ids=["lstm", "gru", "rnn"],
)
def test_cost_of_recurrent_cells(cell, gates):
    assert cost_of(Calls(cell, output=None if gates != 4 else 0), 3, IN).macs == gates * ONE


def test_cost_of_an_lstm_between_linear_layers():
    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.into, self.lstm, self.out = nn.Linear(4, 8), nn.LSTM(8, 8), nn.Linear(8, 3)

        def forward(self, x):
            hidden, _ = self.lstm(self.into(x))
            return self.out(hidden[:, -1])

    # 7 steps of 4 x 8, and of four gates with 8 x 8 for the input and for the state; 8 x 3 at last.
    assert cost_of(Tagger(), 2, 7, 4).macs == 7 * (32 + 4 * 2 * 64) + 24 == 3832


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        (Calls(nn.MultiheadAttention(IN, 2, batch_first=True), 3, output=0), SELF),
        (Calls(nn.MultiheadAttention(IN, 2, batch_first=True), 3, 0, need_weights=False), SELF),
        (nn.TransformerEncoderLayer(IN, 2, FEED, batch_first=True), LAYER),
        (
            nn.TransformerEncoder(nn.TransformerEncoderLayer(IN, 2, FEED, batch_first=True), 3),
            3 * LAYER,
        ),
        (
            Calls(
                nn.TransformerDecoder(nn.TransformerDecoderLayer(IN, 2, FEED, batch_first=True), 2),
                2,
            ),
            2 * (LAYER + SELF),
        ),
    ],
    ids=["weights", "no_weights", "layer", "encoder", "decoder"],
)
def test_cost_of_torchs_attention_layers(model, macs):
    """Counted by what they compute, not by the one operator that runs them in eval mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    assert cost_of(nn.Sequential(nn.Identity(), model), 2, STEPS, IN).macs == macs
    assert torch.backends.mha.get_fastpath_enabled() == before


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")  # torch
def test_cost_of_an_encoder_with_padding():
    """Its fast path makes nested tensors, of which there are no fake ones."""

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            layer = nn.TransformerEncoderLayer(IN, 2, FEED, batch_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2)

        def forward(self, x, padding):
            return self.encoder(x, src_key_padding_mask=padding).mean(1)

    padding = (torch.arange(STEPS) > 4).expand(2, -1)
    assert LivingModel(Padded(), (noise(2, STEPS, IN), padding)).cost().macs == 2 * LAYER


def test_cost_counts_a_leaf_once():
    """Though its inside is traced too, once for each mode."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 4, bias=False)

        def forward(self, x):
            return self.fc(x).relu()

    living = LivingModel(nn.Sequential(Block(), Block()), noise(2, 4), leaves=(Block,))
    assert living.cost() == Cost(params=32, macs=32)


@pytest.mark.parametrize(("gates", "mode"), [(1, 1), (4, 2), (3, 3)], ids=["rnn", "lstm", "gru"])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_kernel_of_the_gpu_is_counted(gates, mode, directions):
    """Called on fake tensors, which need no GPU; its gradients, which do, are those of both."""
    shapes = [(gates * HIDDEN, IN), (gates * HIDDEN, HIDDEN), (gates * HIDDEN,)] * directions
    with FakeTensorMode(), counting() as counter:
        x, state = torch.empty(2, STEPS, IN), torch.empty(directions, 2, HIDDEN)
        weights = [torch.empty(shape) for shape in shapes]
        settings = (mode, HIDDEN, 0, 1, True, 0.0, True, directions == 2, [], None)
        out, *_ = torch.ops.aten._cudnn_rnn(x, weights, 3, None, state, state, *settings)
        backward = counter.flop_registry[torch.ops.aten._cudnn_rnn_backward]
        gradients = backward(x, weights, 3, None, state, state, *settings, out_val=out)
    expected = 2 * 2 * STEPS * directions * gates * ONE
    assert (counter.get_total_flops(), gradients) == (expected, 2 * expected)


def test_cost_of_a_model_that_leaves_tensors_is_refused_with_the_remedy():
    class ByNumpy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.linear(x).detach().numpy()
            return self.linear(x)

    living = LivingModel(ByNumpy(), torch.zeros(2, 4))
    with pytest.raises(TraceError, match=r"without values \(\.numpy.*name it in leaves="):
        living.cost()
