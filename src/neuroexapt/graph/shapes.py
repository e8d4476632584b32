"""Record, at every node, what it gave for the example input: without computing anything."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._pytree import tree_map_only

from neuroexapt.errors import TraceError
from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.flops import counting
from neuroexapt.graph.inputs import Inputs
from neuroexapt.graph.rules import elementwise, norms
from neuroexapt.graph.rules.table import module_rule
from neuroexapt.graph.shield import shielded
from neuroexapt.graph.state import preserve_state, restore_state
from neuroexapt.graph.tracing import trace_in_mode

KEEP_SHAPE = (elementwise.elementwise, elementwise.dropout, norms.batch_norm, norms.instance_norm)
"""Rules of layers whose output has their input's shape: they need not be run to know it."""

NOT_FAKEABLE = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)
"""What fake tensors refuse: outcomes that depend on values, operators without a shape rule."""


class _Recorder(fx.Interpreter):
    """Runs a graph and notes what every node gave, and what the leaves without a rule were given.

    What is inside them is recorded afterwards, since it runs a second time and a third.
    """

    def __init__(self, graph_module: fx.GraphModule) -> None:
        super().__init__(graph_module)
        self.leaves: list[tuple[fx.Node, nn.Module, Inputs]] = []

    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module":
            self._note(n)
        result = self._same_shape(n) if n.op == "call_module" else None
        if result is None:
            # Views of a parameter need its gradient even where none is recorded, which the counter
            # of FLOPs takes amiss.
            result = tree_map_only(torch.Tensor, torch.Tensor.detach, super().run_node(n))
        n.meta["example"] = copy.copy(result) if isinstance(result, list) else result
        return result

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module; one that fake tensors can't run, on zeros."""
        try:
            return super().call_module(target, args, kwargs)
        except NOT_FAKEABLE:
            return _on_zeros(self.fetch_attr(target), Inputs(args, kwargs))

    def _same_shape(self, node: fx.Node) -> torch.Tensor | None:
        """The output of a layer that keeps shape and type, without running it."""
        module = self.fetch_attr(str(node.target))
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if module_rule(module) not in KEEP_SHAPE or len(args) != 1 or kwargs:
            return None
        return torch.empty_like(args[0])

    def _note(self, node: fx.Node) -> None:
        """Remember a leaf whose inside matters, and its inputs."""
        module = self.fetch_attr(str(node.target))
        if looked_into(module):
            inputs = Inputs(*self.fetch_args_kwargs_from_env(node))
            self.leaves.append((node, module, inputs))

    def look_into_leaves(self) -> None:
        """Trace the leaves in each mode, and record the shapes inside them too."""
        for node, module, inputs in self.leaves:
            graphs = subgraphs(module)
            for graph_module in graphs:
                inside = _Recorder(graph_module)
                inside.run(*ordered(graph_module, inputs))
                inside.look_into_leaves()
            node.meta["subgraphs"] = graphs


def _on_zeros(module: nn.Module, fake: Inputs) -> Any:
    """What a module gives for zeros of the inputs' shapes, as fake tensors."""
    mode = next(tensor.fake_mode for tensor in fake.tensors if isinstance(tensor, FakeTensor))
    with unset_fake_temporarily():
        zeros = fake.map(lambda t: torch.zeros(t.shape, dtype=t.dtype, device=t.device))
        output = module(*zeros.args, **zeros.kwargs)
    return tree_map_only(torch.Tensor, mode.from_tensor, output)


def looked_into(module: nn.Module) -> bool:
    """Whether a leaf is a user's module without a rule of its own, so that its inside matters."""
    own = type(module).__module__.startswith("torch.nn")
    return not own and not isinstance(module, ByMode) and module_rule(module) is None


def subgraphs(leaf: nn.Module) -> tuple[fx.GraphModule, ...]:
    """A leaf's graphs in train and in eval mode; none where it can't be traced."""
    try:
        return trace_in_mode(leaf, training=True), trace_in_mode(leaf, training=False)
    except TraceError:
        return ()


@shielded()
def record_shapes(graph_module: fx.GraphModule, inputs: Inputs) -> int:
    """Set `node.meta["example"]` to the fake output of every node, in eval mode.

    Returns:
        Multiply-accumulates of one forward pass for one sample: convolutions, linear maps, matrix
        products, recurrent layers and attention.
    """
    state = preserve_state(graph_module)
    graph_module.eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = _Recorder(graph_module)
    try:
        with torch.no_grad(), mode:
            given = ordered(graph_module, inputs.map(mode.from_tensor))
            with counting() as counter:
                recorder.run(*given)
            recorder.look_into_leaves()
    finally:
        restore_state(state)
    return int(counter.get_total_flops()) // 2 // inputs.batch_size


def ordered(graph_module: fx.GraphModule, inputs: Inputs) -> list[Any]:
    """Inputs in the order of the graph's placeholders."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "placeholder"]
    rest = names[len(inputs.args) :]
    return [*inputs.args, *(inputs.kwargs[name] for name in rest if name in inputs.kwargs)]
