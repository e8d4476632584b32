"""What stands for tensors, sizes and numbers while a `forward` is traced."""

from typing import Any

from torch import fx
from torch.fx.proxy import Attribute


class _Counted:
    """Has a length, and is a number, where its tracer knows which."""

    def __len__(self) -> int:
        return int(_tracer(self).length(self))

    def __index__(self) -> int:
        return int(_tracer(self).index(self))

    # Without these, Python would take the index, and its errors would speak of one.
    def __int__(self) -> int:
        return int(self._number("int"))

    def __float__(self) -> float:
        return float(self._number("float"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def _number(self, kind: str) -> int:
        try:
            return int(_tracer(self).index(self))
        except TypeError:
            raise TypeError(f"{kind}() of what isn't known while tracing") from None


class Traced(_Counted, fx.Proxy):
    """A traced outcome."""

    def __getattr__(self, name: str) -> "TracedAttribute":
        return TracedAttribute(self, name)


class TracedAttribute(_Counted, Attribute):
    """An attribute of a traced outcome, such as its shape."""

    def __getattr__(self, name: str) -> "TracedAttribute":
        return TracedAttribute(self, name)


class Parts(Traced):
    """A traced outcome of which the call itself says into how many parts it comes."""

    def __init__(self, node: fx.Node, tracer: fx.Tracer, count: int) -> None:
        super().__init__(node, tracer)
        self.count = count

    def __len__(self) -> int:
        return self.count


def _tracer(proxy: Any) -> Any:
    return proxy.tracer
