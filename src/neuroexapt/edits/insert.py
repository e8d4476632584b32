"""Insert operations into a copied graph."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroexapt.edits.carry import resembling
from neuroexapt.edits.rewrite import Ancestry, Rewrite, copied
from neuroexapt.edits.silence import Liveness
from neuroexapt.graph import LivingModel
from neuroexapt.graph.assemble import Attribute, attribute


@dataclass
class Insertion:
    """A graph under construction: where the next node goes, and the modules that it calls.

    Attributes:
        living: the model before.
        prefix: qualified name that new modules share, such as "edit3".
        graph: the copy that is changed.
        modules: new modules by path.
        nodes: the graph's nodes by name.
        liveness: which of the model's nodes have a say.
        norm_ranks: ranks of what the model's batch norms give.
    """

    living: LivingModel
    prefix: str
    graph: fx.Graph
    modules: dict[str, nn.Module] = field(default_factory=dict)
    dtypes: dict[str, torch.dtype | None] = field(default_factory=dict)
    nodes: dict[str, fx.Node] = field(init=False)

    def __post_init__(self) -> None:
        """Know the nodes by name: many edits may look for theirs."""
        self.nodes = {node.name: node for node in self.graph.nodes}

    @cached_property
    def liveness(self) -> Liveness:
        """Looked at once for all edits that go into the graph."""
        return Liveness.of(self.living)

    @cached_property
    def norm_ranks(self) -> frozenset[int]:
        """Likewise."""
        calls = (n for n in self.living.graph_module.graph.nodes if n.op == "call_module")
        norms = (node for node in calls if self._is_batch_norm(node))
        outputs = (self.living.example_output(node) for node in norms)
        return frozenset(output.ndim for output in outputs if isinstance(output, Tensor))

    def _is_batch_norm(self, node: fx.Node) -> bool:
        module = self.living.graph_module.get_submodule(str(node.target))
        return isinstance(module, nn.modules.batchnorm._BatchNorm)

    @classmethod
    def into(cls, living: LivingModel) -> "Insertion":
        """Start on a copy of a model's graph."""
        prefix = f"edit{len(living.edits)}"
        while hasattr(living, prefix):  # a part of the user's own
            prefix += "_"
        return cls(living, prefix, copied(living.graph_module.graph))

    def node(self, name: str) -> fx.Node:
        """The copied or inserted node of that name."""
        return self.nodes[name]

    def call(self, after: fx.Node, name: str, module: nn.Module, *inputs: fx.Node) -> fx.Node:
        """Call a new module right after a node."""
        path = f"{self.prefix}.{name}"
        module.train(self.living.training)
        self.modules[path] = module
        self.dtypes[path] = self._dtype_of(inputs)
        return self._create(after, "call_module", path, name, inputs)

    def _dtype_of(self, inputs: Iterable[fx.Node]) -> torch.dtype | None:
        """The floating-point type of what a new module reads, as far back as it is known."""
        for node in inputs:
            example = node.meta.get("example")
            if isinstance(example, Tensor) and example.is_floating_point():
                return example.dtype
        behind = [node for item in inputs for node in item.all_input_nodes]
        return self._dtype_of(behind) if behind else None

    def apply(self, after: fx.Node, name: str, function: Any, *inputs: Any) -> fx.Node:
        """Call a function right after a node."""
        return self._create(after, "call_function", function, name, inputs)

    def _create(
        self, after: fx.Node, op: str, target: Any, name: str, inputs: tuple[Any, ...]
    ) -> fx.Node:
        with self.graph.inserting_after(after):
            made = self.graph.create_node(op, target, inputs, {}, name=f"{self.prefix}_{name}")
        self.nodes[made.name] = made
        return made

    def parts(self) -> dict[str, nn.Module]:
        """The new modules by path, on the model's device and of the type of what they read."""
        example = next(iter(self.living.parameters()), None)
        if example is not None:
            for path, module in self.modules.items():
                module.to(device=example.device, dtype=self.dtypes.get(path) or example.dtype)
        return dict(self.modules)

    def finish(self, near: Sequence[Tensor]) -> Rewrite:
        """The rewrite; new parameters take the optimiser settings of those in `near`."""
        replaced: dict[str, Attribute] = {**self.parts()}
        ancestry = tuple(
            Ancestry(f"{path}.{name}", parameter, like=resembling(self.living, parameter, near))
            for path, module in self.modules.items()
            for name, parameter in module.named_parameters()
        )
        return Rewrite(self.graph, replaced, ancestry)


def replace_uses(old: fx.Node, new: fx.Node, keep: Sequence[fx.Node]) -> None:
    """Everything that read `old` reads `new`, except the nodes in `keep`."""
    old.replace_all_uses_with(new, delete_user_cb=lambda user: user not in keep)


def settled(node: fx.Node) -> fx.Node:
    """The node itself, or the last in-place operation that overwrites its output."""
    while True:
        writers = [user for user in node.users if is_in_place(user) and user.args[0] is node]
        if not writers:
            return node
        node = max(writers)  # nodes are ordered as in their graph


def is_in_place(node: fx.Node) -> bool:
    """Whether an operation overwrites its first input."""
    if node.op == "call_module":
        owner = node.graph.owning_module
        module = owner.get_submodule(str(node.target)) if owner is not None else None
        return bool(getattr(module, "inplace", False))
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    if node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        in_place_operator = name in ("iadd", "isub", "imul", "itruediv")
        return in_place_operator or name.endswith("_") or bool(node.kwargs.get("inplace", False))
    return False


def parameters_near(living: LivingModel, node: fx.Node) -> list[Tensor]:
    """Parameters of a node and of those before it, the nearest first."""
    found: list[Tensor] = []
    waiting, seen = deque([node]), {node}
    while waiting:
        current = waiting.popleft()
        if current.op == "call_module":
            found += living.graph_module.get_submodule(str(current.target)).parameters()
        elif current.op == "get_attr":
            part = attribute(living.graph_module, str(current.target))
            found += [part] if isinstance(part, nn.Parameter) else []
        waiting.extend(n for n in current.all_input_nodes if n not in seen)
        seen.update(current.all_input_nodes)
    return found
