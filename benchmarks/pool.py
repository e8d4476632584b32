"""Many measurements beside each other on one machine: processes that begin with all imports made.

python benchmarks/race jobs --data-dir PATH --device cuda | python benchmarks/pool.py --slots 16
    [--seconds 600] [--logs runs/pool]

A job is a line of three parts with tabs between them: its name, the names of the jobs that have to
succeed before it (commas between them, or nothing), and a command as `benchmarks/race run ...`,
without Python. Earlier lines are begun earlier. To import torch and the library takes longer than
some measurements on a GPU do; here that is done once, and each job is a fork. What is left over
when the seconds are up is stopped, and told.
"""

import argparse
import importlib
import os
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PAUSE = 0.1
"""Seconds between looks at what has ended."""
IMPORTED = (
    "neuroexapt.runs",
    "neuroexapt.search",
    "neuroexapt.evolution",
    "neuroexapt.training",
    "pyarrow.parquet",
    "sklearn.datasets",
)


@dataclass(frozen=True)
class Job:
    """A command that may have to wait for others.

    Attributes:
        name: of it and of its log.
        after: names of the jobs that have to succeed first.
        command: script and arguments.
    """

    name: str
    after: tuple[str, ...]
    command: tuple[str, ...]


def parsed(lines: Iterable[str]) -> list[Job]:
    """The jobs of a list.

    Raises:
        SystemExit: if a line is no job, a name comes twice, or a job waits for an unknown one.
    """
    jobs: list[Job] = []
    for number, line in enumerate((line.rstrip("\n") for line in lines), 1):
        parts = line.split("\t")
        if len(parts) != 3 or not parts[0] or not parts[2].split():
            raise SystemExit(f"line {number} isn't NAME, tab, AFTER, tab, COMMAND: {line!r}")
        name, after, command = parts
        jobs.append(Job(name, tuple(filter(None, after.split(","))), tuple(command.split())))
    names = [job.name for job in jobs]
    twice = sorted({name for name in names if names.count(name) > 1})
    missing = sorted({after for job in jobs for after in job.after} - set(names))
    if twice or missing:
        raise SystemExit(f"names that come twice: {twice}; that are waited for in vain: {missing}")
    return jobs


class Pool:
    """Runs jobs, some at a time.

    Args:
        jobs: all of them.
        slots: how many run at a time, at most.
        logs: folder of what they print.
    """

    def __init__(self, jobs: list[Job], slots: int, logs: Path) -> None:
        self.waiting, self.slots, self.logs = list(jobs), slots, logs
        self.running: dict[int, tuple[Job, float]] = {}
        self.succeeded: dict[str, bool] = {}
        self.began = time.monotonic()

    def run(self, seconds: float) -> bool:
        """Run all jobs, or as many as the time is enough for; tell whether all succeeded."""
        self.logs.mkdir(parents=True, exist_ok=True)
        while (self.waiting or self.running) and time.monotonic() - self.began < seconds:
            self._collect()
            self._begin()
            time.sleep(PAUSE)
        for process, (job, _) in self.running.items():
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            self._tell(job, "stopped")
        for job in self.waiting:
            self._tell(job, "not begun")
        return not self.waiting and not self.running and all(self.succeeded.values())

    def _collect(self) -> None:
        for process in list(self.running):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                job, began = self.running.pop(process)
                self.succeeded[job.name] = status == 0
                told = "done" if status == 0 else f"FAILED, see {self._log(job)}"
                self._tell(job, f"{told}, {time.monotonic() - began:.0f} s")

    def _begin(self) -> None:
        for job in list(self.waiting):
            if any(self.succeeded.get(name) is False for name in job.after):
                self.waiting.remove(job)
                self.succeeded[job.name] = False
                self._tell(job, "left out, since one that it needs failed")
            elif len(self.running) < self.slots and all(map(self.succeeded.get, job.after)):
                self.waiting.remove(job)
                self.running[_forked(job, self._log(job))] = (job, time.monotonic())

    def _log(self, job: Job) -> Path:
        return self.logs / f"{job.name}.log"

    def _tell(self, job: Job, what: str) -> None:
        print(f"{time.monotonic() - self.began:7.1f} s  {job.name}: {what}", flush=True)


def _forked(job: Job, log: Path) -> int:
    """Begin a job in a process of its own; its number."""
    process = os.fork()
    if process:
        return process
    os.setsid()
    out = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    os.dup2(out, 1)
    os.dup2(out, 2)
    status = 1
    try:
        _called(job.command)
        status = 0
    except SystemExit as stop:
        status = 0 if stop.code in (None, 0) else 1
        if status:
            print(stop.code)
    except BaseException:  # noqa: BLE001 - whatever it is, it belongs into the log
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(status)


def _called(command: tuple[str, ...]) -> None:
    """Run a script, a file or a folder, as Python would."""
    script = Path(command[0])
    sys.argv = list(command)
    sys.path[:0] = [str(script if script.is_dir() else script.parent)]
    runpy.run_path(str(script / "__main__.py" if script.is_dir() else script), run_name="__main__")


def main() -> None:
    """Read jobs and run them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--logs", type=Path, default=HERE.parent / "runs" / "pool")
    args = parser.parse_args()
    jobs = parsed(sys.stdin)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name in IMPORTED:
        importlib.import_module(name)
    raise SystemExit(not Pool(jobs, args.slots, args.logs).run(args.seconds))


if __name__ == "__main__":
    main()
