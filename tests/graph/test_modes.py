"""A model's own `train()` keeps its meaning, whatever happens to the model."""

import copy
import pickle

import pytest
import torch
from tolerance import assert_equal_tensors, assert_same_outputs, outputs
from torch import Tensor, nn

from neuroexapt import Deepen, LivingModel, Split, TraceError
from neuroexapt.graph.modes import own_modes


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class FrozenNorms(nn.Module):
    """The idiom of detection and fine-tuning: norms keep the statistics that they came with."""

    def __init__(self):
        super().__init__()
        self.fc1, self.norm1 = nn.Linear(4, 6), nn.BatchNorm1d(6)
        self.fc2, self.norm2 = nn.Linear(6, 5), nn.BatchNorm1d(5)
        self.drop, self.fc3 = nn.Dropout(0.4), nn.Linear(5, 2)

    def train(self, mode=True):
        super().train(mode)
        self.norm1.eval()
        return self

    def forward(self, x):
        x = self.norm1(self.fc1(x)).relu()
        return self.fc3(self.drop(self.norm2(self.fc2(x)).relu()))


class FrozenPart(nn.Module):
    """A part that never trains, with all that is in it; it is traced through."""

    class Part(nn.Sequential):
        def train(self, mode=True):
            return super().train(False)

    def __init__(self):
        super().__init__()
        self.part = self.Part(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.ReLU())
        self.fc = nn.Linear(6, 2)

    def forward(self, x):
        return self.fc(self.part(x))


class AlwaysDrops(nn.Module):
    """Monte-Carlo dropout: active in eval mode too."""

    def __init__(self):
        super().__init__()
        self.fc1, self.drop, self.fc2 = nn.Linear(4, 6), nn.Dropout(0.4), nn.Linear(6, 2)

    def train(self, mode=True):
        super().train(mode)
        self.drop.train()
        return self

    def forward(self, x):
        return self.fc2(self.drop(self.fc1(x)))


MODELS = {
    FrozenNorms: {True: {"norm1": False}, False: {}},
    FrozenPart: {True: {"part": False}, False: {}},
    AlwaysDrops: {True: {}, False: {"drop": True}},
}
FIRST = {FrozenNorms: "fc1", FrozenPart: "part.0", AlwaysDrops: "fc1"}
each_model = pytest.mark.parametrize("kind", MODELS)


def training_of(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


@each_model
def test_own_modes_are_those_of_train(kind):
    model = kind()
    before = training_of(model)
    assert own_modes(model) == MODELS[kind]
    assert training_of(model) == before


def same(living: nn.Module) -> nn.Module:
    return living


def edited(living: LivingModel) -> LivingModel:
    living.apply(Split(group=living.groups[0].name, units=(0, 1)))
    return living


def edited_twice(living: LivingModel) -> LivingModel:
    living.apply(Deepen(after=living.nodes[-2]))
    return edited(edited(living))


def pickled(living: LivingModel) -> LivingModel:
    return pickle.loads(pickle.dumps(living))


def edited_and_pickled(living: LivingModel) -> LivingModel:
    return edited(pickled(edited(living)))


@each_model
@pytest.mark.parametrize(
    "change", [same, edited, edited_twice, copy.deepcopy, pickled, edited_and_pickled]
)
@pytest.mark.parametrize("whole", [False, True], ids=["alone", "in_another"])
def test_train_and_eval_do_to_each_part_what_they_did(kind, change, whole):
    model = kind()
    living = change(LivingModel(model, noise(8, 4)))
    outer = nn.Sequential(living) if whole else living
    for mode in (True, False, True):
        outer.train(mode)
        expected = training_of(model.train(mode))
        targets = {n.name: n.target for n in living.graph_module.graph.nodes}  # dropouts move
        places = {path: targets.get(path.replace(".", "_"), path) for path in expected}
        modes = {path: living.get_submodule(place).training for path, place in places.items()}
        assert modes == expected
        assert {m.training for n, m in living.named_modules() if n.startswith("edit")} <= {mode}


@pytest.mark.parametrize("change", [same, edited])
def test_frozen_statistics_stay_in_train_mode(change):
    living = change(LivingModel(FrozenNorms(), noise(8, 4)))
    before = living.norm1.running_mean.clone(), living.norm2.running_mean.clone()
    living.train()(noise(8, 4))
    assert_equal_tensors(living.norm1.running_mean, before[0])
    assert not torch.equal(living.norm2.running_mean, before[1])


def test_dropout_that_is_always_on_draws_after_a_split():
    """The exchanged layer holds the old one, which has to be on as well."""
    living = edited(LivingModel(AlwaysDrops(), noise(8, 4))).eval()
    assert not torch.equal(living(noise(8, 4)), living(noise(8, 4)))


@each_model
def test_checks_run_each_part_in_its_own_mode(kind):
    model = kind()
    living = LivingModel(model, noise(8, 4))
    for training in (True, False):
        for one in (model, living):
            one.train(training)
        torch.manual_seed(0)
        ours = living(noise(8, 4))
        torch.manual_seed(0)
        assert_equal_tensors(ours, model(noise(8, 4)))
    assert edited(living).edits[-1].group == FIRST[kind]


def test_functional_dropout_of_a_part_that_never_trains_stays_off():
    """Tracing sees it off in both modes; the check must not take it for a difference."""

    class Drops(FrozenPart.Part):
        def forward(self, x):
            return nn.functional.dropout(super().forward(x), 0.5, self.training)

    model = nn.Sequential(Drops(nn.Linear(4, 6)), nn.Linear(6, 2))
    living = LivingModel(model, noise(8, 4))
    assert_same_outputs(outputs(living, (noise(8, 4),)), outputs(living, (noise(8, 4),)), 0.0)
    assert_equal_tensors(living.train()(noise(8, 4)), living.eval()(noise(8, 4)))


class Merges(nn.Linear):
    """Changes its weight by the mode, as low-rank adapters do."""

    def __init__(self, *args):
        super().__init__(*args)
        self.merged = False

    def train(self, mode=True):
        if self.merged == mode:
            self.weight.data += -1.0 if mode else 1.0
            self.merged = not mode
        return super().train(mode)


def test_train_that_changes_more_than_modes_is_refused():
    model = nn.Sequential(Merges(4, 6), nn.Linear(6, 2))
    before = model[0].weight.clone()
    with pytest.raises(TraceError, match=r"changes 'merged' of Merges at '0'.*outside train"):
        LivingModel(model, noise(8, 4))
    torch.testing.assert_close(model[0].weight, before)
    assert not model[0].merged


def test_train_of_a_leaf_may_change_what_it_likes():
    model = nn.Sequential(Merges(4, 6), nn.Linear(6, 2))
    living = LivingModel(model, noise(8, 4), leaves=("0",))
    living.eval()
    assert model[0].merged
    living.train()
    assert not model[0].merged


def test_train_that_freezes_parameters_is_refused():
    class Freezes(FrozenPart):
        def train(self, mode=True):
            self.part.requires_grad_(False)
            return super().train(mode)

    model = Freezes()
    with pytest.raises(TraceError, match=r"train\(\) of Freezes freezes or thaws.*before making"):
        LivingModel(model, noise(8, 4))
    assert all(parameter.requires_grad for parameter in model.parameters())
    living = LivingModel(model.train(), noise(8, 4))
    assert not living.get_parameter("part.0.weight").requires_grad


def test_train_that_is_another_method_is_refused():
    class Trains(FrozenPart):
        def train(self, loader, epochs=1):
            for _ in range(epochs):
                for x, y in loader:
                    (self(x) - y).square().mean().backward()

    with pytest.raises(TraceError, match=r"train\(True\) of Trains fails \(TypeError.*other names"):
        LivingModel(Trains(), noise(8, 4))
