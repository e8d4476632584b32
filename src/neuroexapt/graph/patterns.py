"""einops while a model is traced: its operations as those of torch that they consist of.

einops asks what it calls a backend for a tensor's shape and how to move it. What stands for tensors
while a model is traced gets one here, as long as a trace lasts. Nothing here needs einops to be
installed: a model that uses it has imported it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import fx, nn


@contextmanager
def following_einops() -> Iterator[None]:
    """Let einops take what is traced."""
    backends: Any = sys.modules.get("einops._backends")
    if backends is None:
        yield
        return
    backend = _traced_backend(backends.TorchBackend)
    known = backends._loaded_backends, backends._type2backend
    name = backend.framework_name
    previous = known[0].get(name)
    known[0][name] = backend
    try:
        yield
    finally:
        del known[0][name]
        if previous is not None:
            known[0][name] = previous
        for kind in [kind for kind, other in known[1].items() if other is backend]:
            del known[1][kind]


def operation(module: nn.Module) -> Callable[[Any], Any] | None:
    """What a layer of einops does, as a function that can be traced; None for all others."""
    layers: Any = sys.modules.get("einops.layers.torch")
    if layers is None or not isinstance(module, layers.Rearrange | layers.Reduce):
        return None
    base = layers.Reduce if isinstance(module, layers.Reduce) else layers.Rearrange
    if type(module).forward is not base.forward:
        return None
    layer: Any = module
    reduction = layer.reduction if base is layers.Reduce else "rearrange"
    reduce: Any = sys.modules["einops.einops"].reduce
    return lambda x: reduce(x, layer.pattern, reduction, **layer.axes_lengths)


@cache
def _traced_backend(of_torch: type) -> Any:
    """The backend for torch, for what is traced.

    einops keeps what it has worked out for a shape, unless a shape can't be hashed: this one's are
    lists, so that nothing of a trace outlives it.
    """

    class Backend(of_torch):  # type: ignore[misc]
        framework_name = "neuroexapt.traced"  # no module's: einops doesn't find it by itself

        def is_appropriate_type(self, tensor: Any) -> bool:
            return isinstance(tensor, fx.Proxy)

        def shape(self, x: Any) -> list[Any]:
            made = x.tracer.create_proxy
            return [made("call_method", "size", (x, dim), {}) for dim in range(x.tracer.ndim(x))]

        def is_float_type(self, x: Any) -> bool:  # noqa: ARG002 - torch refuses what isn't
            return True

    return Backend()
