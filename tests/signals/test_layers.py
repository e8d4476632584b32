import torch
from families import FAMILIES, LEAVES, Family
from sampled import each_family
from seeding import seed_
from torch import Tensor, nn
from torch.nn import functional as F

from neuroexapt import Activate, Attend, Connect, EditError, LivingModel, Split
from neuroexapt.edits.base import Context
from neuroexapt.signals import adjacent, distant_pairs, layers

BY_NAME = {family.name: family for family in FAMILIES}


def living(family: Family | str) -> LivingModel:
    family = BY_NAME[family] if isinstance(family, str) else family
    seed_(0)
    return LivingModel(family.build(), family.example(), leaves=LEAVES)


def sequential() -> LivingModel:
    seed_(0)
    return LivingModel(
        nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Sigmoid(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(6 * 16, 5),
        ),
        torch.randn(2, 3, 8, 8),
    )


def named(model: LivingModel) -> list[tuple[str, str]]:
    return [(layer.name, layer.output) for layer in layers(model)]


def pairs(model: LivingModel) -> list[tuple[str, str]]:
    return [(source.name, target.name) for source, target in distant_pairs(model)]


def test_layers_end_with_their_norm_and_activation() -> None:
    assert named(sequential()) == [("0", "2"), ("4", "5"), ("6", "7"), ("9", "9")]


def test_adjacent_and_distant_in_a_chain() -> None:
    assert adjacent(sequential()) == {("0", "4"), ("4", "6"), ("6", "9")}
    assert pairs(sequential()) == [("0", "6"), ("0", "9"), ("4", "9")]


def test_layers_of_functional_weights_are_named_by_their_nodes() -> None:
    assert named(living("functional")) == [
        ("conv2d", "relu"),
        ("conv2d_1", "relu_1"),
        ("linear", "relu_2"),
        ("linear_1", "linear_1"),
    ]


def test_layers_follow_dropout_by_mode() -> None:
    """Functional dropout is a node of its own; what shrinks or flattens ends the layer."""
    assert named(living("functional_dropout"))[0] == ("conv1", "relu")
    assert named(living("functional_dropout"))[2] == ("fc1", "dropout_by_mode")


def test_layers_before_a_sum_end_there() -> None:
    found = dict(named(living("resnet_basic")))
    assert found["layer1.0.conv1"] == "layer1_0_relu"
    assert found["layer1.0.conv2"] == "layer1.0.bn2"
    assert found["layer2.0.downsample.0"] == "layer2.0.downsample.1"


def test_adjacent_reaches_along_the_residual_stream() -> None:
    near = adjacent(living("resnet_basic"))
    assert ("conv1", "layer1.1.conv1") in near
    assert ("layer1.0.conv2", "layer2.0.conv1") in near
    assert ("conv1", "layer1.0.conv2") not in near
    assert ("layer1.0.conv1", "layer1.1.conv1") not in near


def test_distant_pairs_are_downstream() -> None:
    """Branches side by side have nothing to skip."""
    found = pairs(living("inception"))
    assert ("stem.conv", "mixed1.branch5x5_2.conv") in found
    assert ("mixed1.branch1x1.conv", "mixed1.branch5x5_2.conv") not in found
    assert ("mixed1.branch5x5_2.conv", "mixed1.branch1x1.conv") not in found


class HiddenOutput(nn.Module):
    """One rectifier for all, so that only its last call has a name."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 5), nn.Linear(5, 3)
        self.norm, self.act = nn.BatchNorm1d(5), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.fc2(self.act(self.norm(self.fc1(x)))))


def test_layers_output_is_what_edits_find() -> None:
    model = LivingModel(HiddenOutput(), torch.randn(3, 4))
    assert named(model) == [("fc1", "norm"), ("fc2", "act")]


class InPlace(nn.Module):
    """The rectifier's own result is thrown away: what it overwrote is read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4)
        self.conv2 = nn.Conv1d(4, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv1(x))
        F.relu_(x)
        return self.conv2(x)


def test_layers_follow_what_is_overwritten() -> None:
    assert named(LivingModel(InPlace(), torch.randn(2, 2, 9)))[0] == ("conv1", "relu_")


def test_layers_called_twice_are_one_layer() -> None:
    model = living("called_twice")
    assert named(model) == [("stem", "relu"), ("shared", "relu_2"), ("fc", "fc")]
    assert adjacent(model) == {("stem", "shared"), ("shared", "shared"), ("shared", "fc")}
    assert pairs(model) == [("stem", "fc")]


def test_layers_after_connecting_stay_the_same() -> None:
    model = sequential()
    before = named(model)
    model.apply(Connect(source="2", target="6"))
    assert named(model) == before
    model.apply(Connect(source="2", target="7"))
    assert named(model) == before
    model.apply(Split(group="0", units=(0, 2)))
    assert named(model) == before


def test_adjacent_after_connecting_knows_the_connection() -> None:
    model = sequential()
    model.apply(Connect(source="2", target="6"))
    assert ("0", "9") in adjacent(model)
    assert pairs(model) == [("0", "6"), ("4", "9")]


@each_family
def test_layers_of_a_family_are_where_edits_find_them(family: Family) -> None:
    model = living(family)
    found = layers(model)
    assert len({layer.name for layer in found}) == len(found) > 0
    order = [node.name for node in model.graph_module.graph.nodes]
    assert [layer.node for layer in found] == sorted((x.node for x in found), key=order.index)
    for layer in found:
        assert model.node(layer.name).name == layer.node
        assert model.node(layer.output).name == layer.output_node
        shapes = [model.example_output(model.node(n)).shape for n in (layer.name, layer.output)]
        assert shapes[0] == shapes[1]


@each_family
def test_layers_of_a_family_are_all_its_modules_with_weights(family: Family) -> None:
    """Of those at the top of the graph, except what is called inside a leaf."""
    model = living(family)
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    called = {n.target for n in model.graph_module.graph.nodes if n.op == "call_module"}
    expected = {name for name in called if isinstance(model.get_submodule(name), kinds)}
    assert expected <= {layer.name for layer in layers(model)}


@each_family
def test_distant_pairs_of_a_family_have_no_cycle_and_no_neighbours(family: Family) -> None:
    model = living(family)
    near = adjacent(model)
    position = {layer.name: index for index, layer in enumerate(layers(model))}
    for source, target in pairs(model):
        assert (source, target) not in near
        assert position[source] < position[target]
        try:
            Connect(source=source, target=target).rewrite(model, Context(torch.Generator()))
        except EditError as error:
            assert "cycle" not in str(error)
            assert "exchange" not in str(error)


def test_grown_attention_and_blends_belong_to_the_layer_before_them() -> None:
    model = sequential()
    before = layers(model)
    model.apply(Activate(node="2", to="silu"))
    model.apply(Attend(after="edit0.blend"))
    model.apply(Attend(after="5", form="positions"))
    after = layers(model)
    assert [layer.name for layer in after] == [layer.name for layer in before]
    outputs = [layer.output for layer in after]
    assert outputs == ["edit1_scaled", "edit2_sum", before[2].output, before[3].output]
