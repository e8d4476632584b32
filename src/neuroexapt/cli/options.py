"""Options that mean the same in every command that makes a run."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from neuroexapt.errors import RunError
from neuroexapt.runs.config import recipe_table
from neuroexapt.training import MODELS, RECIPES

TO_BEGIN = "The run"
LIMITS = "Its end and its limits"
MACHINE = "Where it runs"
_TYPED = {"data": "DATA", "growth": "--no-growth"}


def whole(text: str | int) -> int:
    """A whole number, also as 3e5 or 300_000.

    Raises:
        ValueError: if it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():
        raise ValueError(f"{text} is no whole number; give one as 300000 or 3e5")
    return int(number)


def within(settings: dict[str, Any], part: str, **values: Any) -> dict[str, Any]:
    """Settings with values set within a table; one that is no table is left for `configure`."""
    table = settings.get(part)
    if part == "recipe":
        table = recipe_table(table)
    if not isinstance(table, dict | None):
        return settings
    return settings | {part: (table or {}) | values}


def named(**options: Any) -> dict[str, Any]:
    """Those options that are given."""
    return {name: value for name, value in options.items() if value is not None}


def refuse_to_resume_with(given: Iterable[str], may_change: str) -> None:
    """Refuse options that a resumed run can't take.

    Args:
        given: their names.
        may_change: those that it can, in words.

    Raises:
        RunError: naming them, as they are typed.
    """
    typed = [_TYPED.get(name, f"--{name.replace('_', '-')}") for name in given]
    if typed:
        raise RunError(
            f"--resume goes on with the run's own settings, of which only {may_change} may change; "
            f"leave out {', '.join(typed)}"
        )


Data: TypeAlias = Annotated[
    str | None,
    typer.Argument(
        metavar="DATA",
        help="digits, cifar10, cifar100, or a folder with one folder of images for each class.",
        show_default=False,
    ),
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Where the data lies; without it, CIFAR is downloaded.",
        rich_help_panel=TO_BEGIN,
    ),
]
ImageSize: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="PX",
        min=1,
        help="Side in pixels of the square that a folder's images are brought to.",
        rich_help_panel=TO_BEGIN,
    ),
]
Model: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|PKG.MOD:FACTORY",
        help=f"The network to begin with: {', '.join(MODELS)}, or one of yours.",
        rich_help_panel=TO_BEGIN,
    ),
]
RecipeName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help=f"How it is trained: {', '.join(RECIPES)}; without it, as suits the data.",
        rich_help_panel=TO_BEGIN,
    ),
]
Seed: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="S", min=0, help="Of every random choice.", rich_help_panel=TO_BEGIN),
]
Config: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Settings in TOML or JSON; options given here override them.",
        rich_help_panel=TO_BEGIN,
    ),
]
Out: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the run, new or empty; without it, one in runs/.",
        rich_help_panel=TO_BEGIN,
    ),
]
Resume: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Go on with the run in this folder, or from one of its checkpoints.",
        rich_help_panel=TO_BEGIN,
    ),
]
MaxParams: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole,
        help="Parameters that growth never passes.",
        rich_help_panel=LIMITS,
    ),
]
MaxMacs: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        parser=whole,
        help="Multiply-accumulates for one image that growth never passes.",
        rich_help_panel=LIMITS,
    ),
]
MaxLatency: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="MS",
        help="Milliseconds for one image that no network takes, as measured here.",
        rich_help_panel=LIMITS,
    ),
]
Amp: TypeAlias = Annotated[
    bool, typer.Option("--amp", help="Train in half precision.", rich_help_panel=MACHINE)
]
Device: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="cpu, cuda, ...; without it, the best.", rich_help_panel=MACHINE
    ),
]
Threads: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="CPU threads; another number may round differently.",
        rich_help_panel=MACHINE,
    ),
]
