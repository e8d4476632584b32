from pathlib import Path

import pytest
import torch
from runs.quick import quick

from neuroexapt.runs import grow


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads that wait for a busy core make steps of tiny networks a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of `quick()`; not to be changed."""
    folder = tmp_path_factory.mktemp("unbroken") / "run"
    grow(quick(), folder)
    return folder
