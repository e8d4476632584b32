"""What outputs see only through some nodes stays so, whatever grows."""

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import (
    Activate,
    Attend,
    Connect,
    Deepen,
    EditError,
    LivingModel,
    Split,
    Widen,
    sense,
)
from neuroexapt.growth.nominate import (
    nominate_activations,
    nominate_connections,
    nominate_driving,
)

ROWS = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))


class Variational(nn.Module):
    """A mean and a spread, with a condition for the decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 6), nn.ReLU())
        self.mean, self.spread = nn.Linear(6, 2), nn.Linear(6, 2)
        self.told = nn.Linear(3, 2)
        self.decoder = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 8))

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.encoder(x)
        mean, spread = self.mean(x), self.spread(x)
        code = mean + torch.randn_like(mean) * spread.exp()
        told = self.told(condition)
        return self.decoder(torch.cat([code, told], 1)), mean, spread


def autoencoder() -> LivingModel:
    torch.manual_seed(0)
    layers = nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2), nn.Linear(2, 6), nn.ReLU()
    return LivingModel(nn.Sequential(*layers, nn.Linear(6, 8)), ROWS)


def variational() -> LivingModel:
    torch.manual_seed(0)
    return LivingModel(Variational().eval(), (ROWS, torch.randn(4, 3)))


def test_nothing_is_connected_past_a_code():
    living = autoencoder()
    living.kept_through = ("2",)
    weights = {name: value.clone() for name, value in living.state_dict().items()}
    with pytest.raises(EditError, match=r"outputs see inputs past 2, along .*kept_through"):
        living.apply(Connect(source="1", target="3"))
    assert not living.edits
    for name, value in living.state_dict().items():
        torch.testing.assert_close(value, weights[name])


def test_the_width_of_a_code_stays():
    living = autoencoder()
    living.kept_through = "2"
    for edit in (Widen(group="2", count=1), Split(group="2", units=(0,))):
        with pytest.raises(EditError, match="outputs see the inputs only through it"):
            living.apply(edit)
    living.kept_through = ()
    living.apply(Widen(group="2", count=1))
    assert living.group("2").size == 3


def test_what_is_before_or_behind_a_code_grows():
    living = autoencoder()
    living.kept_through = ("2",)
    for edit in (
        Widen(group="0", count=2),
        Widen(group="3", count=2),
        Deepen(after="1"),
        Deepen(after="2"),
        Deepen(after="4"),
        Connect(source="3", target="5"),
    ):
        assert living.apply(edit).max_error <= 1e-5
    assert living.kept_through == ("2",)
    with pytest.raises(EditError, match="past 2"):
        living.apply(Connect(source="1", target="5"))


def test_mean_and_spread_stand_in_the_way_together():
    living = variational()
    with pytest.raises(EditError, match=r"past 'mean' \(x -> .*spread.*; condition -> "):
        living.kept_through = ("mean",)
    assert living.kept_through == ()
    living.kept_through = ("mean", "spread")
    for source in ("encoder.0", "encoder.1"):
        for target in ("decoder.0", "decoder.2"):
            assert living.leads_past(source, target)
            with pytest.raises(EditError, match="kept_through"):
                living.apply(Connect(source=source, target=target))


def test_a_condition_may_go_past():
    living = variational()
    living.kept_through = ("mean", "spread")
    assert not living.leads_past("told", "decoder.2")
    living.apply(Connect(source="told", target="decoder.2"))
    assert not living.leads_past("told", "encoder.0"), "that leads through"
    assert living.leads_past("encoder.0", "mean"), "what is added comes behind it"


class Sized(nn.Module):
    """Whose decoder is told sizes of its inputs, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(8, 6), nn.ReLU())
        self.mean, self.decoder = nn.Linear(6, 2), nn.Linear(2, 8)
        self.head = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.mean(self.encoder(x))
        code = mean + torch.randn(x.size(0), 2) + torch.zeros_like(x)[:, :2]
        return self.decoder(code).view_as(x), self.head(mean)


@pytest.mark.parametrize("name", ["new_decoder", "decoder_like", "view_as"])
def test_what_a_module_is_called_says_nothing_of_what_it_sees(name):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    model.add_module(name, nn.Linear(2, 8))
    living = LivingModel(model, ROWS)
    living.kept_through = ("2",)
    assert living.leads_past("1", name)
    with pytest.raises(EditError, match="past 2"):
        living.apply(Connect(source="1", target=name))


def test_sizes_tell_nothing():
    living = LivingModel(Sized().eval(), ROWS)
    living.kept_through = ("mean",)
    assert not living.through.past
    with pytest.raises(EditError, match="past mean"):
        living.apply(Connect(source="encoder.1", target="decoder"))


class Headed(Variational):
    """With a head on the mean alone."""

    def forward(self, x: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        decoded, mean, _ = super().forward(x, condition)
        return decoded, mean.sum(1)


def test_an_output_that_sees_everything_past_a_code_is_told():
    living = LivingModel(Headed().eval(), (ROWS, torch.randn(4, 3)))
    with pytest.warns(UserWarning, match=r"output 0 sees all .* past 'mean' \(.*spread"):
        living.kept_through = ("mean",)
    living.kept_through = ("mean", "spread")
    assert living.leads_past("encoder.1", "decoder.0")


class Twice(nn.Module):
    """Two views by one network."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.z, self.two = nn.Linear(8, 6), nn.Linear(6, 2), nn.Linear(2, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.two(self.z(self.one(x).relu())) + self.two(self.z(self.one(2 * x).relu()))


def test_a_module_stands_for_all_of_its_calls():
    living = LivingModel(Twice(), ROWS)
    living.kept_through = ("z",)
    assert not living.through.past
    assert living.leads_past("relu", "add")
    assert living.leads_past("relu_1", "add")


def test_activations_of_a_code_stay():
    torch.manual_seed(0)
    layers = nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2), nn.ReLU(), nn.Linear(2, 8)
    living = LivingModel(nn.Sequential(*layers), ROWS)
    assert {p.edit.node for p in nominate_activations(living)} == {"1", "3"}
    living.kept_through = ("3",)
    assert {p.edit.node for p in nominate_activations(living)} == {"1"}
    with pytest.raises(EditError, match="kept_through"):
        living.apply(Activate(node="3", to="silu"))


def test_attention_driven_from_before_a_code_is_refused():
    living = autoencoder()
    living.kept_through = ("2",)
    with pytest.raises(EditError, match="kept_through"):
        living.apply(Attend(after="4", source="1"))


def test_nominators_propose_nothing_past_a_code():
    living = autoencoder()
    batches = [(torch.randn(64, 8), torch.randn(64, 8)) for _ in range(2)]
    readings = sense(living, batches, nn.MSELoss())

    def crossing() -> list[tuple[str, str]]:
        connections = [p.edit for p in nominate_connections(readings, living)]
        drives = [p.edit for p in nominate_driving(readings, living)]
        found = [(e.source, e.target) for e in connections] + [(e.source, e.after) for e in drives]
        return [(s, t) for s, t in found if s in ("0", "1") and t in ("3", "4", "5")]

    assert crossing()
    living.kept_through = ("2",)
    assert not crossing()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("code",), "there is no node 'code'"),
        (("input_1",), "'input_1' is an input"),
        (("5",), "'5' is what the model gives out"),
        ("", "give the names of nodes"),
        (None, "give the names of nodes"),
        ((None,), "give the names of nodes"),
    ],
)
def test_names_are_checked(names, message):
    living = autoencoder()
    living.kept_through = ("2", "2")
    with pytest.raises(EditError, match=message):
        living.kept_through = names
    assert living.kept_through == ("2",)


def test_it_survives_copies_and_pickling():
    living = autoencoder()
    living.kept_through = ("2",)
    living.apply(Widen(group="0", count=1))
    for other in (copy.deepcopy(living), pickle.loads(pickle.dumps(living))):
        assert other.kept_through == ("2",)
        with pytest.raises(EditError, match="kept_through"):
            other.apply(Connect(source="1", target="3"))
        assert other.group("2").frozen
