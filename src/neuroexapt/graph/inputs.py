"""Example inputs: what a model is traced, costed and checked with."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from neuroexapt.errors import TraceError

FORWARD_FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    AssertionError,
    NameError,
    ArithmeticError,
)
"""What a user's `forward` may raise."""

ExampleInput: TypeAlias = Tensor | tuple[Any, ...] | dict[str, Any]


@dataclass(frozen=True)
class Inputs:
    """Positional and keyword inputs of one forward pass.

    Attributes:
        args: by position.
        kwargs: by name.
        is_varied: whether checks may add noise, and draw indices anew: not all models take that.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_varied: bool = True

    def map(self, function: Any) -> "Inputs":
        """Apply a function to every tensor."""

        def on_tensor(item: Any) -> Any:
            return function(item) if isinstance(item, Tensor) else item

        args, kwargs = tree_map(on_tensor, self.args), tree_map(on_tensor, self.kwargs)
        return Inputs(args, kwargs, self.is_varied)

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors."""
        return [leaf for leaf in _leaves(self) if isinstance(leaf, Tensor)]

    @property
    def batch_size(self) -> int:
        """Size of the first tensor's first dimension; 1 for a model without tensor inputs."""
        tensors = self.tensors
        return tensors[0].shape[0] if tensors and tensors[0].ndim else 1

    def to(self, device: torch.device) -> "Inputs":
        """The same inputs on a device."""
        return self.map(lambda tensor: tensor.to(device))

    def cast(self, dtype: torch.dtype) -> "Inputs":
        """Floating-point tensors as `dtype`; indices stay."""
        return self.map(lambda t: t.to(dtype) if t.is_floating_point() else t)


def _leaves(inputs: Inputs) -> list[Any]:
    return [*tree_leaves(inputs.args), *tree_leaves(inputs.kwargs)]


def as_inputs(example_input: ExampleInput) -> Inputs:
    """Read a user's example input: a tensor, a tuple of inputs, or a dict of keyword inputs.

    Raises:
        TraceError: if it is anything else.
    """
    if isinstance(example_input, Tensor):
        return Inputs((example_input,), {})
    if isinstance(example_input, tuple | list):
        return Inputs(tuple(example_input), {})
    if isinstance(example_input, dict):
        return Inputs((), dict(example_input))
    raise TraceError(
        f"example_input is a {type(example_input).__name__}; give a tensor with a batch dimension, "
        "a tuple of the model's inputs, or a dict of its keyword inputs"
    )


PROBE_SIZE = 8
"""Samples of a probe, at least."""


def probe_size(inputs: Inputs, least: int = PROBE_SIZE) -> int:
    """How many samples a probe has: the example's, as often as it takes for `least`.

    Example:
        >>> probe_size(as_inputs(torch.zeros(3, 5))), probe_size(as_inputs(torch.zeros(32, 5)))
        (9, 32)
    """
    size = inputs.batch_size
    return size * -(-least // max(size, 1))


def probe(inputs: Inputs, seed: int, batch_size: int = PROBE_SIZE) -> Inputs:
    """Inputs like the example, but different from sample to sample, for checks.

    Floating-point inputs get noise of their own spread added; indices are drawn from the example's
    range; unless the inputs aren't to be varied. A batch of fewer than `batch_size` samples is
    repeated.
    """
    generator = torch.Generator().manual_seed(seed)
    size = inputs.batch_size

    def vary(tensor: Tensor) -> Tensor:
        if tensor.ndim and tensor.shape[0] == size and size < batch_size:
            repeats = -(-batch_size // size)
            tensor = tensor.repeat(repeats, *[1] * (tensor.ndim - 1))
        if not inputs.is_varied:
            return tensor
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator).to(tensor)
            spread = tensor.std() if tensor.numel() > 1 else tensor.new_ones(())
            return tensor + noise * torch.where(spread > 0, spread, torch.ones_like(spread))
        if tensor.dtype in (torch.int64, torch.int32) and tensor.numel():
            low, high = int(tensor.min()), int(tensor.max())
            drawn = torch.randint(low, high + 1, tensor.shape, generator=generator)
            return drawn.to(tensor)
        return tensor

    return inputs.map(vary)


def run_example(model: nn.Module, inputs: Inputs) -> Any:
    """The model's output on the example.

    Raises:
        TraceError: if the model doesn't accept it, with its own error.
    """
    try:
        return model(*inputs.args, **inputs.kwargs)
    except FORWARD_FAILURES as error:
        shapes = [tuple(tensor.shape) for tensor in inputs.tensors]
        raise TraceError(
            f"{type(model).__name__} doesn't run on the example_input of shapes {shapes}: "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}. Give one batch "
            "as the model gets it in training"
        ) from error
