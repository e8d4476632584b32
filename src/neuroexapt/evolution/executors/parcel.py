"""Values as bytes, to be sent to other processes."""

import io
import pickle
from dataclasses import dataclass, fields, is_dataclass
from types import ModuleType
from typing import Any
from uuid import uuid4

import torch

from neuroexapt.errors import EvolutionError

UNSENDABLE = (
    pickle.PickleError,
    TypeError,
    AttributeError,
    ImportError,
    ValueError,
    LookupError,
    RuntimeError,
    OSError,
    EOFError,
)
"""What pickling and unpickling raise for values that don't take part."""


@dataclass(frozen=True, eq=False)
class Parcel:
    """A value that all tasks share, packed.

    Attributes:
        token: tells it from every other one.
        content: bytes, or where they are.
    """

    token: str
    content: Any

    @classmethod
    def of(cls, content: Any) -> "Parcel":
        """Give what is packed a token of its own."""
        return cls(uuid4().hex, content)


def pack(value: Any, pickler: ModuleType = pickle) -> bytes:
    """A value as bytes.

    By `torch.save`, since pickle alone would write for each batch that is a view of a tensor all of
    that tensor.

    Args:
        value: to pack.
        pickler: a module like `pickle`.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer, pickle_module=pickler, pickle_protocol=pickle.HIGHEST_PROTOCOL)
    return buffer.getvalue()


def unpack(packed: Any) -> Any:
    """The value again, which shares nothing with the bytes."""
    return torch.load(io.BytesIO(packed), weights_only=False)


def packed_for_workers(value: Any, remedy: str, pickler: ModuleType = pickle) -> bytes:
    """A value as bytes.

    Raises:
        EvolutionError: with the remedy, naming the dataclass's fields that can't be packed.
    """
    try:
        return pack(value, pickler)
    except UNSENDABLE as error:
        raise EvolutionError(
            f"{_culprits(value, pickler)} can't be sent to other processes ({error}); {remedy}"
        ) from error


def _culprits(value: Any, pickler: ModuleType) -> str:
    parts = (
        {field.name: getattr(value, field.name) for field in fields(value)}
        if is_dataclass(value)
        else {}
    )
    found = [_described(n, part) for n, part in parts.items() if not _is_sendable(part, pickler)]
    return " and ".join(found) or f"a {type(value).__qualname__}"


def _described(name: str, part: Any) -> str:
    kind = getattr(part, "__qualname__", None) or type(part).__qualname__
    return f"{name} ({kind})"


def _is_sendable(part: Any, pickler: ModuleType) -> bool:
    try:
        pack(part, pickler)
    except UNSENDABLE:
        return False
    return True
