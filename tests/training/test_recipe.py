import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from neuroexapt.errors import TrainingError
from neuroexapt.training.augment import Augment
from neuroexapt.training.recipe import (
    RECIPES,
    Recipe,
    build_criterion,
    build_optimizer,
    default_recipe,
    lr_factor,
    set_lr,
)


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("cosine", 0.0, 0.1),
        ("cosine", 0.1, 0.55),  # half way from 0.1 to 1
        ("cosine", 0.2, 1.0),
        ("cosine", 0.6, 0.5),  # half the rest: (1 + cos 90 degrees) / 2
        ("cosine", 0.2 + 0.8 / 3, 0.75),  # a third of it: (1 + cos 60 degrees) / 2
        ("cosine", 1.0, 0.0),
        ("triangle", 0.1, 0.55),
        ("triangle", 0.2, 1.0),
        ("triangle", 0.8, 0.25),
        ("triangle", 1.0, 0.0),
        ("constant", 0.1, 0.55),
        ("constant", 0.2, 1.0),
        ("constant", 1.0, 1.0),
    ],
)
def test_lr_factor_by_hand(schedule: str, progress: float, factor: float) -> None:
    recipe = Recipe(schedule=schedule, warmup=0.2, start=0.1)
    assert lr_factor(recipe, progress) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize("schedule", ["cosine", "triangle", "constant"])
def test_lr_factor_without_warmup_begins_at_the_peak(schedule: str) -> None:
    assert lr_factor(Recipe(schedule=schedule, warmup=0), 0) == 1


@pytest.mark.parametrize("progress", [-0.01, 1.01, math.nan])
def test_lr_factor_outside_the_budget_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match="share of the budget, 0 to 1"):
        lr_factor(Recipe(), progress)


def test_set_lr_reaches_every_group() -> None:
    recipe = Recipe(lr=0.4, schedule="triangle", warmup=0)
    optimizer = build_optimizer(nn.Linear(2, 2), recipe)
    assert set_lr(optimizer, recipe, 0.75) == pytest.approx(0.1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.1])


def test_set_lr_leaves_groups_their_own_peaks() -> None:
    recipe = Recipe(optimizer="muon", lr=0.4, matrix_lr=0.2, vector_lr=0.1, schedule="triangle")
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 3))
    optimizer = build_optimizer(model, recipe)
    for progress, factor in ((0.05, 1.0), (0.525, 0.5), (0.0, 0.1)):
        assert set_lr(optimizer, recipe, progress) == pytest.approx(0.4 * factor)
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx([0.4 * factor, 0.2 * factor, 0.1 * factor])


def test_set_lr_of_a_users_groups_takes_the_recipes_peak_or_theirs() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(
        [{"params": first.parameters()}, {"params": second.parameters(), "initial_lr": 2.0}], lr=1.0
    )
    set_lr(optimizer, Recipe(lr=0.4, schedule="triangle", warmup=0), 0.75)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.1, 0.5])


def test_build_optimizer_muon_takes_filters_and_adamw_the_rest() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv1d(2, 4, 1), nn.Flatten(), nn.Linear(2, 3)
    )
    model.extra = nn.Parameter(torch.zeros(2, 2, 2))
    model[2].bias.requires_grad_(False)
    recipe = Recipe(optimizer="muon", lr=0.3, momentum=0.7, nesterov=False, weight_decay=0.1)
    optimizer = build_optimizer(model, recipe)
    filters, matrices, vectors = optimizer.param_groups
    assert filters["params"] == [model[0].weight, model[2].weight]
    assert (filters["rule"], filters["momentum"], filters["nesterov"]) == ("muon", 0.7, False)
    assert {id(p) for p in matrices["params"]} == {id(model.extra), id(model[4].weight)}
    assert (matrices["rule"], matrices["per_input"]) == ("adamw", True)
    assert vectors["params"] == [model[0].bias, model[1].weight, model[1].bias, model[4].bias]
    assert (vectors["rule"], vectors["per_input"], vectors["weight_decay"]) == ("adamw", False, 0)
    assert filters["weight_decay"] == matrices["weight_decay"] == 0.1


def test_build_optimizer_muon_of_what_has_no_convolution() -> None:
    groups = build_optimizer(nn.Linear(2, 2), Recipe(optimizer="muon")).param_groups
    assert [group["rule"] for group in groups] == ["adamw", "adamw"]


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_build_optimizer_decays_weights_and_not_vectors(kind: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
    optimizer = build_optimizer(model, Recipe(optimizer=kind, lr=0.5, momentum=0, weight_decay=0.1))
    decayed, kept = optimizer.param_groups
    assert decayed["weight_decay"] == 0.1 and kept["weight_decay"] == 0
    assert decayed["params"] == [model[0].weight, model[3].weight]
    assert kept["params"] == [model[0].bias, model[1].weight, model[1].bias, model[3].bias]
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, value in zip(model.parameters(), before, strict=True):
        # With no gradient, a step of rate 0.5 and decay 0.1 leaves 1 - 0.05 of a weight.
        expected = value * 0.95 if parameter.ndim > 1 else value
        torch.testing.assert_close(parameter.detach(), expected)


def test_build_optimizer_leaves_out_frozen_parameters_and_empty_groups() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2, bias=False))
    model[0].requires_grad_(False)
    groups = build_optimizer(model, Recipe()).param_groups
    assert [group["params"] for group in groups] == [[model[1].weight]]
    with pytest.raises(TrainingError, match="no parameter of the model is trainable"):
        build_optimizer(model.requires_grad_(False), Recipe())


def test_build_optimizer_without_momentum_has_nothing_to_look_ahead_along() -> None:
    optimizer = build_optimizer(nn.Linear(1, 1), Recipe(momentum=0, nesterov=True))
    assert optimizer.param_groups[0]["nesterov"] is False


def test_build_criterion_smooths_labels_by_hand() -> None:
    # Equal outputs: cross-entropy is log 4 whatever the target.
    criterion = build_criterion(Recipe(label_smoothing=0.2))
    assert criterion(torch.zeros(1, 4), torch.tensor([1])).item() == pytest.approx(math.log(4))
    # Probability nearly 1 on the target, logits 0 and 10: 0.1 of the target lies on the other.
    outputs, expected = torch.tensor([[0.0, 10.0]]), 0.1 * 10 + math.log1p(math.exp(-10))
    assert criterion(outputs, torch.tensor([1])).item() == pytest.approx(expected, rel=1e-5)


def test_recipe_survives_json() -> None:
    recipe = Recipe(optimizer="adamw", augment=Augment(shift=2, cutout=8), schedule="triangle")
    for known in (recipe, *RECIPES.values()):
        assert Recipe.model_validate_json(known.model_dump_json()) == known


@pytest.mark.parametrize(
    "settings",
    [{"lr": 0}, {"momentum": 1.0}, {"warmup": 1.0}, {"schedule": "linear"}, {"epochs": 3}],
)
def test_recipe_that_makes_no_sense_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=next(iter(settings))):
        Recipe(**settings)


def test_default_recipe_never_mirrors_digits() -> None:
    assert default_recipe("digits").augment == Augment(shift=1)
    assert default_recipe("cifar10").augment.flip
    assert default_recipe("anything") == Recipe(clip_norm=5.0)


def test_default_recipes_clip_and_named_ones_do_not() -> None:
    assert {default_recipe(name).clip_norm for name in ("digits", "cifar100", "other")} == {5.0}
    assert RECIPES["airbench"].clip_norm is Recipe().clip_norm is None
