"""Say where a user's `forward` can't be traced, and what to write instead."""

import re
import traceback
from os import sep
from pathlib import Path

import torch

_OTHERS = (f"{Path(torch.__file__).parent}{sep}", f"{Path(__file__).parents[1]}{sep}", "<")
"""What files outside the user's own code begin with."""
_EINOPS = f"{sep}site-packages{sep}einops{sep}"
"""Where that package's files are, whose operations are traced into."""

_REWRITES = {
    r"cannot be iterated": (
        "unpack the parts into names, since their number isn't known while tracing: "
        "a, b = x.unbind(1)"
    ),
    r"'len' is not supported": "write x.size(0) for len(x)",
    r"as an integer|invalid combination|positional argument but|tuple of ints": (
        "make tensors of x's sizes with x.new_zeros(...) or torch.zeros_like(x), and no loops over "
        "sizes, which aren't known while tracing"
    ),
    r"__cuda_array_interface__": (
        "put what needs values into a module of its own and name it in leaves=, as packing, a "
        "recurrent layer and unpacking; write x.to(...) for torch.as_tensor(x, ...)"
    ),
    r"item assignment": "write torch.where(...) or torch.cat(...) for x[...] = y",
    r"^TypeError: int\(\)": "write a // b for int(a / b), where these are sizes",
    r"^TypeError: (float|complex)\(\)": (
        "keep it a tensor: x.mean() for float(x.mean()), or a size: x.size(1) for float(x.size(1))"
    ),
}
"""Pattern in an error -> what to write instead."""


def blame(error: BaseException) -> str:
    """Where an error came up in the user's code, and its first sentence: "at file:line (...)"."""
    place = _place(traceback.extract_tb(error.__traceback__))
    return f"{place} ({reason(error)})" if place else f"({reason(error)})"


def present_place() -> str:
    """Where the user's code is now: "at file:line"."""
    return _place(traceback.extract_stack())


def _place(frames: traceback.StackSummary) -> str:
    own = [frame for frame in frames if not _is_others(frame.filename)]
    return f"at {own[-1].filename}:{own[-1].lineno}" if own else ""


def _is_others(filename: str) -> bool:
    return filename.startswith(_OTHERS) or _EINOPS in filename


def reason(error: BaseException) -> str:
    """The first sentence of an error, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].partition('. ')[0] if lines else 'no message'}"


def remedy(error: BaseException, otherwise: str) -> str:
    """What to do, as a sentence: how to write it instead, where that is known, or `otherwise`."""
    text = f"{type(error).__name__}: {error}"
    rewrite = next((how for what, how in _REWRITES.items() if re.search(what, text)), None)
    advice = otherwise if rewrite is None else f"{rewrite}. Or {otherwise}"
    return advice[0].upper() + advice[1:]
