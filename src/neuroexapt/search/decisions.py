"""Decisions between operations: architecture parameters, and how a choice is drawn from them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError

SPREAD = 1e-3
"""Standard deviation of architecture parameters at first: nearly no preference."""


class Decision(nn.Module):
    """Which of several operations, with one architecture parameter each.

    Several mixed operations may share a decision, as the cells of one network do.

    Args:
        name: unlike those of a network's other decisions.
        operations: names, two at least.
        preferred: a name that is likelier from the start; None for none.
        preference: by how much its parameter is larger.
        generator: of the first values; None for zeros.

    Raises:
        SearchError: if there are fewer than two operations, or one comes twice.

    Attributes:
        alpha: the architecture parameters, shape (operations,).
        active: the indices of the operations that run, ascending.
        weights: by what their outputs are multiplied, shape (operations,); None for by nothing.
        soft: the relaxed sample that the choice was made by, detached; None without one.
    """

    def __init__(
        self,
        name: str,
        operations: Sequence[str],
        *,
        preferred: str | None = None,
        preference: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(set(operations)) < max(len(operations), 2):
            raise SearchError(
                f"the decision {name!r} is between {', '.join(operations) or 'no operations'}; "
                "give two operations or more, each named once"
            )
        self.name = name
        self.operations = tuple(operations)
        first = torch.zeros(len(self.operations))
        if generator is not None:
            first += SPREAD * torch.randn(len(self.operations), generator=generator)
        if preferred is not None:
            first[self.operations.index(preferred)] += preference
        self.alpha = nn.Parameter(first)
        self.active: tuple[int, ...] = (int(first.argmax()),)
        self.weights: Tensor | None = None
        self.soft: Tensor | None = None

    @property
    def probabilities(self) -> Tensor:
        """softmax(alpha), detached, shape (operations,)."""
        return self.alpha.detach().softmax(0)

    @property
    def chosen(self) -> str:
        """The likeliest operation; the first of them where several are."""
        return self.operations[int(self.alpha.detach().argmax())]

    def __getstate__(self) -> dict[str, Any]:
        """What a copy is made from: weights that were drawn come without their gradient in alpha.

        That is the original's, and no copy can be made of it.
        """
        weights = None if self.weights is None else self.weights.detach()
        return self.__dict__ | {"weights": weights}


def decisions(network: nn.Module) -> dict[str, Decision]:
    """All decisions of a network, by name.

    Raises:
        SearchError: if there are none, or two have one name.
    """
    every = [module for module in network.modules() if isinstance(module, Decision)]
    found = {decision.name: decision for decision in every}
    if len(found) < len(every):
        twice = next(one.name for one in every if found[one.name] is not one)
        raise SearchError(
            f"two decisions of {type(network).__name__} are named {twice!r}; name each "
            "differently, or let their places share one decision"
        )
    if not found:
        raise SearchError(
            f"{type(network).__name__} has nothing to decide; build one by aso_se, nasbench201 or "
            "searchable"
        )
    return found


def probabilities(network: nn.Module) -> Mapping[str, Tensor]:
    """softmax(alpha) of every decision, by name; detached."""
    return {name: decision.probabilities for name, decision in decisions(network).items()}


def alphas(network: nn.Module) -> list[nn.Parameter]:
    """The architecture parameters."""
    return [decision.alpha for decision in decisions(network).values()]


def other_parameters(network: nn.Module) -> Iterator[nn.Parameter]:
    """All parameters but the architecture's."""
    own = {id(alpha) for alpha in alphas(network)}
    return (parameter for parameter in network.parameters() if id(parameter) not in own)


def relaxed_sample(
    alpha: Tensor, temperature: float, generator: torch.Generator, num_running: int | None = None
) -> Tensor:
    """A sample of the Gumbel-softmax distribution: softmax((log softmax(alpha) + g) / T).

    Args:
        alpha: shape (..., operations), a sample for each row.
        temperature: T; the smaller, the nearer to a single choice.
        generator: of the Gumbel noise g, on the CPU.
        num_running: the largest entries of log softmax(alpha) + g to take part, which are as many
            operations drawn without replacement; all others are 0. None for all.

    Returns:
        Of alpha's shape, with a gradient in alpha.

    Source: Jang et al. 2017, arXiv:1611.01144; and Kool et al. 2019, arXiv:1903.06059, for the
    largest few.
    """
    noise = -torch.empty(alpha.shape).exponential_(generator=generator).log()
    perturbed = alpha.log_softmax(-1) + noise.to(alpha)
    if num_running is not None and num_running < alpha.shape[-1]:
        least = perturbed.detach().topk(num_running).values[..., -1:]
        perturbed = perturbed.masked_fill(perturbed < least, -torch.inf)
    return (perturbed / temperature).softmax(-1)


def straight_through(soft: Tensor) -> Tensor:
    """One for the largest, zero for the others, with the gradient of the relaxed sample.

    Example:
        >>> straight_through(torch.tensor([0.2, 0.5, 0.3])).tolist()
        [0.0, 1.0, 0.0]
    """
    hard = torch.zeros_like(soft)
    hard[soft.argmax()] = 1.0
    return hard - soft.detach() + soft


def taking_part(num_running: int | None) -> int | None:
    """Operations that take part in a relaxed sample; None for all, as where only one is to run."""
    return None if num_running == 1 else num_running


def sample(
    network: nn.Module,
    temperature: float,
    generator: torch.Generator,
    *,
    learning: bool = False,
    num_running: int | None = 1,
) -> None:
    """Draw every decision anew; only what was drawn runs from now on.

    To train weights, draw once a step. To train alpha, draw once a step with `learning`: the
    choice is as hard, its gradient that of the relaxed sample.

    Args:
        network: with decisions.
        temperature: of the relaxed sample, above 0.
        generator: the only source of randomness.
        learning: let gradients through to alpha.
        num_running: with `learning`, how many operations run: with 1 the drawn one, so that alpha
            only hears of that one; with more, the next ones in the draw as well, which tell what
            they would have done instead; None for all.

    Raises:
        ValueError: if the temperature isn't above 0.
        SearchError: if there is nothing to decide.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; give a number above 0, such as 1.0")
    for decision in decisions(network).values():
        compared = taking_part(num_running) if learning else None
        soft = relaxed_sample(decision.alpha, temperature, generator, compared)
        decision.soft = soft.detach()
        decision.weights = straight_through(soft) if learning else None
        if learning and num_running != 1:
            decision.active = tuple(decision.soft.nonzero().flatten().tolist())
        else:
            decision.active = (int(soft.argmax()),)


def explore(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every operation as often as any other, whatever alpha says; only what was drawn runs.

    No temperature does this: it says how soft a sample is, not which operation comes first.

    Args:
        network: with decisions.
        generator: the only source of randomness.
    """
    for decision in decisions(network).values():
        drawn = int(torch.randint(len(decision.operations), (), generator=generator))
        decision.soft = decision.weights = None
        decision.active = (drawn,)


def mix(network: nn.Module) -> None:
    """Run all operations, weighted by softmax(alpha), until the next call; draw once a step.

    Source: the continuous relaxation of DARTS, Liu et al. 2019, arXiv:1806.09055.
    """
    for decision in decisions(network).values():
        decision.soft = None
        decision.weights = decision.alpha.softmax(0)
        decision.active = tuple(range(len(decision.operations)))


def commit(network: nn.Module) -> dict[str, str]:
    """Run the likeliest operations only, as the derived network will.

    Returns:
        Decision -> operation.
    """
    chosen = {name: decision.chosen for name, decision in decisions(network).items()}
    fix(network, chosen)
    return chosen


def fix(network: nn.Module, choices: Mapping[str, str]) -> None:
    """Run these operations only, whatever alpha says.

    Args:
        network: with decisions.
        choices: decision -> operation, for all of them.
    """
    for name, decision in decisions(network).items():
        decision.soft = decision.weights = None
        decision.active = (decision.operations.index(choices[name]),)
