"""A run on a terminal: a table that fills as it trains, above a progress bar."""

from itertools import islice
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from neuroexapt.cli.wording import (
    counted,
    duration,
    kinds_counted,
    percent,
    reasons,
    short,
    why,
)
from neuroexapt.growth import Growth, Refusal
from neuroexapt.runs import Beginning, Summary
from neuroexapt.training import EpochRecord

COLUMNS = (("epoch", 9), ("loss", 8), ("val acc", 9), ("params", 11), ("MACs", 8), ("FLOPs", 8))
LAST = ("time", 10)
GROWN = "bold green"


class Terminal:
    """Prints a row an epoch, growth standing out between them, and keeps a bar below.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._arrow = "->" if console.options.ascii_only else "→"
        self._of = ""
        self._last = 0
        self._best = -1.0
        self._bar = Progress(
            TextColumn("  {task.description}", style="dim"),
            BarColumn(bar_width=None, complete_style="green", finished_style="green"),
            TaskProgressColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("", total=1.0)

    def __enter__(self) -> "Terminal":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begun(self, beginning: Beginning) -> None:
        """Print what is trained, and the table's head."""
        config, cost = beginning.config, beginning.cost
        self._of = f"/{config.epochs}" if config.epochs is not None else ""
        self._last = config.epochs or 0
        self._name_task(beginning.epochs + 1)
        what = "growing" if config.growth is not None else "training"
        title = Text.assemble(
            ("  neuroexapt  ", "bold green"),
            f"{what} ",
            (config.model, "bold"),
            " on ",
            (Path(config.data).name, "bold"),
        )
        if beginning.epochs:
            title.append(f", resumed after epoch {beginning.epochs}", "yellow")
        ends = [] if config.epochs is None else [f"{config.epochs} epochs"]
        ends += [] if config.max_flops is None else [f"{short(config.max_flops)} FLOPs"]
        details = (
            f"{cost.params:,} params, {short(cost.macs)} MACs",
            " or ".join(ends),
            f"seed {config.seed}",
            config.device,
        )
        self._print()
        self._print(title)
        self._print(Text("  " + ", ".join(details), "dim"))
        self._print()
        head = "".join(f"{name:>{width}}" for name, width in (*COLUMNS, *self._time_column()))
        self._print(Text(head, "dim"))

    def stepped(self, progress: float) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=progress)

    def trained(self, record: EpochRecord) -> None:
        """Print the epoch's row; its accuracy in bold if it is the best so far."""
        cells = (
            f"{record.epoch + 1}{self._of}",
            f"{record.train_loss:.4f}",
            percent(record.val_accuracy),
            f"{record.params:,}",
            short(record.macs),
            short(record.flops),
        )
        row = Text()
        best = record.score > self._best
        for (name, width), cell in zip(COLUMNS, cells, strict=True):
            row.append(f"{cell:>{width}}", "bold" if name == "val acc" and best else "")
        for _, width in self._time_column():
            row.append(f"{duration(record.seconds):>{width}}", "dim")
        self._best = max(self._best, record.score)
        self._name_task(record.epoch + 2)
        self._print(row)

    def grew(self, growth: Growth) -> None:
        """Print what grew, and the first of its evidence, which is what was sensed."""
        row = Text.assemble(
            (f"{'+':>{COLUMNS[0][1]}}  ", GROWN),
            (str(growth.edit), GROWN),
            (f"  {growth.params_before:,} {self._arrow} {growth.params_after:,} params", "green"),
            (f"  {_briefly(growth)}", "dim"),
        )
        self._print(row)

    def refused(self, refusal: Refusal) -> None:
        """Print what was refused, and why; a fault stands out."""
        style = "yellow" if refusal.cause == "preservation" else "dim"
        row = f"{'':>{COLUMNS[0][1]}}  refused: {refusal.edit}: {refusal.reason}"
        self._print(Text(row, style))

    def growth_ended(self, reason: str) -> None:
        """Print why."""
        self._print(Text(f"{'':>{COLUMNS[0][1]}}  growth ended: {reason}", "dim italic"))

    def ended(self, summary: Summary, folder: Path) -> None:
        """Print what came out, and where it is."""
        self._bar.stop()
        self._print()
        self._console.print(summary_panel(summary, folder, self._arrow))

    def _time_column(self) -> tuple[tuple[str, int], ...]:
        """The last column, where the terminal is wide enough for it."""
        widths = [width for _, width in (*COLUMNS, LAST)]
        return (LAST,) if sum(widths) <= self._console.width else ()

    def _name_task(self, epoch: int) -> None:
        epoch = min(epoch, self._last or epoch)
        self._bar.update(self._task, description=f"epoch {epoch}{self._of}")

    def _print(self, row: Text | str = "") -> None:
        self._console.print(row, no_wrap=True, overflow="ellipsis", highlight=False)


def _briefly(growth: Growth) -> str:
    """What speaks for a growth: what it is to save, or the first of what was sensed."""
    if growth.predicted is None:
        return reasons(dict(islice(growth.evidence.items(), 1)))
    return why(growth).partition(";")[0]


def summary_panel(summary: Summary, folder: Path, arrow: str) -> Panel:
    """What a run came to, in a frame."""
    factor = summary.params_final / max(summary.params_seed, 1)
    edits = f"{counted(summary.edits, 'edit')}: {kinds_counted(summary.kinds)}"
    rows = {
        "accuracy": f"[bold green]{percent(summary.test_accuracy)}[/] test, "
        f"{percent(summary.val_accuracy)} validation",
        "parameters": f"{summary.params_seed:,} {arrow} [bold]{summary.params_final:,}[/]"
        f"  ({factor:.1f} times)",
        "MACs": f"{short(summary.macs_seed)} {arrow} [bold]{short(summary.macs_final)}[/]",
        "growth": edits if summary.edits else "none",
        "training": f"{summary.epochs} epochs, {short(summary.train_flops)} FLOPs "
        f"({percent(summary.growth_flops_share)} for growth), {duration(summary.seconds)}",
    }
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    for name, text in rows.items():
        grid.add_row(name, Text.from_markup(text))
    grid.add_row("run", Text(str(folder)))
    grid.add_row("read", Text("summary.json, events.jsonl"))
    grid.add_row("use", Text("neuroexapt.runs.load_model(run)"))
    return Panel(grid, border_style="green", expand=False, padding=(0, 2))
