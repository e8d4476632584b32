"""The one way in which the tests build a family's model, run it and compare what models compute.

NEUROEXAPT_TEST_DEVICE=cuda has them, and the runs of tests/runs, on another device than the CPU.
"""

import os
from collections.abc import Sequence
from typing import TypeAlias

import torch
from families import Family, Untraceable, scramble_, tensors
from seeding import seed_
from torch import Tensor, nn

DEVICE = torch.device(os.environ.get("NEUROEXAPT_TEST_DEVICE", "cpu"))
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}

Inputs: TypeAlias = tuple[Tensor, ...]
Outputs: TypeAlias = dict[bool, list[Tensor]]
"""The output tensors by mode: train (True) and eval (False)."""


def built(family: Family | Untraceable, dtype: torch.dtype = torch.float64, seed: int = 0):
    """The family's model with all of its weights and statistics off their initial values."""
    seed_(seed)
    return scramble_(family.build(), seed).to(DEVICE, dtype)


def example_of(family: Family | Untraceable, dtype: torch.dtype = torch.float64) -> Inputs:
    """The family's input in a floating-point type; indices stay."""
    example = family.example()
    given = example if isinstance(example, tuple) else (example,)
    return tuple(x.to(DEVICE, dtype if x.is_floating_point() else None) for x in given)


def outputs(model: nn.Module, inputs: Inputs, seed: int = 1) -> Outputs:
    """What the model gives in train and in eval mode, dropout from one seed.

    Modes, buffers and the global random state are as before.
    """
    was, modes = model.training, {part: part.training for part in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    found: Outputs = {}
    for training in (True, False):
        model.train(training)
        with torch.random.fork_rng(devices=_random_states()), torch.no_grad():
            seed_(seed)
            found[training] = [t.clone() for t in tensors(model(*(x.clone() for x in inputs)))]
            for buffer, before in buffers:
                buffer.copy_(before)
    model.train(was)
    for part, mode in modes.items():
        part.training = mode
    return found


def _random_states() -> list[torch.device]:
    """Devices whose random numbers are put back, beside the CPU's."""
    return [] if DEVICE.type == "cpu" else [DEVICE]


def relative_error(actual: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference relative to the largest expected magnitude, the worst output's."""
    assert [t.shape for t in actual] == [t.shape for t in expected]
    return max(
        float((one - other).detach().abs().max() / other.detach().abs().max().clamp_min(1e-30))
        for one, other in zip(actual, expected, strict=True)
    )


def assert_same_outputs(actual: Outputs, expected: Outputs, tolerance: float | None = None) -> None:
    """Train and eval outputs agree; without a tolerance, to that of their floating-point type."""
    for training in (True, False):
        limit = TOLERANCE[expected[training][0].dtype] if tolerance is None else tolerance
        error = relative_error(actual[training], expected[training])
        assert error <= limit, f"{'train' if training else 'eval'} mode: {error:.1e} > {limit:.0e}"


def assert_equal_tensors(actual: Tensor, expected: Tensor) -> None:
    """Bit by bit the same."""
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)
