"""torch.nn's transformer layers are traced into, and compute what they did."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import LivingModel, Widen

nested_is_a_prototype = pytest.mark.filterwarnings(
    "ignore:The PyTorch API of nested tensors is in prototype stage"
)

LENGTH, BATCH, WIDTH = 6, 8, 8
CAUSAL = nn.Transformer.generate_square_subsequent_mask(LENGTH)
PADDING = torch.arange(LENGTH) >= torch.tensor([[6], [4], [3], [6], [5], [6], [2], [4]])


class Masked(nn.Module):
    """Gives its layer what else it is to be called with, besides the sequences."""

    def __init__(self, layer: nn.Module, **given: object) -> None:
        super().__init__()
        self.layer = layer
        self.given = given
        self.head = nn.Linear(WIDTH, 3)

    def forward(self, *sequences: Tensor) -> Tensor:
        return self.head(self.layer(*sequences, **self.given))


class OneSequence(Masked):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x, **self.given))


class TwoSequences(Masked):
    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        return self.head(self.layer(x, memory, **self.given))


def encoder_layer(**given: object) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, 2, 12, dropout=0.3, **given)


def decoder_layer(**given: object) -> nn.TransformerDecoderLayer:
    return nn.TransformerDecoderLayer(WIDTH, 2, 12, dropout=0.3, **given)


def encoder(nested: bool = False, **given: object) -> nn.TransformerEncoder:
    layer = encoder_layer(batch_first=True, **given)
    return nn.TransformerEncoder(layer, 2, nn.LayerNorm(WIDTH), enable_nested_tensor=nested)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "encoder layer": lambda: OneSequence(encoder_layer()),
    "norm first": lambda: OneSequence(encoder_layer(norm_first=True, activation="gelu")),
    "causal mask": lambda: OneSequence(
        encoder_layer(batch_first=True), src_mask=CAUSAL, is_causal=True
    ),
    "padding of a layer": lambda: OneSequence(
        encoder_layer(batch_first=True), src_key_padding_mask=PADDING
    ),
    "encoder": lambda: OneSequence(encoder(nested=True)),
    "encoder with both masks": lambda: OneSequence(
        encoder(bias=False), mask=CAUSAL.isinf(), src_key_padding_mask=PADDING
    ),
    "decoder layer": lambda: TwoSequences(decoder_layer(activation=nn.functional.silu)),
    "decoder": lambda: TwoSequences(
        nn.TransformerDecoder(decoder_layer(norm_first=True, batch_first=True), 2),
        tgt_mask=CAUSAL,
        tgt_key_padding_mask=PADDING.to(CAUSAL.dtype) * -1e9,
        memory_key_padding_mask=PADDING,
    ),
    "transformer": lambda: TwoSequences(
        nn.Transformer(WIDTH, 2, 1, 2, 12, batch_first=True), tgt_mask=CAUSAL, tgt_is_causal=True
    ),
}


def sequences(model: nn.Module, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    count = 2 if isinstance(model, TwoSequences) else 1
    return tuple(torch.randn(BATCH, LENGTH, WIDTH, generator=generator) for _ in range(count))


def computed(model: nn.Module, inputs: tuple[Tensor, ...], training: bool) -> Tensor:
    model.train(training)
    torch.manual_seed(3)
    return model(*inputs)


@pytest.mark.parametrize("name", MODELS)
def test_transformers_compute_the_same_before_and_after_they_grow(name: str) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    inputs = sequences(model)
    living = LivingModel(copy.deepcopy(model), inputs)
    fed_forward = [group for group in living.groups if group.name.endswith("linear1")]
    assert len(fed_forward) == sum(path.endswith("linear1") for path, _ in model.named_modules())
    for training in (True, False):
        expected = computed(model, inputs, training)
        assert torch.equal(computed(living, inputs, training), expected)
        with torch.no_grad():  # where torch has kernels of its own
            fast = computed(model, inputs, training)
            torch.testing.assert_close(computed(living, inputs, training), fast)
    for group in fed_forward:
        assert group.frozen is None
        assert living.apply(Widen(group=group.name, count=5)).max_error <= 1e-6
    torch.testing.assert_close(computed(living, inputs, False), computed(model, inputs, False))


@nested_is_a_prototype
def test_encoder_that_packs_says_how_it_could_grow() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(9, WIDTH)
            self.encoder = encoder(nested=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.encoder(self.embedding(x), src_key_padding_mask=x == 0)[:, 0]

    torch.manual_seed(0)
    living = LivingModel(Classifier(), torch.randint(1, 9, (BATCH, LENGTH)))
    assert "enable_nested_tensor=False" in living.group("embedding").frozen


class Own(nn.TransformerEncoderLayer):
    """Computes something else than what it inherits."""

    def forward(self, src: Tensor, *args: object, **kwargs: object) -> Tensor:
        return super().forward(src) * 2


@nested_is_a_prototype
@pytest.mark.parametrize(
    ("build", "leaves"),
    [
        # In eval mode, it leaves zeros where padding was.
        (lambda: OneSequence(encoder(nested=True), src_key_padding_mask=PADDING), ()),
        (lambda: OneSequence(Own(WIDTH, 2, 12)), (Own,)),
        (lambda: OneSequence(encoder_layer()), ("layer",)),
        (lambda: OneSequence(encoder_layer()), (nn.TransformerEncoderLayer,)),
    ],
    ids=["packed", "inherited", "named", "typed"],
)
def test_transformers_that_are_to_stay_whole_do(
    build: Callable[[], nn.Module], leaves: tuple[object, ...]
) -> None:
    torch.manual_seed(0)
    model = build()
    inputs = sequences(model)
    living = LivingModel(copy.deepcopy(model), inputs, leaves=leaves)
    assert "layer" in {str(node.target) for node in living.graph_module.graph.nodes}
    with torch.no_grad():
        assert torch.equal(computed(living, inputs, False), computed(model, inputs, False))
