import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads that wait for a busy core make passes of tiny networks a hundred times slower."""
    torch.set_num_threads(1)
