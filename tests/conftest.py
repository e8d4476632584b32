import pytest
import torch
from seeding import seed_


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads that wait for a busy core make steps of tiny networks a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Weights come from torch's global generator: each test starts it anew."""
    seed_(0)
