"""A grown run on CIFAR-10, unbroken and killed and resumed: what it reaches, and that both agree.

python benchmarks/cifar.py [--data-dir PATH] [--max-flops 2e13] [--kill-at 0.4]

Runs `neuroexapt grow cifar10 --policy papers --data-dir PATH --max-flops F --seed 0 --threads 1`
twice, side by side.
One is killed (SIGKILL) when it has spent a share of its FLOPs, and resumed.
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import keep

from neuroexapt.runs import read_events

ROOT = Path(__file__).parent.parent


def command(*arguments: str) -> subprocess.Popen[bytes]:
    """Start `neuroexapt grow` with these arguments."""
    program = [sys.executable, "-m", "neuroexapt", "grow", *arguments]
    return subprocess.Popen(program, stdout=subprocess.DEVNULL)


def flops(out: Path) -> float:
    """FLOPs of the last epoch that a run wrote down."""
    try:
        lines = (out / "events.jsonl").read_text().splitlines()
    except FileNotFoundError:
        return 0.0
    whole = [json.loads(line) for line in lines if line.endswith("}")]
    return max((event["flops"] for event in whole if event["event"] == "epoch"), default=0.0)


def kill_at(process: subprocess.Popen[bytes], out: Path, spent: float) -> float:
    """Wait until a run has spent so many FLOPs, then kill it."""
    while flops(out) < spent:
        if process.poll() is not None:
            raise RuntimeError("the run ended before it could be killed")
        time.sleep(0.5)
    process.kill()
    process.wait()
    return flops(out)


def fingerprint(out: Path) -> str:
    """SHA-256 of the final weights."""
    newest = max((out / "checkpoints").iterdir())
    return hashlib.sha256((newest / "model.safetensors").read_bytes()).hexdigest()


def summary(out: Path) -> dict[str, Any]:
    """The run's summary, and its epochs and edits."""
    kept = json.loads((out / "summary.json").read_text())
    events = read_events(out / "events.jsonl")
    epochs = [e for e in events if e["event"] == "epoch"]
    edits = [e for e in events if e["event"] == "edit"]
    return {
        "summary": {name: value for name, value in kept.items() if name != "command"},
        "curve": [[e["flops"], e["val_accuracy"], e["params"]] for e in epochs],
        "edits": [{"epoch": e["epoch"], "max_error": e["max_error"], **e["edit"]} for e in edits],
        "weights": fingerprint(out),
    }


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir", type=Path, default=ROOT.parent / "shared/data/cifar10")
    parser.add_argument("--max-flops", type=float, default=2e13)
    parser.add_argument("--kill-at", type=float, default=0.4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        whole, broken = Path(folder) / "whole", Path(folder) / "broken"
        settings = ["cifar10", "--data-dir", str(given.data_dir), "--seed", "0", "--threads", "1"]
        settings += ["--policy", "papers"]
        settings += ["--max-flops", str(given.max_flops)]
        first = command(*settings, "--out", str(whole))
        second = command(*settings, "--out", str(broken))
        killed = kill_at(second, broken, given.kill_at * given.max_flops)
        resumed = command("--resume", str(broken))
        codes = [first.wait(), resumed.wait()]
        assert codes == [0, 0], f"the runs ended with exit codes {codes}"
        unbroken, continued = summary(whole), summary(broken)
    measured = {
        "unbroken": unbroken,
        "killed_at_flops": killed,
        "resumed_equals_unbroken": unbroken["weights"] == continued["weights"],
        "resumed_test_accuracy": continued["summary"]["test_accuracy"],
    }
    print(keep("cifar10", measured))


if __name__ == "__main__":
    main()
