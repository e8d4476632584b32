"""Function calls whose constants follow train and eval mode."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn


class ByMode(nn.Module):
    """Calls a function with constants that depend on the mode.

    Tracing freezes `self.training`; a call such as `F.dropout(x, p, self.training)` becomes one of
    these, so that train and eval keep their meaning.
    """

    def __init__(
        self, function: Callable[..., Any], constants: Mapping[int | str, tuple[Any, Any]]
    ) -> None:
        """Remember which inputs differ: place -> (value in train mode, value in eval mode)."""
        super().__init__()
        self.function = function
        self.constants = dict(constants)

    def with_constants(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], training: bool
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The inputs with the mode's constants in their places."""
        positional, named = list(args), dict(kwargs)
        for place, values in self.constants.items():
            value = values[0] if training else values[1]
            if isinstance(place, int):
                positional[place] = value
            else:
                named[place] = value
        return tuple(positional), named

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with the present mode's constants."""
        positional, named = self.with_constants(args, kwargs, self.training)
        return self.function(*positional, **named)

    def extra_repr(self) -> str:
        """The function and what differs."""
        return f"{getattr(self.function, '__name__', self.function)}, {self.constants}"
