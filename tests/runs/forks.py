"""Processes that are forked from one that is prepared, and killed."""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from torch.fx import interpreter


def forking(code: str, *folders: Path) -> str:
    """Run a program that forks, and give what it prints."""
    paths = [str(Path(__file__).parents[1]), *sys.path]
    found = subprocess.run(
        [sys.executable, "-c", code, *map(str, folders)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout


def killed_until_it_ends(run: Callable[[], object], seconds: float, factor: float) -> int:
    """Fork a process that runs, and kill it, later and later, until one ends by itself.

    Args:
        run: goes on from where the last one was killed.
        seconds: that the first one has.
        factor: by which each has longer than the one before.

    Returns:
        How often one was killed.
    """
    # The progress bar with which torch walks a graph has a lock that forks share: one that is
    # killed while it holds the lock would stop all that follow.
    interpreter.tqdm.set_lock(threading.RLock())
    kills = 0
    while (status := _run_for(run, seconds * factor**kills)) is None:
        kills += 1
    assert status == 0
    return kills


def _run_for(run: Callable[[], object], seconds: float) -> int | None:
    """The exit status of a fork, or None if it was killed."""
    child = os.fork()
    if child == 0:
        try:
            run()
            os._exit(0)
        finally:  # of a test's own process nothing is to go on in the fork
            traceback.print_exc()
            os._exit(1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
