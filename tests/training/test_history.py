import json
import math
from typing import Any

import pytest
from pydantic import ValidationError

from neuroexapt.training.history import EpochRecord, History


def record(epoch: int, val_accuracy: float = 0.5, **changes: Any) -> EpochRecord:
    fields = {
        "epoch": epoch,
        "train_loss": 1.5,
        "train_accuracy": 0.4,
        "val_loss": 1.25,
        "val_accuracy": val_accuracy,
        "lr": 0.1,
        "flops": 10**15,
        "params": 1000,
        "macs": 5000,
        "seconds": 2.5,
    }
    return EpochRecord(**(fields | changes))


def test_history_best_is_the_first_of_equals() -> None:
    history = History([record(0, 0.5), record(1, 0.7), record(2, 0.7), record(3, 0.6)])
    assert history.best == record(1, 0.7)
    assert History().best is None


def test_history_is_a_sequence() -> None:
    history = History()
    for epoch in range(3):
        history.append(record(epoch))
    assert len(history) == 3 and history[-1].epoch == 2
    assert [entry.epoch for entry in history[1:]] == [1, 2]
    assert [entry.epoch for entry in history] == [0, 1, 2]


@pytest.mark.parametrize("epoch", [0, 1])
def test_history_takes_each_epoch_once_and_in_order(epoch: int) -> None:
    history = History([record(0), record(1)])
    with pytest.raises(ValueError, match=f"epoch {epoch} cannot follow epoch 1"):
        history.append(record(epoch))


def test_history_survives_strict_json() -> None:
    history = History([record(0, train_loss=math.inf), record(1, flops=2**60)])
    text = json.dumps(history.to_list(), allow_nan=False)
    again = History.from_list(json.loads(text))
    assert list(again) == list(history)
    assert again[0].train_loss == math.inf and again[1].flops == 2**60


def test_history_from_a_record_that_is_none_is_refused() -> None:
    values = History([record(0)]).to_list()
    del values[0]["macs"]
    with pytest.raises(ValidationError, match="macs"):
        History.from_list(values)


@pytest.mark.parametrize("changes", [{"val_accuracy": 91.2}, {"epoch": -1}, {"accuracy": 0.5}])
def test_record_that_makes_no_sense_is_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(changes))):
        EpochRecord.model_validate(record(0).model_dump() | changes)


def test_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        record(0).lr = 0.2
