"""Run models without leaving a trace, and compare what they give."""

import copy
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from neuroexapt.graph.inputs import Inputs
from neuroexapt.graph.modes import NO_OWN, OwnModes, put_in_mode
from neuroexapt.graph.shield import random_kept
from neuroexapt.graph.state import preserve_state, restore_state


def call(model: nn.Module, inputs: Inputs) -> Any:
    """The model's output."""
    return model(*inputs.args, **inputs.kwargs)


def run_in_mode(
    model: nn.Module,
    inputs: Inputs,
    training: bool,
    run: Callable[[nn.Module, Inputs], Any] = call,
    modes: OwnModes | None = None,
) -> Any:
    """The output in train or eval mode; modes, buffers and random state are as before.

    Both modes start from one fixed random state, so that two models which draw the same numbers
    can be compared with dropout on.

    Args:
        model: what to run.
        inputs: what it gets.
        training: train or eval mode.
        run: how to call it.
        modes: where its parts have modes of their own; a graph module knows by itself.
    """
    if modes is None:
        modes = model.meta.get("modes", NO_OWN) if isinstance(model, fx.GraphModule) else NO_OWN
    state = preserve_state(model)
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    try:
        put_in_mode(model, training, modes)
        with torch.no_grad(), random_kept(tensor.device for tensor in inputs.tensors):
            random.seed(0)
            np.random.seed(0)  # noqa: NPY002 - the global numbers are what users draw from
            torch.manual_seed(0)
            return run(model, inputs.map(torch.clone))
    finally:
        restore_state(state)
        for buffer, before in buffers:
            buffer.copy_(before)


def relative_error(expected: Any, actual: Any) -> float:
    """Largest difference, relative to the largest finite magnitude, over all output tensors.

    Infinite where the structures, shapes, integers or infinities differ, or anything is NaN.
    """
    (ours, structure), (theirs, other) = _flattened(expected), _flattened(actual)
    if structure != other:
        return float("inf")
    errors = [_leaf_error(a, b) for a, b in zip(ours, theirs, strict=True)]
    return max(errors, default=0.0)


def leaves_of(output: Any) -> list[Any]:
    """All tensors and numbers in a model's output."""
    return _flattened(output)[0]


def _flattened(output: Any) -> tuple[list[Any], TreeSpec]:
    """As `tree_flatten`, which takes dataclasses for leaves."""
    leaves, structure = tree_flatten(output)
    if any(map(dataclasses.is_dataclass, leaves)):
        opened = [vars(leaf) if dataclasses.is_dataclass(leaf) else leaf for leaf in leaves]
        return _flattened(tree_unflatten(opened, structure))
    return leaves, structure


def _leaf_error(expected: Any, actual: Any) -> float:
    if not isinstance(expected, Tensor) or not isinstance(actual, Tensor):
        return 0.0 if expected == actual else float("inf")
    if expected.shape != actual.shape:
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    if not expected.is_floating_point():
        return 0.0 if bool((expected == actual).all()) else float("inf")
    infinite = expected.isinf() & (expected == actual)
    difference = (expected - actual).masked_fill(infinite, 0).abs().max()
    scale = expected.masked_fill(infinite, 0).abs().max()
    # Of an output that is zero throughout, as of a head that starts at zero, nothing is relative.
    error = (difference / torch.where(scale > 0, scale, torch.ones_like(scale))).item()
    return error if error == error else float("inf")


def in_dtype(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A deep copy in another floating-point type."""
    return copy.deepcopy(model).to(dtype)
