"""Runs that take a second, and breaking them off."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tolerance import DEVICE

from neuroexapt.runs import GrowConfig, Silent, configure, read_events

GROWTH = {
    "policy": "papers",
    "every": 2,
    "until": 0.9,
    "entropy_threshold": 0.0,
    "split_probability": 0.5,
    "max_connections": 1,
    "num_batches": 2,
}


def quick(**settings: Any) -> GrowConfig:
    """Digits in seconds: growth after epochs 2 and 4 of 6."""
    given = {"data": "digits", "epochs": 6, "device": str(DEVICE), "growth": GROWTH}
    given["checkpoint_seconds"] = 0
    return configure(given | settings)


class StoppedError(Exception):
    """Breaks a run off from inside, as an exception that nobody handles."""


class StopAt(Silent):
    """A reporter that breaks a run off at its n-th call of a kind."""

    def __init__(self, kind: str, count: int, stop: Callable[[], None] | None = None) -> None:
        self.kind = kind
        self.count = count
        self.stop = stop or _raise

    def _call(self, kind: str) -> None:
        self.count -= kind == self.kind
        if kind == self.kind and self.count == 0:
            self.stop()

    def stepped(self, progress: float) -> None:
        self._call("stepped")

    def trained(self, record: Any) -> None:
        self._call("trained")

    def grew(self, growth: Any) -> None:
        self._call("grew")

    def ended(self, summary: Any, folder: Path) -> None:
        self._call("ended")


def _raise() -> None:
    raise StoppedError


def comparable_events(folder: Path) -> list[dict[str, Any]]:
    """A run's events without wall times and lines of resuming."""
    return [
        {name: value for name, value in event.items() if name not in ("time", "seconds", "command")}
        for event in read_events(folder / "events.jsonl")
        if event["event"] != "resume"
    ]


def comparable_summary(folder: Path) -> dict[str, Any]:
    """A run's summary without wall time and command."""
    summary = json.loads((folder / "summary.json").read_text())
    return {name: v for name, v in summary.items() if name not in ("seconds", "command")}


def final_weights(folder: Path) -> bytes:
    last = max((folder / "checkpoints").glob("epoch-*"))
    return (last / "model.safetensors").read_bytes()
