"""Where a measurement comes from: command, commit, versions, machine."""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def provenance() -> dict[str, Any]:
    """What a reader needs to repeat a measurement.

    A commit whose code was changed since has a "+". Where the code lies without its history, the
    environment's COMMIT names it.
    """
    commit = os.environ.get("COMMIT") or _commit()
    arguments = [Path(a).name if Path(a).is_absolute() else a for a in sys.argv[1:]]
    command = " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *arguments])
    return {
        "command": command,
        "commit": commit,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores{_accelerator()}",
        "threads": torch.get_num_threads(),
    }


def _commit() -> str:
    head = _git("rev-parse", "--short", "HEAD")
    return f"{head}+" if _git("status", "--porcelain", "--", ":/*.py") else head


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def _accelerator() -> str:
    return f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""


def keep(name: str, measured: dict[str, Any]) -> Path:
    """Write a result file with its provenance and give its path."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"provenance": provenance(), **measured}, indent=2) + "\n")
    return path


def spread(values: list[float]) -> dict[str, float | int]:
    """Mean, sample standard deviation, smallest, largest and number of repeated measurements."""
    count = len(values)
    mean = sum(values) / count
    deviation = (sum((v - mean) ** 2 for v in values) / (count - 1)) ** 0.5 if count > 1 else 0.0
    return {"mean": mean, "std": deviation, "min": min(values), "max": max(values), "n": count}
