import copy

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.training.flops import training_flops

CRITERION = nn.CrossEntropyLoss()


def batch(*shape: int) -> tuple[Tensor, Tensor]:
    return torch.randn(*shape), torch.zeros(shape[0], dtype=torch.int64)


def test_training_flops_of_linear_layers_by_hand() -> None:
    # The first layer has no gradient to pass on; the second has: 2 (2 x 15) + 3 (2 x 10).
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    assert training_flops(model, batch(4, 3), CRITERION) == 2 * 30 + 3 * 20


def test_training_flops_of_convolutions_by_hand() -> None:
    # 4 x 4 outputs; 3 x 3 x 2 x 6 multiply-accumulates each, then 3 x 3 x 6 x 4 in two groups.
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 4, 3, padding=1, groups=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )
    first, second = 2 * 16 * 9 * 2 * 6, 2 * 16 * 9 * (6 // 2) * 4
    assert training_flops(model, batch(3, 2, 4, 4), CRITERION) == 2 * first + 3 * second


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_training_flops_of_grouped_convolutions_by_hand(kind: type[nn.Module], groups: int) -> None:
    # Stride 2: 8 -> 4 positions, or 8 -> 16; the smaller side's positions each meet the kernel.
    stem, conv = nn.Conv1d(2, 8, 1), kind(8, 16, 2, stride=2, groups=groups)
    model = nn.Sequential(stem, conv, nn.AdaptiveAvgPool1d(1), nn.Flatten())
    positions = 4 if kind is nn.Conv1d else 8
    expected = 2 * (2 * 8 * 2 * 8) + 3 * (2 * positions * 2 * 8 * 16 // groups)
    assert training_flops(model, batch(3, 2, 8), CRITERION) == expected


def test_training_flops_leave_out_the_gradients_of_frozen_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    model[0].requires_grad_(False)
    # The second layer then has nobody to pass a gradient on to: 1 (2 x 15) + 2 (2 x 10).
    assert training_flops(model, batch(4, 3), CRITERION) == 30 + 2 * 20


@pytest.mark.parametrize("size", [2, 7, 64])
def test_training_flops_a_sample_do_not_depend_on_the_batch(size: int) -> None:
    assert training_flops(nn.Linear(3, 5), batch(size, 3), CRITERION) == 60


class LooksAtValues(nn.Module):
    """Decides by its input's values, which fake tensors do not have."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(3), nn.Dropout()
        self.fc = nn.Linear(3, 5)
        self.offset = torch.ones(3)  # neither parameter nor buffer

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.norm(x + self.offset))
        return self.fc(-x if x.sum().item() > 0 else x)


class Plain(LooksAtValues):
    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.norm(x + self.offset)))


@pytest.mark.parametrize("kind", [Plain, LooksAtValues])
def test_training_flops_leave_model_and_random_numbers_alone(kind: type[nn.Module]) -> None:
    model = kind().eval()
    model.norm.train()
    example = batch(4, 3)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    # The norm's scale needs a gradient, so the layer passes one on: 3 x 30.
    assert training_flops(model, example, nn.CrossEntropyLoss(torch.ones(5))) == 90
    assert str(model.state_dict()) == str(before)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.norm.training and not model.training


def test_training_flops_are_counted_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert training_flops(nn.Linear(3, 5), batch(4, 3), CRITERION) == 60


def test_training_flops_count_attention_on_the_cpu() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(8, 24)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = (part[:, None] for part in self.qkv(x).chunk(3, dim=-1))
            return nn.functional.scaled_dot_product_attention(q, k, v).mean((1, 2))

    batch = torch.randn(2, 16, 8), torch.zeros(2, dtype=torch.int64)
    linear = 2 * (2 * 16 * 8 * 24)  # forward and the weight's gradient; the input needs none
    product = 2 * 16 * 16 * 8  # queries with keys; as much for scores with values
    attention = 2 * product + 5 * product  # forward; scores again, and four gradients
    assert training_flops(Attention(), batch, nn.CrossEntropyLoss()) == linear + attention


class Tagger(nn.Module):
    def __init__(self, recurrent: type[nn.Module]) -> None:
        super().__init__()
        self.into, self.recurrent = nn.Linear(4, 8), recurrent(8, 8, batch_first=True)
        self.out = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.recurrent(self.into(x))[0][:, -1])


def test_training_flops_of_an_lstm_by_hand() -> None:
    # 7 steps; four gates, each with 8 x 8 for the input and for the state. Its kernel gives all
    # gradients. Nobody needs that of the first layer's input.
    into, lstm, out = 2 * 7 * 32, 2 * 7 * 4 * 2 * 64, 2 * 24
    expected = 2 * into + 3 * lstm + 3 * out
    assert expected == 3 * 2 * 3832 - 448 == 22544
    assert training_flops(Tagger(nn.LSTM), batch(2, 7, 4), CRITERION) == expected


def test_training_flops_of_a_gru_by_hand() -> None:
    # Step by step: the first state is zero and needs no gradient.
    into, gru, out = 2 * 7 * 32, 2 * 7 * 3 * 2 * 64, 2 * 24
    expected = 2 * into + 3 * gru - 2 * 3 * 64 + 3 * out
    assert training_flops(Tagger(nn.GRU), batch(2, 7, 4), CRITERION) == expected


def test_training_flops_of_an_lstm_that_looks_at_values() -> None:
    class Flips(Tagger):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(-x if x.sum().item() > 0 else x)

    assert training_flops(Flips(nn.LSTM), batch(2, 7, 4), CRITERION) == 22544


def test_training_flops_of_an_encoder_by_hand() -> None:
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.Linear(8, 8), encoder, nn.Flatten(), nn.Linear(7 * 8, 3))
    # 7 tokens: four projections of 8 x 8 and 8 x 16 twice, and queries with keys, scores with
    # values, whose gradients compute the scores again.
    maps, products, first, last = 7 * (4 * 64 + 2 * 128), 2 * 7 * 7 * 8, 7 * 64, 7 * 8 * 3
    expected = 2 * (3 * maps + 3 * products + products // 2 + 2 * first + 3 * last)
    assert training_flops(model, batch(2, 7, 8), CRITERION) == expected
