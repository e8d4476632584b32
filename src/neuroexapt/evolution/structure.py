"""Whether two networks are built alike, whatever their parts are called."""

import hashlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, fx, nn

from neuroexapt.graph import LivingModel
from neuroexapt.graph.assemble import attribute


def structure_key(living: LivingModel) -> str:
    """A digest that is equal for networks of equal structure.

    Each node's digest is made from what it computes, the shapes of its parameters and the digests
    of its inputs; the network's is that of its outputs. So neither names, weights nor the order in
    which edits came have a part in it.

    Returns:
        32 hexadecimal digits.

    Source: Merkle's hash trees, over the graph instead of a tree.
    """
    digests: dict[fx.Node, str] = {}
    inputs = 0
    for node in living.graph_module.graph.nodes:
        what = list(_described(node, living.graph_module))
        if node.op == "placeholder":
            what.append(str(inputs))
            inputs += 1
        what += _arguments((node.args, node.kwargs), digests)
        digests[node] = hashlib.sha256("\0".join(what).encode()).hexdigest()[:32]
    return digests[node]


def _described(node: fx.Node, graph_module: fx.GraphModule) -> Iterator[str]:
    yield node.op
    match node.op:
        case "call_module":
            module = graph_module.get_submodule(str(node.target))
            yield type(module).__qualname__
            yield module.extra_repr()
            yield from _inside(module)
        case "get_attr":
            value = attribute(graph_module, str(node.target))
            yield (
                f"{tuple(value.shape)} {value.dtype}" if isinstance(value, Tensor) else repr(value)
            )
        case "call_function":
            home = getattr(node.target, "__module__", "")
            yield f"{home}.{getattr(node.target, '__name__', '')}"
        case "call_method":
            yield str(node.target)


def _inside(module: nn.Module) -> Iterator[str]:
    for name, part in module.named_modules():
        if name:
            yield f"{name} {type(part).__qualname__} {part.extra_repr()}"
    for name, parameter in module.named_parameters():
        yield f"{name} {tuple(parameter.shape)} {parameter.requires_grad}"


def _arguments(value: Any, digests: dict[fx.Node, str]) -> Iterator[str]:
    if isinstance(value, fx.Node):
        yield digests[value]
    elif isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from _arguments(item, digests)
    elif isinstance(value, tuple | list):
        yield "("
        for item in value:
            yield from _arguments(item, digests)
        yield ")"
    elif isinstance(value, slice):
        yield from _arguments((value.start, value.stop, value.step), digests)
    else:
        yield repr(value)
