"""A pickled living model comes back as the same graph, and goes on growing."""

import io
import pickle

import torch
from sampled import each_family, families
from tolerance import assert_equal_tensors, assert_same_outputs, built, example_of, outputs
from torch import Tensor, nn

from neuroexapt import Connect, LivingModel, Split, load_edits, replay
from neuroexapt.graph.portable import graph_of, records
from neuroexapt.graph.tracing import owner_of


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def again(item):
    return pickle.loads(pickle.dumps(item))


def split_first(living: LivingModel) -> None:
    """Split two units of the first group that can grow, if one can."""
    for group in living.groups:
        if group.frozen is None:
            living.apply(Split(group=group.name, units=(0, group.size - 1)), seed=1)
            return


def assert_equal_models(ours: LivingModel, theirs: LivingModel, family) -> None:
    assert_same_outputs(
        outputs(ours, example_of(family)), outputs(theirs, example_of(family)), tolerance=0.0
    )
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.nodes == theirs.nodes
    first, second = ours.graph_module.graph.nodes, theirs.graph_module.graph.nodes
    assert [n.name for n in first] == [n.name for n in second]
    assert [owner_of(n) for n in first] == [owner_of(n) for n in second]
    assert [(g.name, g.size, g.frozen) for g in ours.groups] == [
        (g.name, g.size, g.frozen) for g in theirs.groups
    ]
    assert str(ours) == str(theirs)
    assert [m.training for m in ours.modules()] == [m.training for m in theirs.modules()]


@families(2, 4)
def test_pickled_model_is_the_same_and_goes_on(family):
    """Through an edit, a pickle, and another edit on both."""
    living = LivingModel(built(family), example_of(family))
    split_first(living)
    twin = again(living)
    assert twin.edits == living.edits
    assert_equal_models(twin, living, family)
    assert not {id(p) for p in twin.parameters()} & {id(p) for p in living.parameters()}
    split_first(living)
    split_first(twin)
    assert_equal_models(again(twin), living, family)


@each_family
def test_records_are_the_graph(family):
    living = LivingModel(built(family), example_of(family))
    graph = living.graph_module.graph
    rebuilt = graph_of(records(graph))
    rebuilt.lint()
    assert records(rebuilt) == records(graph)


class Tied(nn.Module):
    """A shared layer with two names, buffers of both kinds, and a frozen norm."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = self.first
        self.norm = nn.BatchNorm1d(4)
        self.out = nn.Linear(4, 2)
        self.register_buffer("kept", torch.ones(4))
        self.register_buffer("passing", torch.ones(4), persistent=False)
        self.norm.eval()

    def forward(self, x):
        x = self.second(self.first(x).relu()) * self.kept * self.passing
        return self.out(self.norm(x))


def test_pickled_model_keeps_other_names_persistence_and_modes():
    living = LivingModel(Tied(), noise(4, 4))
    twin = again(again(living))
    assert set(twin.state_dict()) == set(living.state_dict()) == set(Tied().state_dict())
    assert twin.get_parameter("first.weight") is twin.get_parameter("second.weight")
    assert twin.training and not twin.norm.training
    assert twin.norm.weight is not living.norm.weight


def test_model_inside_another_is_pickled_with_it():
    inner = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    outer = nn.Sequential(inner, nn.Linear(3, 2))
    LivingModel.within(outer, "0", noise(4, 4))
    optimizer = torch.optim.SGD(outer.parameters(), 0.1)
    twin, theirs = again((outer, optimizer))
    assert_equal_tensors(twin(noise(4, 4)), outer(noise(4, 4)))
    twin[0].apply(Split(group="0", units=(0,)), theirs)
    held = {id(p) for group in theirs.param_groups for p in group["params"]}
    assert held == {id(p) for p in twin.parameters()}
    assert twin.state_dict()["0.0.weight"].shape == (7, 4)


def test_replay_takes_what_a_pickled_model_became():
    torch.manual_seed(0)
    model = nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(4, 4), nn.ReLU())])
    living = LivingModel(model, noise(4, 4))
    living.apply(Connect(source="0", target="4"))
    living = again(living)
    living.apply(Split(group="0", units=(1,)))
    edits = load_edits([edit.model_dump() for edit in living.edits])
    twin = replay(model, noise(4, 4), edits)
    assert twin.nodes == living.nodes
    twin.load_state_dict(living.state_dict())
    assert_equal_tensors(twin(noise(4, 4)), living(noise(4, 4)))


def test_saved_model_is_loaded_by_torch():
    living = LivingModel(Tied(), noise(4, 4))
    file = io.BytesIO()
    torch.save(living, file)
    file.seek(0)
    assert_equal_tensors(torch.load(file, weights_only=False)(noise(4, 4)), living(noise(4, 4)))
