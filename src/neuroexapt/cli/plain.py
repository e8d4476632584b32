"""A run as lines of text: for files, pipes and logs."""

from pathlib import Path

from neuroexapt.cli.wording import counted, duration, percent, short, why
from neuroexapt.growth import Growth, Refusal
from neuroexapt.runs import Beginning, Silent, Summary
from neuroexapt.training import EpochRecord


class Plain(Silent):
    """Prints a line an epoch and a line an edit."""

    def __init__(self) -> None:
        self._of = ""

    def begun(self, beginning: Beginning) -> None:
        """Say what is trained, and where it is kept."""
        config = beginning.config
        self._of = f"/{config.epochs}" if config.epochs is not None else ""
        _line(
            f"{'resuming' if beginning.epochs else 'training'} {config.model} on {config.data}, "
            f"seed {config.seed}: {beginning.cost.params:,} params, "
            f"{short(beginning.cost.macs)} MACs, in {beginning.folder}"
        )

    def trained(self, record: EpochRecord) -> None:
        """Print the epoch's figures."""
        _line(
            f"epoch {record.epoch + 1}{self._of}: loss {record.train_loss:.4f}, "
            f"val {percent(record.val_accuracy)}, {record.params:,} params, "
            f"{short(record.macs)} MACs, {short(record.flops)} FLOPs, {duration(record.seconds)}"
        )

    def grew(self, growth: Growth) -> None:
        """Print what grew, and why."""
        error = "unchecked" if growth.max_error is None else f"error {growth.max_error:.1e}"
        _line(
            f"grew: {growth.edit}: {growth.params_before:,} -> {growth.params_after:,} params, "
            f"{error}; {why(growth)}"
        )

    def refused(self, refusal: Refusal) -> None:
        """Print what was refused, and why."""
        _line(f"refused: {refusal.edit}: {refusal.reason}")

    def growth_ended(self, reason: str) -> None:
        """Print why."""
        _line(f"growth ended: {reason}")

    def ended(self, summary: Summary, folder: Path) -> None:
        """Print what came out, and where it is."""
        _line(
            f"done: test {percent(summary.test_accuracy)}, val {percent(summary.val_accuracy)}, "
            f"{summary.params_seed:,} -> {summary.params_final:,} params, "
            f"{counted(summary.edits, 'edit')}, {short(summary.train_flops)} FLOPs, "
            f"{duration(summary.seconds)}; {summary.stopped}; see {folder / 'summary.json'}"
        )


def _line(text: str) -> None:
    print(text, flush=True)
