"""The commands of `neuroexapt`, and what is said of those that aren't any."""

import shlex
from importlib.metadata import version
from typing import Annotated

import typer

from neuroexapt.cli.diagnose import EXAMPLES as DIAGNOSE_EXAMPLES
from neuroexapt.cli.diagnose import diagnose
from neuroexapt.cli.evolve import EXAMPLES as EVOLVE_EXAMPLES
from neuroexapt.cli.evolve import evolve
from neuroexapt.cli.grow import EXAMPLES as GROW_EXAMPLES
from neuroexapt.cli.grow import grow
from neuroexapt.cli.search import EXAMPLES as SEARCH_EXAMPLES
from neuroexapt.cli.search import search
from neuroexapt.cli.wording import complain, warnings_printed

app = typer.Typer(
    name="neuroexapt",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command(no_args_is_help=True, epilog=GROW_EXAMPLES)(grow)
app.command(no_args_is_help=True, epilog=SEARCH_EXAMPLES)(search)
app.command(no_args_is_help=True, epilog=EVOLVE_EXAMPLES)(evolve)
app.command(no_args_is_help=True, epilog=DIAGNOSE_EXAMPLES)(diagnose)


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


def run(given: list[str]) -> int:
    """Run the command line.

    Args:
        given: what follows `neuroexapt`.

    Returns:
        The exit code.
    """
    command = shlex.join(["neuroexapt", *given])
    try:
        with warnings_printed():
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
