"""Random numbers: one seed for the process, and independent generators derived from it."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from neuroexapt.graph.shield import random_kept


def generator_for(seed: int, *stream: int) -> torch.Generator:
    """Return a CPU generator that depends on nothing but the seed and the stream's numbers.

    Two streams of one seed are independent, so that what one consumer draws never moves another's
    numbers: the batches of epoch 7 are the same whether or not epoch 6 was ever drawn.

    Args:
        seed: at least 0.
        stream: any non-negative numbers that name the consumer, as (purpose, epoch).

    Raises:
        ValueError: if a number is negative.
    """
    if min(seed, *stream, 0) < 0:
        raise ValueError(
            f"a seed is at least 0, but seed {seed} with stream {stream} holds a negative number"
        )
    state = np.random.SeedSequence([seed, *stream]).generate_state(1, np.uint64)[0]
    # torch takes seeds up to 2**63 - 1 on every device.
    return torch.Generator().manual_seed(int(state) >> 1)


def seeded(seed: int) -> torch.Generator:
    """Seed Python's, NumPy's and torch's global random numbers, and return a generator of our own.

    The global numbers are for what cannot be handed a generator: a layer's initialisation, dropout,
    a user's data loader. On one machine and one torch version a CPU run then repeats bit for bit;
    on CUDA it does so only under `torch.use_deterministic_algorithms(True)`.

    Args:
        seed: 0 to 2**32 - 1, the range that NumPy's global numbers allow.

    Returns:
        A CPU generator, seeded with `seed`, that no global draw moves.

    Raises:
        ValueError: if `seed` is out of range.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"a seed is between 0 and {2**32 - 1}, not {seed}")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global state is what a user's transforms draw from
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded_apart(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Inside, the global random numbers are seeded; afterwards they go on as if nothing had been.

    Args:
        seed: as in `seeded`.
        device: whose random numbers are put back beside the CPU's.
    """
    with random_kept([] if device is None else [device]):
        seeded(seed)
        yield
