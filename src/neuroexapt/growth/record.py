"""What a growth was expected to do, and what followed; and what was refused."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from neuroexapt.edits import AnyEdit, Change
from neuroexapt.errors import EditError, LimitError, PreservationError


class Growth(BaseModel):
    """One edit of a growing network, with its reason and its consequence.

    Attributes:
        epoch: epochs trained when it happened.
        edit: what changed.
        seed: that it was applied with.
        evidence: what the sensing measured that spoke for it.
        predicted: expected change of the metric; None before there is anything to learn from.
        metric_before: the metric at that time.
        followed: change of the metric until the next growth, shared equally by the edits made
            together; None while the run hasn't got there.
        max_error: error of preservation; see `Change`.
        checked_in: floating-point type of the check.
        params_before: parameters before.
        params_after: parameters after.
        macs_before: multiply-accumulates a sample before.
        macs_after: multiply-accumulates a sample after.
        seconds: wall time of the edit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int
    edit: AnyEdit
    seed: int
    evidence: dict[str, Any]
    predicted: float | None
    metric_before: float
    followed: float | None = None
    max_error: float | None
    checked_in: str | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    seconds: float

    @classmethod
    def of(
        cls,
        change: Change,
        epoch: int,
        evidence: dict[str, Any],
        predicted: float | None,
        metric: float,
    ) -> "Growth":
        """The record of a change."""
        return cls(
            epoch=epoch,
            evidence=evidence,
            predicted=predicted,
            metric_before=metric,
            **change.record(),
        )


class Refusal(BaseModel):
    """One proposal that a growing network didn't take up.

    Attributes:
        epoch: epochs trained when it happened.
        edit: what was proposed.
        cause: "budget" if even the smallest form of it would pass the budget, as is to be expected
            sooner or later; "preservation" if it would change the function, which is a fault;
            "fit" if the model doesn't allow it.
        reason: in words.
        max_error: the error of preservation, where that is the cause.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int
    edit: AnyEdit
    cause: Literal["budget", "preservation", "fit"]
    reason: str
    max_error: float | None = None

    @classmethod
    def of(cls, error: EditError, edit: AnyEdit, epoch: int) -> "Refusal":
        """The record of an edit's error."""
        if isinstance(error, LimitError):
            reason = f"it would pass the budget: {error.excess}"
            return cls(epoch=epoch, edit=edit, cause="budget", reason=reason)
        if isinstance(error, PreservationError):
            return cls(
                epoch=epoch,
                edit=edit,
                cause="preservation",
                reason=str(error),
                max_error=error.max_error,
            )
        return cls(epoch=epoch, edit=edit, cause="fit", reason=str(error))


def predicted_gain(growths: Sequence[Growth], kind: str) -> float | None:
    """Mean of what followed earlier edits of a kind in this run; None without any."""
    gains = [g.followed for g in growths if g.edit.kind == kind and g.followed is not None]
    return sum(gains) / len(gains) if gains else None


def with_outcome(growths: Sequence[Growth], metric: float) -> list[Growth]:
    """Growths whose consequence was open, closed with the metric of now."""
    num_open: dict[int, int] = {}
    for growth in growths:
        if growth.followed is None:
            num_open[growth.epoch] = num_open.get(growth.epoch, 0) + 1
    return [
        growth
        if growth.followed is not None
        else growth.model_copy(
            update={"followed": (metric - growth.metric_before) / num_open[growth.epoch]}
        )
        for growth in growths
    ]
