"""What an edit did, in figures."""

from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from neuroexapt.edits.rewrite import Ancestry
from neuroexapt.graph.cost import Cost


@dataclass(frozen=True, eq=False)
class Change:
    """What an edit did.

    Attributes:
        edit: the edit.
        seed: that it was applied with; a copy of the model which is given the same edit and seed,
            and all those before, gets the same newborns.
        max_error: largest output difference relative to the largest output, over train and eval
            mode; None where the check was switched off.
        checked_in: floating-point type that decided ("float32", "float64"); None without a check.
        before: cost before.
        after: cost after.
        seconds: wall time of building, checking and adopting.
        ancestry: which new tensor continues which old one.
    """

    edit: BaseModel
    seed: int
    max_error: float | None
    checked_in: str | None
    before: Cost
    after: Cost
    seconds: float
    ancestry: tuple[Ancestry, ...] = field(repr=False)

    @property
    def params_before(self) -> int:
        """Number of parameters before."""
        return self.before.params

    @property
    def params_after(self) -> int:
        """Number of parameters after."""
        return self.after.params

    @property
    def macs_before(self) -> int:
        """Multiply-accumulates a sample before."""
        return self.before.macs

    @property
    def macs_after(self) -> int:
        """Multiply-accumulates a sample after."""
        return self.after.macs

    def record(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "edit": self.edit.model_dump(mode="json"),
            "seed": self.seed,
            "max_error": self.max_error,
            "checked_in": self.checked_in,
            "params_before": self.params_before,
            "params_after": self.params_after,
            "macs_before": self.macs_before,
            "macs_after": self.macs_after,
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        """One line for people."""
        error = "unchecked" if self.max_error is None else f"error {self.max_error:.1e}"
        return (
            f"{self.edit}: {self.params_before:,} -> {self.params_after:,} parameters, "
            f"{self.macs_before:,} -> {self.macs_after:,} MACs, {error}, {self.seconds:.2f} s"
        )
