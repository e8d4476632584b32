"""How an evolution looks while it goes, and the front that it came to."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from neuroexapt.cli.wording import counted, duration, kinds_counted, percent, short
from neuroexapt.evolution import GenerationRecord, MemberRecord
from neuroexapt.runs import EvolutionBeginning, EvolutionSummary, Front, FrontMember

COLUMNS = (
    ("gen", 6),
    ("phase", 11),
    ("born", 6),
    ("front", 7),
    ("best val", 10),
    ("params", 10),
    ("MACs", 8),
    ("FLOPs", 8),
)
LAST = ("time", 10)


class EvolutionPage:
    """Prints a line a generation, and at the end the front: for files, pipes and logs.

    Args:
        console: of stdout.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def begun(self, beginning: EvolutionBeginning) -> None:
        """Say what evolves, and where it is kept."""
        config, cost = beginning.config, beginning.cost
        _line(
            f"{'resuming' if beginning.generations else 'evolving'} {config.model} on "
            f"{config.data}, seed {config.seed}: {cost.params:,} params, {short(cost.macs)} MACs, "
            f"in {beginning.folder}"
        )

    def worked(self, task: str) -> None:
        """Say nothing: it is the generation that counts."""

    def evolved(self, record: GenerationRecord, front: Sequence[MemberRecord]) -> None:
        """Print the generation's figures."""
        best = front[0]
        born = f"{len(record.children)} born, " if record.phase == "evolving" else ""
        _line(
            f"generation {record.generation} {record.phase}: {born}front of {len(front)}, best val "
            f"{percent(best.told['accuracy'])} with {best.scores['params']:,.0f} params, "
            f"{short(best.scores['macs'])} MACs; {short(record.flops)} FLOPs, "
            f"{duration(record.seconds)}"
        )

    def ended(self, summary: EvolutionSummary, front: Front, folder: Path) -> None:
        """Print the front, and where it is."""
        self._console.print(front_table(front, "<-"))
        if front.warning:
            _line(f"warning: {front.warning}")
        _line(
            f"done: {counted(len(front.members), 'network')} to pick from; {front.pick} "
            f"{front.picked}: test {percent(summary.test_accuracy)}, val "
            f"{percent(summary.val_accuracy)}, {summary.params:,} params, {short(summary.macs)} "
            f"MACs; {short(summary.train_flops)} FLOPs, {duration(summary.seconds)}; "
            f"{summary.stopped}; see {folder / 'front.html'}"
        )


class EvolutionTerminal:
    """Prints a row a generation, and keeps a bar below that tells what is going on.

    Args:
        console: a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._best = -1.0
        self._max_flops = 1.0
        self._generation = 0
        self._done: Counter[str] = Counter()
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

    def __enter__(self) -> "EvolutionTerminal":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def begun(self, beginning: EvolutionBeginning) -> None:
        """Print what evolves, and the table's head."""
        config, cost = beginning.config, beginning.cost
        evolution = config.evolution
        self._max_flops = evolution.max_flops or 1.0
        title = Text.assemble(
            ("  neuroexapt  ", "bold green"),
            "evolving ",
            (config.model, "bold"),
            " on ",
            (Path(config.data).name, "bold"),
            f" along {', '.join(evolution.objectives)}",
        )
        if beginning.generations:
            title.append(
                f", resumed after {counted(beginning.generations, 'generation')}", "yellow"
            )
        details = (
            f"{cost.params:,} params, {short(cost.macs)} MACs",
            f"{short(self._max_flops)} FLOPs",
            f"seed {config.seed}",
            config.device,
        )
        self._print()
        self._print(title)
        self._print(Text("  " + ", ".join(details), "dim"))
        self._print()
        head = "".join(f"{name:>{width}}" for name, width in (*COLUMNS, *self._time_column()))
        self._print(Text(head, "dim"))
        self._begin(beginning.generations, beginning.flops)

    def worked(self, task: str) -> None:
        """Count what is done below the table."""
        self._done[task] += 1
        told = {"bear": "born", "train": "trained", "judge": "scored"}
        done = ", ".join(f"{count} {told.get(name, name)}" for name, count in self._done.items())
        self._bar.update(self._task, description=f"generation {self._generation}: {done}")

    def evolved(self, record: GenerationRecord, front: Sequence[MemberRecord]) -> None:
        """Print the generation's row; its accuracy in bold if it is the best so far."""
        best = front[0]
        accuracy = float(best.told["accuracy"])
        cells = (
            str(record.generation),
            record.phase,
            str(len(record.children)) if record.phase == "evolving" else "",
            str(len(front)),
            percent(accuracy),
            f"{best.scores['params']:,.0f}",
            short(best.scores["macs"]),
            short(record.flops),
        )
        row = Text()
        for (name, width), cell in zip(COLUMNS, cells, strict=True):
            style = "bold" if name == "best val" and accuracy > self._best else ""
            row.append(f"{cell:>{width}}", style)
        for _, width in self._time_column():
            row.append(f"{duration(record.seconds):>{width}}", "dim")
        self._best = max(self._best, accuracy)
        self._print(row)
        self._begin(record.generation + 1, record.flops)

    def ended(self, summary: EvolutionSummary, front: Front, folder: Path) -> None:
        """Print the front, and where it is."""
        self._bar.stop()
        self._print()
        self._console.print(front_table(front, "<-" if self._console.options.ascii_only else "◀"))
        self._print()
        if front.warning:
            self._console.print(Text(f"  {front.warning}\n", "bold yellow"))
        rows = {
            "evolution": f"{summary.evaluated} networks in {summary.generations} generations, "
            f"{short(summary.train_flops)} FLOPs, {duration(summary.seconds)}",
            "run": str(folder),
            "see": "front.html, front.json",
            "use": f'neuroexapt.load_model(run, pick="{front.pick}"), or member="..."',
        }
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim")
        grid.add_column(overflow="fold")
        for name, text in rows.items():
            grid.add_row(f"  {name}", Text(text))
        self._console.print(grid)

    def _begin(self, generation: int, flops: int) -> None:
        """Show that a generation begins."""
        self._generation = generation
        self._done.clear()
        share = min(flops / self._max_flops, 1.0)
        self._bar.update(self._task, completed=share, description=f"generation {generation}")

    def _time_column(self) -> tuple[tuple[str, int], ...]:
        """The last column, where the terminal is wide enough for it."""
        widths = [width for _, width in (*COLUMNS, LAST)]
        return (LAST,) if sum(widths) <= self._console.width else ()

    def _print(self, row: Text | str = "") -> None:
        self._console.print(row, no_wrap=True, overflow="ellipsis")


def _line(text: str) -> None:
    print(text, flush=True)


def front_table(front: Front, arrow: str) -> Table:
    """A front, the most accurate network first, the one that was picked standing out.

    Args:
        front: to show.
        arrow: that points at the one that was picked.
    """
    timed = any(member.latency_ms is not None for member in front.members)
    table = Table(box=box.SIMPLE, header_style="dim", show_edge=False, pad_edge=True)
    table.add_column("network", no_wrap=True)
    for name in ("val acc", "test acc", "params", "MACs", *(["ms"] if timed else [])):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("grown by")
    for member in front.members:
        picked = member.name == front.picked
        name = f"{member.name} {arrow} {front.pick}" if picked else member.name
        table.add_row(name, *_cells(member, timed), style="bold green" if picked else "")
    return table


def _cells(member: FrontMember, timed: bool) -> list[str]:
    kinds = Counter(edit["kind"] for edit in member.edits)
    latency = [] if not timed or member.latency_ms is None else [f"{member.latency_ms:.3g}"]
    return [
        percent(member.val_accuracy),
        percent(member.test_accuracy),
        f"{member.params:,}",
        short(member.macs),
        *latency,
        kinds_counted(dict(kinds.most_common())) or "nothing",
    ]
