"""`neuroexapt diagnose`: what keeps a search from finding anything good."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from neuroexapt.cli.failing import failing
from neuroexapt.cli.findings import by_severity, diagnoses_table, diagnosis_page
from neuroexapt.cli.remedies import merged, with_settings
from neuroexapt.errors import DataError, RunError
from neuroexapt.runs import read_search
from neuroexapt.search import (
    ASOSEDiagnostics,
    Diagnosis,
    SearchHistory,
    SearchRun,
    read_runs,
)

EXAMPLES = """[bold]Examples[/]

  neuroexapt diagnose runs/found

  neuroexapt diagnose darts_logs.json

  neuroexapt diagnose darts_logs.json --run 3 --majority 0.1

  neuroexapt diagnose darts_logs.json --epochs 50 --json
"""


def diagnose(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="The folder of a search, or a log of searches in JSON, as RobustDARTS has "
            "published them.",
            show_default=False,
        ),
    ],
    run: Annotated[
        int | None,
        typer.Option(metavar="N", min=0, help="Only this one of a log's searches, from 0 on."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Epochs that searches have when they are through, where the log doesn't say.",
        ),
    ] = None,
    majority: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            min=0.0,
            max=1.0,
            help="Share of the most frequent class, as 0.1 for ten even ones: who gets no more "
            "right has learnt nothing. A search's folder knows its own.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Look for what is known to go wrong in differentiable architecture search.

    Searches that still go on are judged by what is there.

    The exit code is 1 if something critical is found.
    """
    with failing(2):
        subjects = _subjects(path, run, epochs)
    diagnostics = ASOSEDiagnostics()
    found = [diagnostics.diagnose(subject, majority=majority) for subject in subjects]
    is_run = path.is_dir()
    if is_run:
        found = [with_settings(diagnosis, f"search {path}") for diagnosis in found]
    is_critical = any(diagnosis.is_critical for diagnosis in found)
    console = Console(highlight=False)  # which leaves quietly when its reader does
    if as_json:
        told = [json.loads(diagnosis.model_dump_json()) for diagnosis in found]
        print(
            json.dumps({"path": str(path), "is_critical": is_critical, "diagnoses": told}, indent=2)
        )
    else:
        _show(console, path, found, is_run=is_run)
    if is_critical:
        raise typer.Exit(1)


def _subjects(
    path: Path, run: int | None, epochs: int | None
) -> Sequence[SearchRun | SearchHistory]:
    """What there is to diagnose.

    Raises:
        DataError: if a log can't be read, or has no such run.
        RunError: if a folder holds no search, or is asked for one of several.
    """
    if path.is_dir():
        if run is not None or epochs is not None:
            raise RunError(
                "a folder holds one search and knows its epochs; leave out --run, --epochs"
            )
        return [read_search(path)]
    runs = read_runs(path, epochs)
    if run is None:
        return runs
    if run >= len(runs):
        raise DataError(f"{path} has no run {run}; its runs are 0 to {len(runs) - 1}")
    return [runs[run]]


def _tell_file(console: Console, found: Diagnosis) -> None:
    """Print all remedies as one file of settings."""
    worst_first = found.with_severity("critical", "warning", "notice")
    settings = merged(finding.remedy for finding in sorted(worst_first, key=by_severity))
    if settings:
        told = "  all of it in a file, for neuroexapt search DATA --config FILE:"
        console.print(told, style="dim")
        console.print(Padding(Text(settings), (0, 4)))


def _show(console: Console, path: Path, found: Sequence[Diagnosis], *, is_run: bool) -> None:
    if len(found) == 1:
        console.print(diagnosis_page(found[0]))
        if is_run:
            _tell_file(console, found[0])
        return
    console.print(diagnoses_table(found))
    console.print(
        f"  each in full: neuroexapt diagnose {shlex.quote(str(path))} --run N", style="dim"
    )
