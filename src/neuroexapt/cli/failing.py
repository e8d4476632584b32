"""How a command ends where something is refused."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from neuroexapt.cli.wording import complain
from neuroexapt.errors import NeuroexaptError


@contextmanager
def failing(code: int) -> Iterator[None]:
    """End with an exit code and a line on stderr where something is refused inside."""
    try:
        yield
    except NeuroexaptError as error:
        complain(str(error))
        raise typer.Exit(code) from error
