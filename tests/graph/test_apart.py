"""What outputs don't see of the inputs is found, and edits keep it so."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt import (
    Attend,
    Connect,
    Deepen,
    EditError,
    Grower,
    GrowthConfig,
    LivingModel,
    Split,
    Widen,
)
from neuroexapt.growth.nominate import nominate_attention

TOKENS = torch.randint(9, (4, 10), generator=torch.Generator().manual_seed(0))


class Convolved(nn.Module):
    """A causal convolution over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.conv = nn.Embedding(9, 8), nn.Conv1d(8, 8, 3)
        self.act, self.out = nn.ReLU(), nn.Conv1d(8, 9, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(self.embedding(x).transpose(1, 2), (2, 0))
        return self.out(self.act(self.conv(x))).transpose(1, 2)


class Decoder(nn.Module):
    """One layer of causal attention; with `flat`, tokens of all samples in one dimension."""

    def __init__(self, flat: bool = False) -> None:
        super().__init__()
        self.embedding = nn.Embedding(9, 8)
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.inner, self.back, self.head = nn.Linear(8, 12), nn.Linear(12, 8), nn.Linear(8, 9)
        self.flat = flat

    def forward(self, x: Tensor) -> Tensor:
        x = self.embedding(x)
        q, k, v = (f(x)[:, None] for f in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, 0])
        x = self.head(x + self.back(F.gelu(self.inner(x))))
        return x.flatten(0, 1) if self.flat else x


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(9, 8), nn.LSTM(8, 6, batch_first=True)
        self.inner, self.head = nn.Linear(6, 6), nn.Linear(6, 9)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inner(self.lstm(self.embedding(x))[0]).relu())


class Masked(nn.Module):
    """Looks at the tokens that a mask leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner, self.head = nn.Embedding(9, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        weights = mask[..., None].float()
        x = self.inner(self.embedding(x)).relu()
        return self.head((x * weights).sum(1) / weights.sum(1).clamp_min(1))


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))
        self.b = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return self.a(x), self.b(y)


def attend_causally(after: str) -> Attend:
    return Attend(after=after, form="positions", causal=True)


CAUSAL = [
    (Convolved(), Deepen(after="act"), Deepen(after="act", kernel_size=1)),
    (Convolved(), Attend(after="act"), Widen(group="conv", count=2)),
    (Decoder(), Attend(after="inner", form="positions"), Deepen(after="inner")),
    (Decoder(), Attend(after="inner"), Split(group="inner", units=(1,))),
    (Decoder(flat=True), Attend(after="o"), Split(group="v", units=(1,))),
    (Recurrent(), Attend(after="inner"), Deepen(after="inner")),
    (Decoder(), Attend(after="v", form="positions"), attend_causally("inner")),
    (Convolved(), Attend(after="conv", form="positions"), attend_causally("act")),
]


@pytest.mark.parametrize(("model", "shows", "keeps"), CAUSAL)
def test_causal_models_stay_causal(model, shows, keeps) -> None:
    living = LivingModel(model, TOKENS)
    assert [(a.dim, a.later) for a in living.kept_apart] == [(1, True)]
    with pytest.raises(EditError, match=r"would let the output see later positions of input 0"):
        living.apply(shows)
    assert living.edits == ()
    living.apply(keeps)
    for of in (copy.deepcopy(living), pickle.loads(pickle.dumps(living))):
        with pytest.raises(EditError, match="later positions"):
            of.apply(shows)
    living.kept_apart = ()
    living.apply(shows)


@pytest.mark.parametrize("kind", [torch.bool, torch.int64, torch.float32])
def test_what_is_masked_stays_so(kind) -> None:
    mask = torch.ones(4, 10, dtype=kind)
    living = LivingModel(Masked(), (TOKENS, mask))
    with pytest.raises(EditError, match="what input 1 masks of input 0"):
        living.apply(Attend(after="inner"))
    living.apply(Deepen(after="inner"))


def test_towers_stay_apart() -> None:
    living = LivingModel(Towers(), (torch.randn(4, 6), torch.randn(4, 5)))
    with pytest.raises(EditError, match="input 0, which output 1 doesn't see"):
        living.apply(Connect(source="a.1", target="b.2"))
    living.apply(Connect(source="a.0", target="a.2"))


def test_positions_that_are_treated_by_themselves_may_come_together() -> None:
    net = nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Linear(8, 2))
    living = LivingModel(net, torch.randn(4, 10, 3))
    assert {(a.dim, a.later) for a in living.unseen} == {(1, True), (1, False)}
    assert living.kept_apart == ()
    told = copy.deepcopy(living)
    told.kept_apart = told.unseen
    with pytest.raises(EditError, match="would let the output see"):
        told.apply(Attend(after="1"))
    living.apply(Attend(after="1"))


OPEN = {
    "segmentation": (
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1)),
        (4, 3, 16, 16),
    ),
    "classes as many as rows": (
        nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 10),
        ),
        (4, 3, 10, 10),
    ),
    "autoencoder": (nn.Sequential(nn.Linear(10, 4), nn.ReLU(), nn.Linear(4, 10)), (4, 10)),
}


def test_outputs_that_are_dead_by_chance_are_not_taken_for_causal() -> None:
    for seed in range(30):
        torch.manual_seed(seed)
        layers = [layer for _ in range(3) for layer in (nn.Linear(5, 5), nn.ReLU())]
        assert LivingModel(nn.Sequential(*layers), torch.randn(8, 5)).kept_apart == (), seed


@pytest.mark.parametrize("name", OPEN)
def test_models_that_see_all_around_may_see_more(name) -> None:
    model, shape = OPEN[name]
    living = LivingModel(model, torch.randn(shape))
    assert living.kept_apart == ()
    living.apply(Deepen(after="1"))


def sees_later(living: LivingModel) -> bool:
    """Whether outputs move with later tokens, whatever the weights."""
    with torch.no_grad():
        for parameter in living.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        other = TOKENS.clone()
        other[:, 6:] = (other[:, 6:] + 1) % 9
        before, after = (living.eval()(x)[:, :6] for x in (TOKENS, other))
    return not torch.allclose(before, after, atol=1e-5)


def test_attention_that_may_see_everything_does() -> None:
    living = LivingModel(Decoder(), TOKENS)
    assert not sees_later(copy.deepcopy(living))
    living.kept_apart = ()
    living.apply(Attend(after="inner", form="positions"))
    assert sees_later(living)


@pytest.mark.parametrize("made", [Convolved, Decoder, Recurrent])
def test_causal_attention_is_proposed_for_causal_models(made) -> None:
    living = LivingModel(made(), TOKENS).train()
    proposed = [proposal.edit for proposal in nominate_attention(living)]
    assert proposed and all(edit.causal and edit.form == "positions" for edit in proposed)
    for edit in proposed:
        assert living.apply(edit).max_error == 0.0
    assert not sees_later(living)
    assert list(nominate_attention(living)) == []


def test_causal_attention_that_can_not_be_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
    living = LivingModel(net, torch.zeros(2, 3, 8, 8))
    with pytest.raises(EditError, match="positions have no order"):
        living.apply(attend_causally("1"))
    with pytest.raises(EditError, match="can't be causal"):
        living.apply(Attend(after="1", causal=True))


@pytest.mark.parametrize("policy", ["arbiter", "breakthrough", "random", "uniform"])
@pytest.mark.parametrize("made", [Convolved, Decoder])
def test_grower_keeps_language_models_causal(made, policy, caplog) -> None:
    torch.manual_seed(0)
    living = LivingModel(made(), TOKENS)
    optimizer = torch.optim.AdamW(living.parameters(), lr=1e-2)
    tokens = torch.randint(9, (16, 64, 10))
    for place in range(2, 10):
        tokens[:, :, place] = (tokens[:, :, place - 1] + tokens[:, :, place - 2]) % 9

    def criterion(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    data = [(x, x.roll(-1, 1)) for x in tokens]  # the next token is a later one: to see it pays
    config = GrowthConfig(policy=policy, every=1, max_edits=3)
    grower = Grower(living, optimizer, criterion, config=config)
    with caplog.at_level("INFO"):
        for epoch in range(3):
            for x, y in data:
                optimizer.zero_grad()
                criterion(living(x), y).backward()
                optimizer.step()
            grower.step(data, metric=0.0, loss=2.0, progress=epoch / 10)
    assert living.edits
    assert not sees_later(living)
    assert "later positions" in caplog.text
