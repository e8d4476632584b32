import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from neuroexapt.cli import main


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads that wait for a busy core make steps of tiny networks a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def interruptible() -> Iterator[None]:
    """Ctrl-C reaches the programs that tests start, even where a shell's `&` has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, and leave Python's search path as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "run"
    assert main(["grow", "digits", "--epochs", "2", "--device", "cpu", "--out", str(out)]) == 0
    return out
