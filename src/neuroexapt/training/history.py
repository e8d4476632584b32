"""What every epoch of a run came to."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, final, overload

from pydantic import BaseModel, ConfigDict, Field


class EpochRecord(BaseModel):
    """One epoch of training and the validation after it.

    Attributes:
        epoch: counted from 0.
        train_loss: mean over the epoch's samples.
        train_accuracy: 0 to 1; None where nothing is classified.
        val_loss: mean over the validation part.
        val_accuracy: likewise.
        lr: learning rate of the last step.
        flops: training FLOPs spent since the run began, growth included; 2 for each
            multiply-accumulate.
        params: parameters at the end of the epoch.
        macs: multiply-accumulates of one sample's forward pass at the end of the epoch.
        seconds: wall-clock time of this epoch.
    """

    # A loss may overflow; as a string it survives JSON, which has no number for it.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int = Field(ge=0)
    train_loss: float
    train_accuracy: float | None = Field(ge=0, le=1)
    val_loss: float
    val_accuracy: float | None = Field(ge=0, le=1)
    lr: float = Field(ge=0)
    flops: int = Field(ge=0)
    params: int = Field(ge=0)
    macs: int = Field(ge=0)
    seconds: float = Field(ge=0)

    @property
    def score(self) -> float:
        """The larger the better: the validation accuracy, or without one minus the loss."""
        return -self.val_loss if self.val_accuracy is None else self.val_accuracy


@final
class History(Sequence[EpochRecord]):
    """The epochs of a run, in order; records can be added and never changed.

    Example:
        >>> history = History()
        >>> history.best is None
        True
    """

    def __init__(self, records: Iterable[EpochRecord] = ()) -> None:
        """Begin with these records.

        Raises:
            ValueError: as `append`.
        """
        self._records: list[EpochRecord] = []
        for record in records:
            self.append(record)

    def append(self, record: EpochRecord) -> None:
        """Add the next epoch.

        Raises:
            ValueError: if it is not later than the last one.
        """
        if self._records and record.epoch <= self._records[-1].epoch:
            raise ValueError(
                f"epoch {record.epoch} cannot follow epoch {self._records[-1].epoch}; "
                "records are added in order, each epoch once"
            )
        self._records.append(record)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch of the highest score, the first of equals; None if empty."""
        return max(self._records, key=lambda record: record.score, default=None)

    def to_list(self) -> list[dict[str, Any]]:
        """Return the records as JSON values."""
        return [json.loads(record.model_dump_json()) for record in self._records]

    @classmethod
    def from_list(cls, records: Iterable[dict[str, Any]]) -> "History":
        """Return the history that `to_list` was called on.

        Raises:
            ValueError: if a record lacks a field, has one too many, or is out of order.
        """
        return cls(EpochRecord.model_validate(record) for record in records)

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> EpochRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[EpochRecord]: ...
    def __getitem__(self, index: int | slice) -> EpochRecord | Sequence[EpochRecord]:
        return self._records[index]

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self._records)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs, best {self.best})"
