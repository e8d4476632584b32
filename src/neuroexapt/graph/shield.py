"""Work as if nothing were switched on around the caller, and nobody had drawn random numbers."""

import random
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

AUTOCASTING = ("cpu", "cuda", "mps", "xpu")
"""Kinds of devices that autocast is asked about."""


@contextmanager
def shielded() -> Iterator[None]:
    """Leave autocast, inference mode and `no_grad` for a while.

    What is made in inference mode can't be trained, and what autocast rounds can't be compared.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in filter(torch.is_autocast_enabled, AUTOCASTING):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def random_kept(devices: Iterable[torch.device] = ()) -> Iterator[None]:
    """Put Python's, NumPy's and torch's global random numbers back as they were.

    Args:
        devices: whose random numbers are put back beside the CPU's; only CUDA's have any.
    """
    python, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002 - users draw there
    try:
        with torch.random.fork_rng(devices=[d for d in devices if d.type == "cuda"]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpys)  # noqa: NPY002


@contextmanager
def without_cudnn() -> Iterator[None]:
    """Leave cuDNN off for a while.

    Its recurrent layers copy their weights into one piece of memory, which fake tensors don't have.
    """
    was = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False
    try:
        yield
    finally:
        torch.backends.cudnn.enabled = was
