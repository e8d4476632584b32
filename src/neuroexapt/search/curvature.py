"""How sharply the held-out loss curves in the architecture parameters."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from torch import Tensor, nn

from neuroexapt.search.decisions import alphas, mix

Criterion = Callable[[Tensor, Tensor], Tensor]
TOLERANCE = 1e-2
"""When Lanczos stops: at a residual of so large a share of the eigenvalue, which is then known to
the square of that or so."""
PRODUCTS = 24
"""Products of the Hessian with a vector, at most: each takes as long as two or three passes."""


def alpha_curvature(
    network: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    criterion: Criterion,
    *,
    products: int = PRODUCTS,
) -> float:
    """The largest eigenvalue of a batch's loss, differentiated twice in alpha.

    All operations run, weighted by softmax(alpha), with the norms in the mode that they are in. The
    network is left mixed.

    Args:
        network: with decisions.
        inputs: shape (B, ...).
        targets: as the criterion takes them.
        criterion: outputs and targets to a mean loss.
        products: of the Hessian with a vector, at most; with few the eigenvalue comes out too low.

    Raises:
        SearchError: if there is nothing to decide.

    Source: RobustDARTS, Zela et al. 2020, arXiv:1909.09656, section 4.
    """
    mix(network)
    return largest_eigenvalue(
        criterion(network(inputs), targets), alphas(network), products=products
    )


def largest_eigenvalue(
    loss: Tensor, parameters: Sequence[Tensor], *, products: int = PRODUCTS
) -> float:
    """The largest eigenvalue of a loss's Hessian, by Lanczos on Hessian-vector products.

    It is not a number where the Hessian isn't finite.

    Args:
        loss: one number, with a graph that can be differentiated twice.
        parameters: to differentiate in.
        products: of the Hessian with a vector, at most; with few the eigenvalue comes out too low.

    Example:
        >>> x = torch.tensor([1.0, 2.0], requires_grad=True)
        >>> round(largest_eigenvalue((x * x * torch.tensor([1.5, -4.0])).sum(), [x]), 4)
        3.0

    Source: Golub and Van Loan, Matrix Computations, section 10.1, with every vector made orthogonal
    to all before it.
    """
    gradient = _flat_gradient(loss, parameters, create_graph=True)
    if not gradient.requires_grad:
        return 0.0

    def product(vector: np.ndarray) -> np.ndarray:
        along = gradient @ torch.from_numpy(vector).to(gradient)
        found = _flat_gradient(along, parameters, retain_graph=True)
        return found.double().cpu().numpy()

    vector = np.random.default_rng(0).standard_normal(len(gradient))
    basis = [vector / np.linalg.norm(vector)]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(products, len(gradient))):
        vector = product(basis[-1])
        if not np.isfinite(vector).all():
            return math.nan
        diagonal.append(float(vector @ basis[-1]))
        for _ in range(2):  # rounding leaves a rest the first time
            vector -= np.stack(basis).T @ (np.stack(basis) @ vector)
        values, vectors = eigh_tridiagonal(diagonal, beside)
        length = float(np.linalg.norm(vector))
        if length * abs(vectors[-1, -1]) <= TOLERANCE * abs(values[-1]):
            break
        beside.append(length)
        basis.append(vector / length)
    return float(values[-1])


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
