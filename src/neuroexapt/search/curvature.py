"""How sharply the held-out loss curves in the architecture parameters."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from neuroexapt.search.decisions import alphas, mix

Criterion = Callable[[Tensor, Tensor], Tensor]
TOLERANCE, VECTORS = 1e-2, 10
"""When Lanczos stops, as a share of the eigenvalue, and how many vectors it keeps: at these, 11
products of Hessians with 30 and 120 parameters gave the eigenvalue to 1e-4 of itself."""


def alpha_curvature(
    network: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion
) -> float:
    """The largest eigenvalue of a batch's loss, differentiated twice in alpha.

    All operations run, weighted by softmax(alpha), with the norms in the mode that they are in. The
    network is left mixed.

    Args:
        network: with decisions.
        inputs: shape (B, ...).
        targets: as the criterion takes them.
        criterion: outputs and targets to a mean loss.

    Raises:
        SearchError: if there is nothing to decide.

    Source: RobustDARTS, Zela et al. 2020, arXiv:1909.09656, section 4.
    """
    mix(network)
    return largest_eigenvalue(criterion(network(inputs), targets), alphas(network))


def largest_eigenvalue(loss: Tensor, parameters: Sequence[Tensor]) -> float:
    """The largest eigenvalue of a loss's Hessian, by Lanczos on Hessian-vector products.

    It is not a number where the Hessian isn't finite.

    Args:
        loss: one number, with a graph that can be differentiated twice.
        parameters: two numbers at least, all together.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> round(largest_eigenvalue((x * x * torch.tensor([1.5, -4.0])).sum(), [x]), 4)
        3.0
    """
    gradient = _flat_gradient(loss, parameters, create_graph=True)
    size = len(gradient)

    def product(vector: np.ndarray) -> np.ndarray:
        along = torch.from_numpy(vector.reshape(-1)).to(gradient)
        if not gradient.requires_grad:
            return np.zeros(size)
        found = _flat_gradient(gradient @ along, parameters, retain_graph=True)
        return found.double().cpu().numpy()

    start = np.random.default_rng(0).standard_normal(size)
    along = product(start)
    if not along.any() or not np.isfinite(along).all():
        return float(along.sum())
    hessian = LinearOperator((size, size), matvec=product, dtype=np.float64)
    found = eigsh(
        hessian,
        k=1,
        which="LA",
        v0=start,
        ncv=min(VECTORS, size),
        tol=TOLERANCE,
        return_eigenvectors=False,
    )
    return float(found[0])


def _flat_gradient(
    of: Tensor,
    parameters: Sequence[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool = False,
) -> Tensor:
    """Shape (numbers in all parameters,); zeros where a parameter has no part."""
    found = torch.autograd.grad(
        of,
        parameters,
        create_graph=create_graph,
        retain_graph=retain_graph or create_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    return torch.cat([part.flatten() for part in found])
