"""When a search grows its network, and who has to know of what is new."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from neuroexapt.growth.plateau import is_plateau
from neuroexapt.search.alpha import AlphaSteps
from neuroexapt.search.config import SearchConfig
from neuroexapt.search.cost import num_weights
from neuroexapt.search.decisions import alphas, commit, fix, other_parameters
from neuroexapt.search.expand import PARTS, Expansion, choose_place, expand
from neuroexapt.search.loaders import in_parts
from neuroexapt.search.record import SearchEpoch
from neuroexapt.training import Recipe, build_optimizer


@dataclass(frozen=True)
class Grown:
    """What came of an attempt to grow.

    Attributes:
        network: the expanded one, which shares all modules with the one before; or that itself.
        expansion: what happened; None where nothing would have helped.
        flops: spent on looking for the place.
    """

    network: nn.Module
    expansion: Expansion | None
    flops: int


def is_stuck(
    config: SearchConfig,
    history: Sequence[SearchEpoch],
    expansions: Sequence[Expansion],
    accuracy: float,
) -> bool:
    """Whether there is room to expand, and accuracy hasn't risen since that was last so.

    Args:
        config: of the search.
        history: its epochs but the last.
        expansions: that there were.
        accuracy: on held-out data after the last epoch.
    """
    if config.expansion is None or len(expansions) >= config.expansion.most:
        return False
    since = max([config.warmup, *(growth.epoch for growth in expansions)])
    values = [record.val_accuracy for record in history[since:]]
    return is_plateau([*values, accuracy], window=config.expansion.patience)


def grow(
    network: nn.Module,
    val_loader: Iterable[Any],
    config: SearchConfig,
    example: Tensor,
    criterion: Callable[[Any, Any], Tensor],
    *,
    epoch: int,
    number: int,
) -> Grown:
    """Expand a network where that would help most, if anywhere.

    Args:
        network: with decisions; it stays as it is, but runs the likeliest operations afterwards.
        val_loader: data held out from the weights, by which the place is chosen.
        config: of the search, with an `expansion`.
        example: a batch of inputs, on the network's device.
        criterion: outputs and targets to a mean loss.
        epoch: that were trained before.
        number: of expansions that there were.
    """
    assert config.expansion is not None
    batches = in_parts(val_loader, config.expansion.num_samples, PARTS, network)
    choice = choose_place(network, example, batches, criterion)
    if choice.after is None:
        return Grown(network, None, choice.flops)
    seed = config.seed + number
    choices = commit(network)
    grown, opened, error = expand(
        network, example, choice.after, seed=seed, open_operations=config.expansion.open
    )
    expansion = Expansion(
        epoch=epoch,
        after=choice.after,
        seed=seed,
        choices=choices,
        opened=opened,
        gain=choice.gain,
        max_error=error,
        params_before=num_weights(network),
        params_after=num_weights(grown),
        flops=choice.flops,
    )
    return Grown(grown, expansion, choice.flops)


def grow_again(
    network: nn.Module, expansion: Expansion, config: SearchConfig, example: Tensor
) -> nn.Module:
    """Expand a network as another one was, whose weights it is going to load."""
    assert config.expansion is not None
    fix(network, expansion.choices)
    grown, _, _ = expand(
        network,
        example,
        expansion.after,
        seed=expansion.seed,
        open_operations=config.expansion.open,
    )
    return grown


def adopt(
    grown: nn.Module,
    network: nn.Module,
    weights: torch.optim.Optimizer,
    steps: AlphaSteps,
    recipe: Recipe,
) -> None:
    """Let both optimisers know what is new.

    Args:
        grown: the expanded network.
        network: from which it was made.
        weights: the optimiser of all but alpha, as `build_optimizer` makes it.
        steps: trains alpha.
        recipe: that it was made by.
    """
    known = {id(parameter) for parameter in network.parameters()}
    steps.add(alpha for alpha in alphas(grown) if id(alpha) not in known)
    new = [parameter for parameter in other_parameters(grown) if id(parameter) not in known]
    join(weights, grown, new, recipe)


def join(
    weights: torch.optim.Optimizer, network: nn.Module, new: Sequence[nn.Parameter], recipe: Recipe
) -> None:
    """Give an optimiser a network's new parameters, in the groups that the recipe makes.

    Args:
        weights: as `build_optimizer` made it, of the others.
        network: with all of them.
        new: the new ones.
        recipe: that it was made by.
    """
    wanted = {id(parameter) for parameter in new}
    for group in build_optimizer(network, recipe).param_groups:
        own = [parameter for parameter in group["params"] if id(parameter) in wanted]
        if own:
            _join(weights, group, own)


def _join(
    weights: torch.optim.Optimizer, like: dict[str, Any], parameters: list[nn.Parameter]
) -> None:
    """Add parameters to the group with the settings that they ask for, or to a new one."""
    settings = {name: value for name, value in like.items() if name not in ("params", "lr")}
    for group in weights.param_groups:
        if all(group.get(name) == value for name, value in settings.items()):
            group["params"] += parameters
            return
    first = weights.param_groups[0]
    rate = like["initial_lr"] * first["lr"] / first["initial_lr"]
    weights.add_param_group(settings | {"params": parameters, "lr": rate})
