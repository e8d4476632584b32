"""How a command ends where something is refused, or it is stopped."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from neuroexapt.cli.interrupt import CODE, interrupts_raised
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


@contextmanager
def stoppable(folder: Path, command: str) -> Iterator[None]:
    """Say how to go on where the user stops a run, or whatever reads its output does.

    Args:
        folder: the run's.
        command: of `neuroexapt`, which goes on with it.
    """
    again = f"neuroexapt {command} --resume {shlex.quote(str(folder))}"
    kept = f"the run is kept up to its newest checkpoint, go on with: {again}"
    try:
        with interrupts_raised():
            yield
    except KeyboardInterrupt as error:
        complain(f"interrupted; {kept}")
        raise typer.Exit(CODE) from error
    except OSError as error:
        if error.filename is not None:
            raise  # a file's, not that of stdout
        complain(f"stdout cannot be written ({error.strerror}); {kept}")
        # Python would try again as it ends, and say so.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(1) from error
