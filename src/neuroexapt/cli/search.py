"""`neuroexapt search`: find an architecture by differentiable search."""

import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neuroexapt.cli.failing import failing, stoppable
from neuroexapt.cli.options import (
    LIMITS,
    TO_BEGIN,
    Amp,
    Config,
    Data,
    DataDir,
    Device,
    ImageSize,
    Out,
    Resume,
    Seed,
    Threads,
    named,
    refuse_to_resume_with,
)
from neuroexapt.cli.searched import SearchPage
from neuroexapt.errors import RunError
from neuroexapt.runs import (
    METHODS,
    SPACES,
    SearchSummary,
    TrackedSearch,
    configure_search,
    read_settings,
    reopen_search,
    start_search,
)

EXAMPLES = """[bold]Examples[/]

  neuroexapt search digits

  neuroexapt search cifar10 --space nasbench201 --epochs 40 --out runs/cells

  neuroexapt search cifar10 --method original --seed 1

  neuroexapt search photos/ --image-size 32 --space my_models:small_net

  neuroexapt search --resume runs/cells

  neuroexapt diagnose runs/cells
"""


def search(
    context: typer.Context,
    data: Data = None,
    data_dir: DataDir = None,
    image_size: ImageSize = None,
    space: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PKG.MOD:FACTORY",
            help=f"What is searched: {', '.join(SPACES)}, or the convolutions (where it has none, "
            "the linear layers) of a model of yours.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"How: {', '.join(METHODS)}.", rich_help_panel=TO_BEGIN),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Channels of the space's first cells.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    seed: Seed = None,
    config: Config = None,
    out: Out = None,
    resume: Resume = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            help="Epochs, those of training on at the end included; without it, what suits the "
            "data.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_flops: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Training FLOPs to stop at, as 2e13; training on takes what the search leaves.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    no_growth: Annotated[
        bool,
        typer.Option(
            "--no-growth",
            help="Search the network as it is, also where its accuracy has stopped rising.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = False,
    measure_every: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="Measure what diagnose looks at in every so many epochs of searching, 0 for "
            "never; without it, about nine times. It changes nothing in what is found.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    device: Device = None,
    amp: Amp = False,
    threads: Threads = None,
) -> None:
    """Search for the operations that a network should be made of, and train what is found.

    Weights and architecture are trained on data of their own. The search is kept in a folder.

    However it was broken off, --resume goes on to the same result; diagnose says if it is stuck.
    """
    # A user's model is a file in the current folder, which an installed command doesn't look into.
    sys.path.insert(0, str(Path.cwd()))
    options = named(
        data=data,
        data_dir=str(data_dir) if data_dir is not None else None,
        image_size=image_size,
        space=space,
        method=method,
        channels=channels,
        seed=seed,
        epochs=epochs,
        max_flops=max_flops,
        measure_every=measure_every,
        growth=False if no_growth else None,
        amp=amp or None,
    )
    with failing(2):
        if resume is not None:
            found = _resumed(resume, options | named(config=config, out=out), device, threads)
        else:
            options |= named(device=device, threads=threads)
            found = _started(options, config, out, context.obj)
    if isinstance(found, SearchSummary):
        print(f"the search in {resume} is over: {found.stopped}; see {resume}/summary.json")
        return
    with failing(1), stoppable(found.folder.path, "search"):
        found.finish(SearchPage(Console(highlight=False)))


def _started(
    options: dict[str, Any], file: Path | None, out: Path | None, command: str
) -> TrackedSearch:
    settings = read_settings(file) if file is not None else {}
    if not {"data"} & (options.keys() | settings.keys()):
        raise RunError(
            "DATA is missing: give digits, cifar10, cifar100 or a folder of images, or data in "
            "the file of --config"
        )
    config = configure_search(
        settings | options, str(file) if file is not None else "the command line"
    )
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"search-{Path(config.data).name}-seed{config.seed}-{moment}"
    return start_search(config, out if out is not None else Path("runs", name), command)


def _resumed(
    path: Path, given: Mapping[str, Any], device: str | None, threads: int | None
) -> TrackedSearch | SearchSummary:
    refuse_to_resume_with(given, "--device and --threads")
    return reopen_search(path, device, threads)
