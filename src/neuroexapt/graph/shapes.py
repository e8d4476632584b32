"""Record, at every node, what it gave for the example input: without computing anything."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._pytree import tree_leaves, tree_map_only

from neuroexapt.errors import TraceError
from neuroexapt.graph.admission import by_name
from neuroexapt.graph.flops import counting
from neuroexapt.graph.inputs import Inputs
from neuroexapt.graph.leaf import Contents, Seen, contents, looked_into
from neuroexapt.graph.recall import (
    Key,
    OpaqueError,
    Outcome,
    call_key,
    describe,
    keeps_shape,
    like,
    outcome,
    recall,
    remember,
    settings,
)
from neuroexapt.graph.shield import shielded, without_cudnn
from neuroexapt.graph.state import preserve_state, restore_state
from neuroexapt.graph.tracing import trace_in_mode

CALLS = ("call_module", "call_function", "call_method")

NOT_FAKEABLE = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)
"""What fake tensors refuse: outcomes that depend on values, operators without a shape rule."""


@dataclass(frozen=True, eq=False)
class _Leaf:
    """A call of a user's module: what `Seen` says of it, and with which inputs it was."""

    node: fx.Node
    module: nn.Module
    inputs: Inputs
    contents: Contents | None
    described: Key | None
    outcome: Outcome | None


class _Recorder(fx.Interpreter):
    """Runs a graph and notes what every node gave, and what the leaves without a rule were given.

    What is known from an earlier call of the same kind isn't run. What is inside the leaves is
    recorded afterwards, since it runs a second time and a third.
    """

    def __init__(
        self, graph_module: fx.GraphModule, mode: FakeTensorMode, example: Mapping[str, Any]
    ) -> None:
        """`example` are the values of the graph's inputs, as far as they are known, by name."""
        super().__init__(graph_module)
        self.mode = mode
        self.example = example
        self.values: dict[int, torch.Tensor] = {}
        self.settings = settings()
        self.flops = 0
        self.leaves: list[_Leaf] = []
        self.zeroed: set[nn.Module] = set()

    def run_node(self, n: fx.Node) -> Any:
        before = self.flops
        result = self._call(n) if n.op in CALLS else self._held(n)
        n.meta["flops"] = self.flops - before
        n.meta["example"] = copy.copy(result) if isinstance(result, list) else result
        return result

    def _held(self, node: fx.Node) -> Any:
        """An input, an attribute or the output."""
        result = tree_map_only(torch.Tensor, self._twin, super().run_node(node))
        if node.op == "placeholder" and str(node.target) in self.example:
            given = self.example[str(node.target)]
            pairs = zip(tree_leaves(result), tree_leaves(given), strict=True)
            self.values |= {id(fake): value for fake, value in pairs}
        return result

    def _twin(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of its own, which needs no gradient, as views of a parameter do otherwise."""
        try:
            return like(tensor).fake(self.mode)
        except OpaqueError:
            with self.mode:
                return tensor.detach()

    def _call(self, node: fx.Node) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        module = self.fetch_attr(str(node.target)) if node.op == "call_module" else None
        if module is not None and looked_into(module):
            return self._call_leaf(node, module, Inputs(args, kwargs))
        if module is not None and keeps_shape(module, args, kwargs):
            return self._same_shape(args[0])
        key = call_key(node, module, args, kwargs)
        known = recall((key, self.settings)) if key is not None else None
        if known is not None:
            return self._again(known)
        result, flops = self._run(node)
        made = outcome(result, flops)
        if key is not None and made is not None and module not in self.zeroed:
            remember((key, self.settings), made)
        return tree_map_only(torch.Tensor, self._twin, result)

    def _call_leaf(self, node: fx.Node, module: nn.Module, inputs: Inputs) -> Any:
        """As last time if nothing changed; else run, and be looked into."""
        before, given = contents(module), describe((self.settings, inputs.args, inputs.kwargs))
        seen = node.meta.get("seen")
        if seen is not None and seen.outcome is not None and seen.of(before, given):
            node.meta["subgraphs"] = seen.graphs
            return self._again(seen.outcome)
        result, flops = self._run(node)
        made = outcome(result, flops) if module not in self.zeroed else None
        # One that counts its calls isn't the same afterwards.
        kept = before if before is not None and before.same(contents(module)) else None
        self.leaves.append(_Leaf(node, module, inputs, kept, given, made))
        return tree_map_only(torch.Tensor, self._twin, result)

    def _same_shape(self, tensor: torch.Tensor) -> torch.Tensor:
        """What a layer gives that keeps shape and type."""
        if type(tensor) is FakeTensor and tensor.device.type != "meta":
            made = torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")
            if made.stride() == tensor.stride():  # dense, in the usual order
                return FakeTensor(self.mode, made, tensor.device)
        with self.mode:
            return torch.empty_like(tensor)

    def _again(self, known: Outcome) -> Any:
        self.flops += known.flops
        return known.result(self.mode)

    def _run(self, node: fx.Node) -> tuple[Any, int]:
        """The result and the floating-point operations that it takes."""
        with self.mode, counting() as counter:
            result = super().run_node(node)
        flops = int(counter.get_total_flops())
        self.flops += flops
        return result, flops

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Run a module; one that fake tensors can't run, on values."""
        try:
            return super().call_module(target, args, kwargs)
        except NOT_FAKEABLE:
            module = self.fetch_attr(target)
            self.zeroed.add(module)
            return self._on_values(module, Inputs(args, kwargs))

    def _on_values(self, module: nn.Module, fake: Inputs) -> Any:
        """What a module gives for the model's inputs and else zeros, as fake tensors."""
        with unset_fake_temporarily():
            inputs = fake.map(
                lambda t: self.values.get(
                    id(t), torch.zeros(t.shape, dtype=t.dtype, device=t.device)
                )
            )
            output = module(*inputs.args, **inputs.kwargs)
        return tree_map_only(torch.Tensor, self.mode.from_tensor, output)

    def look_into_leaves(self) -> None:
        """Trace the leaves in each mode, and record the shapes inside them too."""
        for leaf in self.leaves:
            meta, seen = leaf.node.meta, leaf.node.meta.pop("seen", None)
            if seen is None or not seen.of(leaf.contents, leaf.described):
                meta["subgraphs"] = self._looked_into(leaf)
            if leaf.contents is not None and leaf.described is not None:
                made = leaf.outcome if meta["subgraphs"] else None  # else values may have a say
                meta["seen"] = Seen(leaf.contents, leaf.described, made, meta["subgraphs"])

    def _looked_into(self, leaf: _Leaf) -> tuple[fx.GraphModule, ...]:
        with self.mode:
            graphs = subgraphs(leaf.module, by_name(leaf.module, leaf.inputs))
        for graph_module in graphs:
            inside = _Recorder(graph_module, self.mode, {})
            inside.run(*ordered(graph_module, leaf.inputs))
            inside.look_into_leaves()
        return graphs


def subgraphs(leaf: nn.Module, example: Mapping[str, Any]) -> tuple[fx.GraphModule, ...]:
    """A leaf's graphs in train and in eval mode; none where it can't be traced."""
    try:
        return tuple(trace_in_mode(leaf, training, example) for training in (True, False))
    except TraceError:
        return ()


@shielded()
def record_shapes(graph_module: fx.GraphModule, inputs: Inputs) -> int:
    """Set `node.meta["example"]` to the fake output of every node, in eval mode.

    Beside it, `node.meta["flops"]` is what the node's call takes for all samples.

    Returns:
        Multiply-accumulates of one forward pass for one sample: convolutions, linear maps, matrix
        products, recurrent layers and attention.
    """
    state = preserve_state(graph_module)
    graph_module.eval()
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    recorder = _Recorder(graph_module, mode, by_name(graph_module, inputs))
    try:
        with torch.no_grad(), without_cudnn():
            recorder.run(*ordered(graph_module, inputs.map(mode.from_tensor)))
            recorder.look_into_leaves()
    finally:
        restore_state(state)
    return recorder.flops // 2 // inputs.batch_size


def ordered(graph_module: fx.GraphModule, inputs: Inputs) -> list[Any]:
    """Inputs in the order of the graph's placeholders."""
    names = [str(n.target) for n in graph_module.graph.nodes if n.op == "placeholder"]
    rest = names[len(inputs.args) :]
    return [*inputs.args, *(inputs.kwargs[name] for name in rest if name in inputs.kwargs)]
