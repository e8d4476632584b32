"""The command `neuroexapt`, and what its exit codes mean.

0: all went well. 1: a run failed, as by a loss that is no longer finite or a full disk. 2: the
command line, the settings, the data or the model can't be used. 130: interrupted from the keyboard.
"""

import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from neuroexapt.cli.grow import EXAMPLES, grow
from neuroexapt.cli.wording import complain

app = typer.Typer(
    name="neuroexapt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(no_args_is_help=True, epilog=EXAMPLES)(grow)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"neuroexapt {version('neuroexapt')}")
        raise typer.Exit


@app.callback()
def _neuroexapt(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Neural networks that grow while they train."""


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        args: what follows `neuroexapt`; None for what the process was started with.

    Returns:
        The exit code.
    """
    given = list(sys.argv[1:] if args is None else args)
    command = shlex.join(["neuroexapt", *given])
    try:
        code = app(given, prog_name="neuroexapt", standalone_mode=False, obj=command)
    except typer.TyperException as error:
        message = error.format_message().replace("Value error, ", "")
        if message:  # none where the help was asked for by giving nothing
            complain(f"{message}{'' if message[-1] in '.?' else '.'} See {_helpful(given)}")
        return 2
    return code if isinstance(code, int) else 0


def _helpful(given: list[str]) -> str:
    """The command whose help explains these arguments."""
    known = {command.callback.__name__ for command in app.registered_commands if command.callback}
    return " ".join(["neuroexapt", *[name for name in given[:1] if name in known], "--help"])
