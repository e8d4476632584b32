"""Evolutions that take seconds, and what of them has to repeat."""

import json
from pathlib import Path
from typing import Any

from tolerance import DEVICE

from neuroexapt.runs import (
    EvolutionRunConfig,
    SilentEvolution,
    configure_evolution,
    read_events,
)

TIMES = ("time", "seconds", "command")


def quick(**settings: Any) -> EvolutionRunConfig:
    """Digits in two seconds: founded, evolved for two generations, and polished."""
    given: dict[str, Any] = {
        "data": "digits",
        "model": "mlp",
        "device": str(DEVICE),
        "policy": "entropy",
        "seed": 5,
        "size": 4,
        "children": 2,
        "max_flops": 3.6e7,
        "evolution": {
            "founding": 0.5,
            "rungs": [0.3],
            "trained": 1,
            "num_edits": 2,
            "growth": {"share": 0.5},
            "num_samples": 32,
            "polish": 0.4,
            "pruning": 0.3,
        },
    }
    return configure_evolution(given | settings)


class StoppedError(BaseException):
    """Breaks an evolution off from inside, as nothing that anybody handles."""


class StopAt(SilentEvolution):
    """Breaks an evolution off at its n-th call of a kind."""

    def __init__(self, kind: str, count: int) -> None:
        self.kind = kind
        self.count = count

    def _call(self, kind: str) -> None:
        self.count -= kind == self.kind
        if kind == self.kind and self.count == 0:
            raise StoppedError

    def begun(self, beginning: Any) -> None:
        self._call("begun")

    def worked(self, task: str) -> None:
        self._call("worked")

    def evolved(self, record: Any, front: Any) -> None:
        self._call("evolved")

    def ended(self, summary: Any, front: Any, folder: Path) -> None:
        self._call("ended")


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def outcome(folder: Path) -> dict[str, Any]:
    """All that has to be the same however often a run was broken off: bit for bit."""
    summary = without_times(json.loads((folder / "summary.json").read_text()))
    events = [
        without_times(event)
        for event in read_events(folder / "events.jsonl")
        if event["event"] != "resume"
    ]
    kept = sorted((folder / "checkpoints").iterdir())
    return {
        "summary": summary,
        "events": events,
        "front": (folder / "front.json").read_bytes(),
        "picture": (folder / "front.html").read_bytes(),
        "picked": (folder / "model.safetensors").read_bytes(),
        "models": {path.name: path.read_bytes() for path in (folder / "models").iterdir()},
        "checkpoints": {path.name: (path / "model.safetensors").read_bytes() for path in kept},
    }
