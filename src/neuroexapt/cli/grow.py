"""`neuroexapt grow`: train a network that grows."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    MaxLatency,
    MaxMacs,
    MaxParams,
    Model,
    Out,
    RecipeName,
    Resume,
    Seed,
    Threads,
    named,
    refuse_to_resume_with,
    within,
)
from neuroexapt.cli.plain import Plain
from neuroexapt.cli.terminal import Terminal
from neuroexapt.errors import RunError
from neuroexapt.growth import POLICIES
from neuroexapt.runs import (
    Reporter,
    Run,
    Summary,
    configure,
    read_settings,
    reopen,
    start,
)

EXAMPLES = """[bold]Examples[/]

  neuroexapt grow digits

  neuroexapt grow cifar10 --max-flops 2e13 --seed 1 --out runs/cifar

  neuroexapt grow photos/ --image-size 32 --model my_models:small_net

  neuroexapt grow --resume runs/cifar
"""


def grow(
    context: typer.Context,
    data: Data = None,
    data_dir: DataDir = None,
    image_size: ImageSize = None,
    model: Model = None,
    recipe: RecipeName = None,
    seed: Seed = None,
    config: Config = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"What decides where it grows: {', '.join(POLICIES)}.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    timing: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="What decides when: periodic, plateau, or gain (as soon as it pays).",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    no_growth: Annotated[
        bool,
        typer.Option("--no-growth", help="Train the network as it is.", rich_help_panel=TO_BEGIN),
    ] = False,
    out: Out = None,
    resume: Resume = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="Epochs to train; without it, what suits the data or --max-flops allows.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_flops: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Training FLOPs to stop at, growth included, as 2e13.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_latency_ms: MaxLatency = None,
    device: Device = None,
    amp: Amp = False,
    threads: Threads = None,
) -> None:
    """Train a small network on images, and let it grow while it trains.

    The run is kept in a folder: settings, events, checkpoints and a summary.

    However it was broken off, --resume goes on to the same result.
    """
    # A user's model is a file in the current folder, which an installed command doesn't look into.
    sys.path.insert(0, str(Path.cwd()))
    given = {
        "data": data,
        "data_dir": str(data_dir) if data_dir is not None else None,
        "image_size": image_size,
        "model": model,
        "recipe": recipe,
        "epochs": epochs,
        "seed": seed,
        "max_params": max_params,
        "max_macs": max_macs,
        "max_latency_ms": max_latency_ms,
        "max_flops": max_flops,
        "config": config,
        "out": out,
        "amp": amp or None,
        "growth": False if no_growth else None,
        "policy": policy,
        "timing": timing,
    }
    options = {name: value for name, value in given.items() if value is not None}
    with failing(2):
        run = (
            _resumed(resume, options, device, threads)
            if resume is not None
            else _started(options | named(device=device, threads=threads), context.obj)
        )
    if isinstance(run, Summary):
        print(f"the run in {resume} is over: {run.stopped}; see {resume}/summary.json")
        return
    with failing(1), stoppable(run.folder.path, "grow"), _reporter() as reporter:
        run.finish(reporter)


def _started(options: dict[str, Any], command: str) -> Run:
    file, out = options.pop("config", None), options.pop("out", None)
    settings = read_settings(file) if file is not None else {}
    if "recipe" in options:
        settings = within(settings, "recipe", base=options.pop("recipe"))
    if options.pop("amp", False):
        settings = within(settings, "recipe", amp=True)
    growing = {name: options.pop(name) for name in ("policy", "timing") if name in options}
    if growing and False in (options.get("growth"), settings.get("growth")):
        raise RunError("--no-growth leaves nothing to decide; leave out --policy and --timing")
    settings = within(settings, "growth", **growing) if growing else settings
    settings |= options
    if "data" not in settings:
        raise RunError(
            "DATA is missing: give digits, cifar10, cifar100 or a folder of images, or data in "
            "the file of --config"
        )
    config = configure(settings, str(file) if file is not None else "the command line")
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"{Path(config.data).name}-seed{config.seed}-{moment}"
    return start(config, out if out is not None else Path("runs", name), command)


def _resumed(
    path: Path, options: dict[str, Any], device: str | None, threads: int | None
) -> Run | Summary:
    refuse_to_resume_with(options, "--device and --threads")
    return reopen(path, device, threads)


@contextmanager
def _reporter() -> Iterator[Reporter]:
    console = Console()
    if console.is_terminal:
        with Terminal(console) as terminal:
            yield terminal
    else:
        yield Plain()
