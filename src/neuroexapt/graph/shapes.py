"""Record, at every node, what it gave for the example input: without computing anything."""

import copy
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from neuroexapt.errors import TraceError
from neuroexapt.graph.assemble import preserve_state, restore_state
from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.inputs import Inputs
from neuroexapt.graph.rules import elementwise, norms
from neuroexapt.graph.rules.table import module_rule
from neuroexapt.graph.tracing import trace_in_mode

KEEP_SHAPE = (elementwise.elementwise, elementwise.dropout, norms.batch_norm, norms.instance_norm)
"""Rules of layers whose output has their input's shape: they need not be run to know it."""


class _Recorder(fx.Interpreter):
    def run_node(self, n: fx.Node) -> Any:
        if n.op == "call_module":
            self._look_into(n)
        result = self._same_shape(n) if n.op == "call_module" else None
        if result is None:
            result = super().run_node(n)
        n.meta["example"] = copy.copy(result) if isinstance(result, list) else result
        return result

    def _same_shape(self, node: fx.Node) -> torch.Tensor | None:
        """The output of a layer that keeps shape and type, without running it."""
        module = self.fetch_attr(str(node.target))
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        if module_rule(module) not in KEEP_SHAPE or len(args) != 1 or kwargs:
            return None
        return torch.empty_like(args[0])

    def _look_into(self, node: fx.Node) -> None:
        """Trace a leaf that has no rule, in each mode, and record its shapes too."""
        module = self.fetch_attr(str(node.target))
        if not looked_into(module):
            return
        graphs = subgraphs(module)
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        for graph_module in graphs:
            _Recorder(graph_module).run(*ordered(graph_module, Inputs(args, kwargs)))
        node.meta["subgraphs"] = graphs


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


def record_shapes(graph_module: fx.GraphModule, inputs: Inputs) -> int:
    """Set `node.meta["example"]` to the fake output of every node, in eval mode.

    Returns:
        Multiply-accumulates of one forward pass for one sample: convolutions, linear maps, matrix
        products and attention, counted by `torch.utils.flop_counter` (2 for each).
    """
    state = preserve_state(graph_module)
    graph_module.eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), mode, counter:
            fake = inputs.map(mode.from_tensor)
            _Recorder(graph_module).run(*ordered(graph_module, fake))
    finally:
        restore_state(state)
    return int(counter.get_total_flops()) // 2 // inputs.batch_size


def ordered(graph_module: fx.GraphModule, inputs: Inputs) -> list[Any]:
    """Inputs in the order of the graph's placeholders."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "placeholder"]
    rest = names[len(inputs.args) :]
    return [*inputs.args, *(inputs.kwargs[name] for name in rest if name in inputs.kwargs)]
