"""The state of all global random numbers: torch's, on every device, NumPy's and Python's."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor


def random_state() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take the state of the global random numbers.

    Returns:
        Tensors by name, and the rest as JSON values.
    """
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    numpy_state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the global state
    tensors["numpy"] = torch.from_numpy(numpy_state["state"]["key"].astype(np.int64))
    numpy_rest = {
        "pos": int(numpy_state["state"]["pos"]),
        "has_gauss": int(numpy_state["has_gauss"]),
        "gauss": float(numpy_state["gauss"]),
    }
    version, numbers, gauss = random.getstate()
    tensors["python"] = torch.tensor(numbers)
    return tensors, {"numpy": numpy_rest, "python": {"version": version, "gauss": gauss}}


def load_random_state(tensors: dict[str, Tensor], rest: dict[str, Any]) -> None:
    """Put back what `random_state` gave; devices that aren't there any more are left out."""
    torch.set_rng_state(tensors["torch"])
    for i in range(torch.cuda.device_count()):
        if f"cuda{i}" in tensors:
            torch.cuda.set_rng_state(tensors[f"cuda{i}"], i)
    key = tensors["numpy"].numpy().astype(np.uint32)
    numpy_rest = rest["numpy"]
    np.random.set_state(  # noqa: NPY002 - the global state
        ("MT19937", key, numpy_rest["pos"], numpy_rest["has_gauss"], numpy_rest["gauss"])
    )
    python = rest["python"]
    random.setstate((python["version"], tuple(tensors["python"].tolist()), python["gauss"]))
