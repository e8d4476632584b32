"""The neural tangent kernel of a small batch: how trainable a network is as a whole."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from neuroexapt.graph import Inputs, as_inputs
from neuroexapt.graph.inputs import ExampleInput
from neuroexapt.signals.untouched import untouched


@dataclass(frozen=True)
class TangentKernel:
    """What the neural tangent kernel of a batch says.

    Attributes:
        trace: sum of its eigenvalues: how fast outputs move in all, per unit of learning rate.
        condition: largest eigenvalue over the smallest: how much slower the slowest combination of
            samples is learnt than the fastest. Infinite where one isn't learnt at all.
        num_samples: of the batch.
    """

    trace: float
    condition: float
    num_samples: int


def tangent_kernel(model: nn.Module, inputs: ExampleInput) -> Tensor:
    """The neural tangent kernel: products of the samples' output gradients.

    Entry (i, j) is the sum over outputs k and parameters p of df_k(x_i)/dp df_k(x_j)/dp, divided by
    the number of outputs. The model runs in eval mode, each sample by itself; nothing is changed.

    Args:
        model: gives one floating-point tensor, samples first.
        inputs: a tensor, a tuple or a dict as the model takes it; 16 to 64 samples are enough. The
            gradients of all samples are held at once: samples x outputs x parameters numbers.

    Returns:
        Float64 of shape (samples, samples), symmetric, no eigenvalue below 0.

    Raises:
        ValueError: if the model gives anything but one tensor with the samples first, or values
            that aren't finite; if none of its parameters is trained; or if there is no sample.

    Source: Jacot et al. 2018, arXiv:1806.07572.

    Example:
        >>> linear = nn.Linear(2, 1)
        >>> tangent_kernel(linear, torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist()
        [[2.0, 1.0], [1.0, 5.0]]
    """
    given = as_inputs(inputs)
    parameters = {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}
    if not parameters or not given.batch_size:
        lacking = "a sample: the batch is empty" if parameters else "a parameter that is trained"
        raise ValueError(f"a tangent kernel needs {lacking}")
    fixed = {n: p.detach() for n, p in model.named_parameters() if not p.requires_grad}
    fixed |= dict(model.named_buffers())
    device = next((p.device for p in parameters.values()), torch.device("cpu"))

    def output(trained: dict[str, Tensor], sample: Inputs) -> Tensor:
        one = sample.map(lambda tensor: tensor[None])
        found = functional_call(model, {**trained, **fixed}, one.args, one.kwargs)
        if not isinstance(found, Tensor) or found.ndim < 2 or len(found) != 1:
            raise ValueError(
                "a tangent kernel needs a model that gives one tensor of shape (samples, outputs "
                f"...); this one gives {getattr(found, 'shape', type(found).__name__)} for a sample"
            )
        return found.flatten()

    with untouched(model, device):
        model.eval()
        rows = []
        for index in range(given.batch_size):
            sample = given.map(lambda tensor, i=index: tensor[i].to(device))
            jacobian = jacrev(output)(parameters, sample)
            rows.append(torch.cat([part.flatten(1) for part in jacobian.values()], 1))
    stacked = torch.stack(rows).double()
    if not bool(stacked.isfinite().all()):
        raise ValueError(
            "gradients of the model's outputs aren't finite; look at inputs and weights"
        )
    return torch.einsum("ikp,jkp->ij", stacked, stacked) / stacked.shape[1]


def kernel_of(model: nn.Module, inputs: ExampleInput) -> TangentKernel:
    """Trace and condition number of the tangent kernel; see `tangent_kernel`.

    Eigenvalues under the rounding of the largest, in the precision of the weights, count as 0.

    Raises:
        ValueError: as `tangent_kernel`.

    Example:
        >>> found = kernel_of(nn.Linear(2, 1), torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
        >>> found.trace, round(found.condition, 2)
        (7.0, 3.12)
    """
    kernel = tangent_kernel(model, inputs)
    eigenvalues = torch.linalg.eigvalsh(kernel)
    smallest, largest = float(eigenvalues[0]), float(eigenvalues[-1])
    precision = max(torch.finfo(p.dtype).eps for p in model.parameters() if p.requires_grad)
    floor = largest * len(kernel) * precision
    condition = largest / smallest if smallest > floor else math.inf
    return TangentKernel(float(kernel.trace()), condition, len(kernel))
