"""Random sequences of edits and training steps: whatever comes, the laws hold."""

import json

import torch
from families import FAMILIES, tensors
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tolerance import assert_same_outputs, built, example_of, outputs

from neuroexapt import (
    Activate,
    Attend,
    Connect,
    Deepen,
    Edit,
    EditError,
    LivingModel,
    Prune,
    Settle,
    Split,
    Widen,
    replay,
)
from neuroexapt.edits import dump_edits, load_edits
from neuroexapt.edits.activate import CANDIDATES, activations, blends

NAMES = ("mlp", "resnet_basic", "mobilenet_v3", "densenet", "gated", "tied_twins", "text_cnn")
MACHINE_FAMILIES = {family.name: family for family in FAMILIES if family.name in NAMES}
NUM_TRAINED_STEPS = 2


class Growth(RuleBasedStateMachine):
    """A model that is edited and trained in any order.

    Every preserving edit must leave the outputs alone; only training and consented pruning move
    them, after which they are measured anew.
    """

    @initialize(name=st.sampled_from(NAMES), decay=st.booleans())
    def start(self, name: str, decay: bool) -> None:
        self.family = MACHINE_FAMILIES[name]
        self.inputs = example_of(self.family)
        self.living = LivingModel(built(self.family), self.inputs)
        vectors = [p for p in self.living.parameters() if p.ndim < 2]
        matrices = [p for p in self.living.parameters() if p.ndim >= 2]
        groups = [
            {"params": matrices, "weight_decay": 0.1 * decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-4)
        self.seed = 0
        self.measure()

    def measure(self) -> None:
        self.expected = outputs(self.living, self.inputs)

    def apply(self, edit: Edit) -> None:
        self.seed += 1
        self.living.apply(edit, self.optimizer, seed=self.seed)

    def growable(self, data: st.DataObject) -> str:
        names = [group.name for group in self.living.groups if group.frozen is None]
        return data.draw(st.sampled_from(names), label="group")

    def node(self, data: st.DataObject) -> str:
        names = list(dict.fromkeys(self.living.nodes))
        return data.draw(st.sampled_from(names), label="node")

    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        name = self.growable(data)
        units = st.lists(
            st.integers(0, self.living.group(name).size - 1), min_size=1, max_size=3, unique=True
        )
        self.apply(Split(group=name, units=tuple(data.draw(units, label="units"))))

    @rule(data=st.data(), init=st.sampled_from(["random", "paired"]))
    def widen(self, data: st.DataObject, init: str) -> None:
        self.apply(Widen(group=self.growable(data), count=2, init=init))

    @rule(data=st.data())
    def widen_and_take_back(self, data: st.DataObject) -> None:
        """Newborn units that nothing reads yet are pruned exactly."""
        name = self.growable(data)
        size = self.living.group(name).size
        self.apply(Widen(group=name, count=1))
        self.apply(Prune(group=name, units=(size,)))

    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        name = self.growable(data)
        size = self.living.group(name).size
        if size > 1:
            unit = data.draw(st.integers(0, size - 1), label="unit")
            self.apply(Prune(group=name, units=(unit,), preserving=False))
            self.measure()

    @rule(data=st.data(), form=st.sampled_from(["residual", "bottleneck", "inverted", "identity"]))
    def deepen(self, data: st.DataObject, form: str) -> None:
        self.apply_where_it_fits(Deepen(after=self.node(data), form=form))

    @rule(data=st.data())
    def connect(self, data: st.DataObject) -> None:
        self.apply_where_it_fits(Connect(source=self.node(data), target=self.node(data)))

    @rule(data=st.data(), form=st.sampled_from(["channels", "positions"]))
    def attend(self, data: st.DataObject, form: str) -> None:
        self.apply_where_it_fits(Attend(after=self.node(data), form=form))

    @rule(data=st.data(), to=st.sampled_from(sorted(CANDIDATES)))
    def activate(self, data: st.DataObject, to: str) -> None:
        name = data.draw(st.sampled_from(activations(self.living)), label="activation")
        self.apply_where_it_fits(Activate(node=name, to=to))

    @rule(data=st.data(), keep=st.sampled_from(["first", "second"]))
    def settle(self, data: st.DataObject, keep: str) -> None:
        names = list(blends(self.living))
        if names:
            name = data.draw(st.sampled_from(names), label="blend")
            self.apply(Settle(blend=name, keep=keep, preserving=False))
            self.measure()

    def apply_where_it_fits(self, edit: Edit) -> None:
        try:
            self.apply(edit)
        except EditError as error:
            assert "would change" not in str(error)

    @rule()
    def train(self) -> None:
        self.living.train()
        for _ in range(NUM_TRAINED_STEPS):
            self.optimizer.zero_grad()
            loss = sum(t.square().mean() for t in tensors(self.living(*self.inputs)))
            loss.backward()
            self.optimizer.step()
        self.optimizer.zero_grad()
        self.measure()

    @precondition(lambda self: len(self.living.edits) > 0)
    @rule()
    def reload(self) -> None:
        """The lineage, as JSON, and the state dict are the whole model."""
        edits = load_edits(json.loads(json.dumps(dump_edits(self.living.edits))))
        twin = replay(built(self.family, seed=5), self.inputs, edits)
        twin.load_state_dict(self.living.state_dict())
        assert_same_outputs(outputs(twin, self.inputs), self.expected, tolerance=1e-10)
        assert [(g.name, g.size, g.frozen) for g in twin.groups] == [
            (g.name, g.size, g.frozen) for g in self.living.groups
        ]

    @invariant()
    def outputs_are_kept(self) -> None:
        assert_same_outputs(outputs(self.living, self.inputs), self.expected, tolerance=1e-10)

    @invariant()
    def graph_is_sound(self) -> None:
        self.living.graph_module.graph.lint()
        names = [group.name for group in self.living.groups]
        assert len(set(names)) == len(names)

    @invariant()
    def optimizer_follows(self) -> None:
        """Every parameter is in one group, vectors without decay, and state has its shape."""
        matrices, vectors = (group["params"] for group in self.optimizer.param_groups)
        held = {id(p) for p in (*matrices, *vectors)}
        assert len(held) == len(matrices) + len(vectors)
        assert held == {id(p) for p in self.living.parameters()}
        assert all(p.ndim >= 2 for p in matrices)
        assert all(p.ndim < 2 for p in vectors)
        assert {id(p) for p in self.optimizer.state} <= held
        for parameter, state in self.optimizer.state.items():
            assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape


TestGrowth = Growth.TestCase
TestGrowth.settings = settings(
    max_examples=20,
    stateful_step_count=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
