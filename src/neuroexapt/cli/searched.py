"""How a search looks while it goes, and what it has found."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from neuroexapt.cli.wording import counted, duration, percent, short
from neuroexapt.runs import SearchRunConfig, SearchSummary
from neuroexapt.search import Expansion, SearchEpoch


class SearchPage:
    """Prints a line an epoch, one an expansion, and at the end a table of what was chosen.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._of = ""

    def begun(self, config: SearchRunConfig, folder: Path, epochs: int) -> None:
        """Say what is searched, and where it is kept."""
        if config.search.max_flops is None:
            self._of = f"/{config.search.epochs}"
        self._line(
            f"{'resuming' if epochs else 'searching'} {config.space} on {config.data} by "
            f"{config.method}, seed {config.seed}, in {folder}"
        )

    def searched(self, record: SearchEpoch) -> None:
        """Print the epoch's figures."""
        moved = record.movement
        alpha = (
            f", alpha {counted(record.alpha_steps, 'step')} at T {record.temperature:.2f}, "
            f"{counted(moved.flips, 'flip')}, entropy {moved.entropy:.2f}"
            if record.alpha_steps
            else ""
        )
        self._line(
            f"epoch {record.epoch + 1}{self._of} {record.phase}: loss {record.train_loss:.4f}, "
            f"val {percent(record.val_accuracy)}{alpha}, {short(record.flops)} FLOPs, "
            f"{duration(record.seconds)}"
        )
        if record.gap is not None:
            alone = f"{abs(record.gap) * 100:.1f} points {'less' if record.gap > 0 else 'more'}"
            self._line(
                f"derived: the likeliest operations alone got {alone} than all that were drawn"
            )

    def expanded(self, expansion: Expansion) -> None:
        """Print where the network grew."""
        self._line(
            f"grew: a block after {expansion.after}: {expansion.params_before:,} -> "
            f"{expansion.params_after:,} params, {counted(len(expansion.opened), 'new decision')}, "
            f"error {expansion.max_error:.1e}; accuracy had stopped rising"
        )

    def ended(self, summary: SearchSummary, folder: Path) -> None:
        """Print what was found, and where it is."""
        table = Table(box=None, padding=(0, 2, 0, 0))
        table.add_column("decision")
        table.add_column("operation")
        for name, operation in summary.choices.items():
            table.add_row(name, operation)
        self._console.print(table)
        self._line(
            f"done: test {percent(summary.test_accuracy)}, val {percent(summary.val_accuracy)}, "
            f"{summary.params:,} params of {summary.params_searched:,} searched, "
            f"{short(summary.macs)} MACs, {short(summary.train_flops)} FLOPs, "
            f"{duration(summary.seconds)}; {summary.stopped}; see {folder / 'summary.json'}"
        )

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False)
