"""`neuroexapt evolve`: a front of networks to pick from."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from neuroexapt.cli.evolved import EvolutionPage, EvolutionTerminal
from neuroexapt.cli.failing import failing, stoppable
from neuroexapt.cli.options import (
    LIMITS,
    MACHINE,
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
from neuroexapt.errors import RunError
from neuroexapt.growth import POLICIES
from neuroexapt.runs import (
    EvolutionReporter,
    EvolutionSummary,
    TrackedEvolution,
    configure_evolution,
    read_settings,
    reopen_evolution,
    start_evolution,
)

EXAMPLES = """[bold]Examples[/]

  neuroexapt evolve digits

  neuroexapt evolve cifar10 --objectives error,latency --max-flops 5e13 --out runs/front

  neuroexapt evolve photos/ --image-size 32 --model my_models:small_net --max-params 300000

  neuroexapt evolve --resume runs/front
"""


def evolve(
    context: typer.Context,
    data: Data = None,
    data_dir: DataDir = None,
    image_size: ImageSize = None,
    validation: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the data that is held out, to judge networks by.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    model: Model = None,
    recipe: RecipeName = None,
    seed: Seed = None,
    config: Config = None,
    objectives: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="What is to become small: any of error, macs, params, latency.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Networks of a population.", rich_help_panel=TO_BEGIN),
    ] = None,
    children: Annotated[
        int | None,
        typer.Option(metavar="N", help="Networks born a generation.", rich_help_panel=TO_BEGIN),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"What mutations are drawn from: {', '.join(POLICIES)}.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    pick: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which network of the front is the run's: knee, accurate, small or fast.",
            rich_help_panel=TO_BEGIN,
        ),
    ] = None,
    out: Out = None,
    resume: Resume = None,
    max_flops: Annotated[
        float | None,
        typer.Option(
            metavar="F",
            help="Training FLOPs of all networks together, as 5e13; without it, what suits "
            "the digits, or what 500 epochs of the first network take.",
            rich_help_panel=LIMITS,
        ),
    ] = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    max_latency_ms: MaxLatency = None,
    device: Device = None,
    amp: Amp = False,
    threads: Threads = None,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that breed and train; the result is the same.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Breed and train on this Ray cluster, or local.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            help="GPUs that Ray reserves for a process: with 0.25 four share one; by default one "
            "where the device is cuda.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
) -> None:
    """Let a population of networks evolve, all grown from one, and get a front to pick from.

    Children have their parents' weights. front.html shows what accuracy is to be had at what cost.

    However it was broken off, --resume goes on to the same result.
    """
    # A user's model is a file in the current folder, which an installed command doesn't look into.
    sys.path.insert(0, str(Path.cwd()))
    options = named(
        data=data,
        data_dir=str(data_dir) if data_dir is not None else None,
        image_size=image_size,
        validation=validation,
        model=model,
        recipe=recipe,
        seed=seed,
        objectives=[name.strip() for name in objectives.split(",")]
        if objectives is not None
        else None,
        size=size,
        children=children,
        policy=policy,
        pick=pick,
        max_flops=max_flops,
        max_params=max_params,
        max_macs=max_macs,
        max_latency_ms=max_latency_ms,
        amp=amp or None,
    )
    machine = named(
        device=device,
        threads=threads,
        workers=workers,
        ray_address=ray_address,
        gpus_per_worker=gpus_per_worker,
    )
    with failing(2):
        if resume is not None:
            found = _resumed(resume, options | named(config=config, out=out), machine)
        else:
            found = _started(options | machine, config, out, context.obj)
    if isinstance(found, EvolutionSummary):
        print(f"the evolution in {resume} is over: {found.stopped}; see {resume}/front.html")
        return
    with failing(1), stoppable(found.folder.path, "evolve"), _reporter() as reporter:
        found.finish(reporter)


def _started(
    options: dict[str, Any], file: Path | None, out: Path | None, command: str
) -> TrackedEvolution:
    settings = read_settings(file) if file is not None else {}
    if not {"data"} & (options.keys() | settings.keys()):
        raise RunError(
            "DATA is missing: give digits, cifar10, cifar100 or a folder of images, or data in "
            "the file of --config"
        )
    if "recipe" in options:
        settings = within(settings, "recipe", base=options.pop("recipe"))
    config = configure_evolution(
        settings | options, str(file) if file is not None else "the command line"
    )
    moment = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    name = f"evolve-{Path(config.data).name}-seed{config.seed}-{moment}"
    return start_evolution(config, out if out is not None else Path("runs", name), command)


def _resumed(
    path: Path, options: dict[str, Any], machine: dict[str, Any]
) -> TrackedEvolution | EvolutionSummary:
    refuse_to_resume_with(
        options, "--device, --threads, --workers, --ray-address and --gpus-per-worker"
    )
    return reopen_evolution(path, **machine)


@contextmanager
def _reporter() -> Iterator[EvolutionReporter]:
    console = Console(highlight=False)
    if console.is_terminal:
        with EvolutionTerminal(console) as terminal:
            yield terminal
    else:
        yield EvolutionPage(console)
