"""What is recorded of a graph is the same whether it was remembered or found out."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from sampled import families
from seeding import seed_
from tolerance import built, example_of
from torch import Tensor, fx, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils._pytree import tree_map_only

from neuroexapt import EditError, LivingModel, Prune, Split, TraceError, Widen
from neuroexapt.graph import recall
from neuroexapt.graph.shapes import record_shapes


def description(tensor: Tensor):
    return type(tensor), tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def recorded(graph_module: fx.GraphModule):
    """All that a recording leaves in a graph, subgraphs included."""
    found = []
    for node in graph_module.graph.nodes:
        example = tree_map_only(Tensor, description, node.meta["example"])
        inside = [recorded(sub) for sub in node.meta.get("subgraphs", ())]
        found.append((node.op, str(node.target), example, inside))
    return found


def from_scratch(living: LivingModel):
    """Record the same graph anew, with nothing known; the living model is as before."""
    for node in living.graph_module.graph.nodes:
        for name in ("example", "subgraphs", "seen"):
            node.meta.pop(name, None)
    recall._known.clear()
    return record_shapes(living.graph_module, living.example_inputs)


def assert_as_from_scratch(living: LivingModel) -> None:
    macs, found = living.cost().macs, recorded(living.graph_module)
    assert macs == from_scratch(living)
    assert found == recorded(living.graph_module)


def edited(living: LivingModel) -> None:
    """Units are born in the first group and in the last, where one goes again."""
    names = [group.name for group in living.groups if group.frozen is None]
    for name in names[:1]:
        living.apply(Split(group=name, units=(0,)), check=False)
    for name in names[-1:]:
        size = living.group(name).size
        living.apply(Widen(group=name, count=2), check=False)
        living.apply(Prune(group=name, units=(size,)), check=False)


@families(1, 4)
def test_shapes_after_edits_are_those_recorded_from_scratch(family):
    living = LivingModel(built(family), example_of(family))
    edited(living)
    assert_as_from_scratch(living)


def small_net() -> nn.Sequential:
    seed_(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 5, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 2),
    )


def small() -> LivingModel:
    living = LivingModel(small_net(), torch.zeros(2, 3, 8, 8))
    living.cost()
    return living


def strided(layer: nn.Module) -> None:
    layer.stride = (2, 2)


def hooked(layer: nn.Module) -> None:
    layer.register_forward_hook(lambda _module, _args, out: out[..., ::2, ::2])


@pytest.mark.parametrize("change", [strided, hooked], ids=["stride", "hook"])
def test_change_in_place_is_noticed_by_the_next_edit(change):
    """Of a layer that the edit itself leaves as it is."""
    living = small()
    change(living.get_submodule("4"))
    living.apply(Split(group="0", units=(0,)), check=False)
    nodes = living.graph_module.graph.nodes
    assert next(n.meta["example"] for n in nodes if n.target == "4").shape == (2, 5, 4, 4)
    assert_as_from_scratch(living)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_change_of_type_is_noticed(dtype):
    living = small().to(dtype)
    living.cost()
    tensors = [n.meta["example"] for n in living.graph_module.graph.nodes]
    assert {t.dtype for t in tensors if isinstance(t, Tensor)} == {dtype}
    assert_as_from_scratch(living)


def test_exchanged_weight_is_noticed():
    """One of another number of channels doesn't fit: as if nothing were known."""
    living = small()
    layer = living.get_submodule("2")
    layer.weight = nn.Parameter(torch.zeros(5, 3, 3, 3))
    with pytest.raises((EditError, RuntimeError), match="channels"):
        record_shapes(living.graph_module, living.example_inputs)


class Scaled(nn.Module):
    """A leaf with settings, and a tensor made inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.repeats = 1
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.repeats):
            x = self.inner(x).relu()
        return x


class Counting(Scaled):
    """A leaf with state: each call gives one column less."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.inner(x)[:, : -self.calls]


def with_leaf(leaf: type[Scaled], width: int = 4) -> LivingModel:
    seed_(0)
    net = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, width), leaf(width))
    living = LivingModel(net, torch.zeros(2, 3), leaves=(Scaled,))
    living.cost()
    return living


def leaf_node(living: LivingModel) -> fx.Node:
    return next(n for n in living.graph_module.graph.nodes if n.target == "3")


def test_leaf_is_traced_once_while_nothing_in_it_changes():
    living = with_leaf(Scaled)
    before = leaf_node(living).meta["subgraphs"]
    living.apply(Split(group="0", units=(0,)))
    assert leaf_node(living).meta["subgraphs"] is before
    assert_as_from_scratch(living)


def another_part(leaf: Scaled) -> None:
    leaf.inner = nn.Linear(4, 4)


def another_weight(leaf: Scaled) -> None:
    leaf.inner.weight = nn.Parameter(torch.zeros(4, 4))


def another_setting(leaf: Scaled) -> None:
    leaf.repeats = 3


@pytest.mark.parametrize("change", [another_part, another_weight, another_setting])
def test_change_in_a_leaf_is_noticed(change):
    living = with_leaf(Scaled)
    before = leaf_node(living).meta["subgraphs"]
    change(living.get_submodule("3"))
    living.apply(Split(group="0", units=(0,)), check=False)
    assert leaf_node(living).meta["subgraphs"] is not before
    assert_as_from_scratch(living)


def test_leaf_that_counts_its_calls_is_run_each_time():
    living = with_leaf(Counting)
    living.apply(Split(group="0", units=(0,)), check=False)
    assert "seen" not in leaf_node(living).meta
    assert_as_from_scratch(living)


class Selecting(Scaled):
    """A leaf whose number of columns depends on values."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("chosen", torch.ones(width, dtype=torch.bool))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[:, : int(self.chosen.sum())]


def test_leaf_whose_shapes_depend_on_values_is_run_each_time():
    living = with_leaf(Selecting)
    living.get_submodule("3").chosen[1:] = False
    living.apply(Split(group="0", units=(0,)), check=False)
    assert leaf_node(living).meta["example"].shape == (2, 1)
    assert_as_from_scratch(living)


def test_refused_edit_leaves_the_shapes_inside_leaves():
    """The leaf's inputs change their width with the edit, which a limit refuses in the end."""
    living = small_with_leaf_between()
    before = recorded(living.graph_module)
    asked = []

    def limit(cost):
        asked.append(cost)  # first of what the edit takes at least, then of what it gave
        return "too much" if len(asked) > 1 else None

    with pytest.raises(EditError, match="limit"):
        living.apply(Split(group="0", units=(0,)), limit=limit)
    assert len(asked) == 2
    assert recorded(living.graph_module) == before


class Halves(nn.Module):
    """A leaf without parameters, whatever the width."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() / 2


def small_with_leaf_between() -> LivingModel:
    net = nn.Sequential(nn.Linear(3, 6), Halves(), nn.Linear(6, 2))
    living = LivingModel(net, torch.zeros(2, 3), leaves=(Halves,))
    assert living.group("0").frozen is None
    return living


def test_copies_and_pickles_are_recorded_by_themselves():
    living = with_leaf(Scaled)
    twin, loaded = copy.deepcopy(living), pickle.loads(pickle.dumps(living))
    for other in (twin, loaded):
        other.get_submodule("3").repeats = 2
        other.apply(Split(group="0", units=(0,)), check=False)
        assert_as_from_scratch(other)
        assert len(leaf_node(other).meta["subgraphs"][0].graph.nodes) > 4
    assert_as_from_scratch(living)


def test_nothing_remembered_keeps_a_model_alive():
    living = with_leaf(Scaled)
    living.apply(Split(group="0", units=(0,)))
    parts = [weakref.ref(part) for part in living.modules()]
    parts += [weakref.ref(tensor) for tensor in living.parameters()]
    del living
    gc.collect()
    assert [ref() for ref in parts if ref() is not None] == []


class Packed(nn.Module):
    """A recurrent layer that skips the padding."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, batch_first=True, bidirectional=True)

    def forward(self, x, lengths):
        lengths = lengths.cpu()
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        outputs, _ = self.lstm(packed)
        return pad_packed_sequence(outputs, batch_first=True)[0].amax(1)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.recurrent = nn.Embedding(20, 8), Packed()
        self.hidden, self.head = nn.Linear(12, 5), nn.Linear(5, 3)

    def forward(self, tokens, lengths):
        return self.head(self.hidden(self.recurrent(self.embedding(tokens), lengths)).relu())


def test_leaf_that_takes_no_zeros_is_given_the_model_s_inputs():
    model, example = Text(), (torch.randint(20, (4, 7)), torch.tensor([7, 2, 5, 1]))
    with pytest.raises(
        TraceError, match=r"name it in leaves=, as packing.*leaves=\('recurrent',\)"
    ):
        LivingModel(model, example)
    living = LivingModel(model, example, leaves=("recurrent",))
    other = torch.randint(20, (3, 9)), torch.tensor([4, 9, 3])
    assert living.apply(Widen(group="hidden", count=3)).max_error < 1e-6
    torch.testing.assert_close(living.eval()(*other), model.eval()(*other))
    assert "no rule" in living.group("embedding").frozen
