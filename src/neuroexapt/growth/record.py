"""What a growth was expected to do, and what followed; and what was refused."""

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from neuroexapt.edits import AnyEdit, Change
from neuroexapt.errors import EditError, LimitError, PreservationError
from neuroexapt.growth.course import Consequence
from neuroexapt.growth.forecast import Outcome
from neuroexapt.growth.prior import kind_of
from neuroexapt.growth.proposal import Proposal


class Growth(BaseModel):
    """One edit of a growing network, with its reason and its consequence.

    Attributes:
        epoch: epochs trained when it happened.
        edit: what changed.
        seed: that it was applied with.
        evidence: what the sensing measured that spoke for it.
        predicted: share of the held-out loss that it was expected to save, beyond what training on
            would have; None where the policy predicts nothing.
        scale: by which the prior's prediction was multiplied for what had followed so far.
        saved: share of the held-out loss that followed beyond the trend of before, until the next
            look; edits made together share it as they were predicted, or equally. None while the
            run hasn't got there, or isn't told its held-out loss.
        trend: share of the loss that training on alone would have saved meanwhile, by the trend of
            before: as `saved` is what goes beyond, it is no surer than that.
        jitter: how far single epochs' losses were off that trend, as a share.
        metric_before: the metric at that time.
        followed: change of the metric until the next look, shared likewise; None while the run
            hasn't got there.
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
    scale: float
    saved: float | None = None
    trend: float | None = None
    jitter: float | None = None
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
        proposal: Proposal,
        metric: float,
    ) -> "Growth":
        """The record of a change."""
        return cls(
            epoch=epoch,
            evidence=proposal.evidence,
            predicted=proposal.predicted,
            scale=proposal.scale,
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
    def unfit(cls, edit: AnyEdit, reason: str, epoch: int) -> "Refusal":
        """The record of an edit that the model doesn't allow."""
        return cls(epoch=epoch, edit=edit, cause="fit", reason=reason)

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
        return cls.unfit(edit, str(error), epoch)


def with_outcome(
    growths: Sequence[Growth], metric: float, consequence: Consequence | None
) -> list[Growth]:
    """Growths whose consequence was open, closed with what is known now.

    Args:
        growths: all so far.
        metric: as it is now.
        consequence: of those still open together; None if that isn't known.
    """
    shares = iter(_shares([growth for growth in growths if growth.followed is None]))
    found = []
    for growth in growths:
        if growth.followed is None:
            share = next(shares)
            update = {"followed": share * (metric - growth.metric_before)}
            if consequence is not None:
                update |= {
                    "saved": share * consequence.saved,
                    "trend": consequence.trend,
                    "jitter": consequence.jitter,
                }
            growth = growth.model_copy(update=update)
        found.append(growth)
    return found


def outcomes(growths: Sequence[Growth]) -> list[Outcome]:
    """What followed, growth by growth, beside what the prior had expected."""
    by_epoch: dict[int, list[Growth]] = {}
    for growth in growths:
        if growth.saved is not None and growth.predicted is not None:
            by_epoch.setdefault(growth.epoch, []).append(growth)
    found = []
    for together in by_epoch.values():
        predicted: dict[str, float] = {}
        for growth in together:
            assert growth.predicted is not None, "only these were taken"
            kind = kind_of(growth.edit)
            predicted[kind] = predicted.get(kind, 0.0) + growth.predicted / growth.scale
        saved = sum(growth.saved or 0.0 for growth in together)
        first = together[0]
        found.append(Outcome(predicted, saved, first.trend or 0.0, first.jitter or 0.0))
    return found


def _shares(together: Sequence[Growth]) -> list[float]:
    """How edits made together share what followed: as was predicted of them, or equally."""
    predicted = [abs(growth.predicted or 0.0) for growth in together]
    total = sum(predicted)
    if not total:
        return [1 / len(together) for _ in together]
    return [value / total for value in predicted]
