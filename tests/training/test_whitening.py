import copy
from dataclasses import replace

import pytest
import torch
from small import CRITERION
from torch import Tensor, nn

from neuroexapt import Budget, Grower, GrowthConfig, LivingModel, Split, Widen
from neuroexapt.errors import TrainingError
from neuroexapt.training import Recipe, build_optimizer, load, whiten_, whiten_first_, whitening
from neuroexapt.training.airbench import airbench
from neuroexapt.training.batches import evaluation_batches
from neuroexapt.training.whitening import whitening_filters


def images(count: int = 300, channels: int = 3) -> Tensor:
    """Smooth noise whose channels go together, off the origin: patches that are correlated."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 1, 8, 8, generator=generator)
    own = torch.randn(count, channels, 8, 8, generator=generator)
    return nn.functional.avg_pool2d(noise + 0.3 * own, 3, stride=1) + 0.5


def covariance(responses: Tensor) -> Tensor:
    """Of the channels over samples and positions."""
    return torch.cov(responses.transpose(0, 1).flatten(1), correction=0)


@pytest.mark.parametrize("kernel", [(2, 2), (3, 1)])
def test_whitening_responses_are_uncorrelated_and_of_one_variance(kernel) -> None:
    data = images().double()
    filters = whitening_filters(data, kernel, eps=0.0)
    found = covariance(nn.functional.conv2d(data, filters))
    torch.testing.assert_close(found, torch.eye(len(found), dtype=torch.float64))


def test_whitening_eps_spares_what_hardly_varies() -> None:
    """The response to a direction of variance v has variance v / (v + eps)."""
    data, eps = images().double(), 0.01
    found = covariance(nn.functional.conv2d(data, whitening_filters(data, (2, 2), eps)))
    patches = nn.functional.unfold(data, 2).transpose(0, 1).flatten(1)
    variances = torch.linalg.eigvalsh(torch.cov(patches, correction=0)).flip(0)
    torch.testing.assert_close(found, (variances / (variances + eps)).diag())


@pytest.mark.parametrize("channels", [24, 8])
def test_whiten_fills_a_convolution_by_halves_and_freezes_it(channels: int) -> None:
    convolution = nn.Conv2d(3, channels, 2)
    whiten_(convolution, images())
    half = channels // 2
    expected = whitening_filters(images(), (2, 2))[:half]
    assert torch.equal(convolution.weight[:half], expected)
    assert torch.equal(convolution.weight[half:], -expected)
    assert not convolution.weight.requires_grad
    assert convolution.bias.requires_grad and not convolution.bias.any()


@pytest.mark.parametrize(
    ("convolution", "message"),
    [
        (nn.Conv2d(1, 4, 2), "no whitening of images of 3 channels"),
        (nn.Conv2d(3, 6, 2, groups=3), "no whitening of images of 3 channels"),
        (nn.Conv2d(3, 7, 2), "7 channels can't whiten patches of 12 numbers"),
        (nn.Conv2d(3, 26, 2), "26 channels can't whiten .* even number of up to 24"),
    ],
)
def test_whiten_refuses_what_it_cannot_fill(convolution: nn.Conv2d, message: str) -> None:
    before = copy.deepcopy(convolution.state_dict())
    with pytest.raises(TrainingError, match=message):
        whiten_(convolution, images())
    assert str(convolution.state_dict()) == str(before)


def test_whiten_first_looks_at_the_training_part_as_networks_get_it() -> None:
    splits = load("digits")
    model = airbench(10, 1, (8, 8))
    whiten_first_(model, splits)
    ((whole, _),) = evaluation_batches(splits, splits.train, batch_size=len(splits.train))
    assert torch.equal(model.whitening.weight[:4], whitening_filters(whole, (2, 2)))
    other = nn.Sequential(nn.Conv2d(1, 8, 2))
    before = other[0].weight.detach().clone()
    whiten_first_(other, splits)
    assert torch.equal(other[0].weight, before) and other[0].weight.requires_grad


# Growth leaves it alone


def whitened() -> LivingModel:
    torch.manual_seed(0)
    model = airbench(3, 3, (8, 8), width=4)
    whiten_(model.whitening, torch.randn(50, 3, 8, 8))
    return LivingModel(model, torch.randn(4, 3, 8, 8))


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(32, 3, 8, 8, generator=generator),
            torch.randint(3, (32,), generator=generator),
        )
        for _ in range(2)
    ]


@pytest.mark.parametrize("policy", ["random", "papers", "breakthrough", "uniform", "arbiter"])
def test_grower_never_edits_the_whitening(policy: str) -> None:
    living = whitened()
    filters = living.get_parameter("whitening.weight")
    value = filters.detach().clone()
    config = GrowthConfig(
        policy=policy,
        every=1,
        until=1.0,
        max_edits=14,  # more than there are groups
        num_batches=1,
        entropy_threshold=0.0,
        split_probability=1.0,
        kinds=("widen",),
        min_saving=0.0,
        exchange=0.0,
        sensing_share=1.0,
        pace=10.0,
    )
    optimizer = build_optimizer(living, Recipe(optimizer="muon", lr=0.1))
    grower = Grower(living, optimizer, CRITERION, Budget(), config)
    grower.step(batches(), metric=0.5)
    grown = {growth.edit.group for growth in grower.growths if hasattr(growth.edit, "group")}
    assert grown and "whitening" not in grown
    assert not any(getattr(r.edit, "group", None) == "whitening" for r in grower.refusals)
    assert living.get_parameter("whitening.weight") is filters and torch.equal(filters, value)


@pytest.mark.parametrize("edit", [Widen, Split])
def test_whitening_that_a_user_widens_keeps_its_filters_whole_and_frozen(edit) -> None:
    living = whitened()
    before = living.get_parameter("whitening.weight").detach().clone()
    optimizer = build_optimizer(living, Recipe(optimizer="muon", lr=0.1))
    given = {"count": 2} if edit is Widen else {"units": (0, 5)}
    change = living.apply(edit(group="whitening", **given), optimizer)
    after = living.get_parameter("whitening.weight")
    assert change.max_error < 1e-5 and len(after) == 26
    assert torch.equal(after[:24], before) and not after.requires_grad
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert id(after) not in held


def test_whiten_first_looks_at_all_classes_of_sorted_images(monkeypatch) -> None:
    monkeypatch.setattr(whitening, "NUM_IMAGES", 40)
    digits = load("digits")
    order = digits.train.labels.argsort()
    splits = replace(digits, train=digits.train.select(order))
    seen = []
    monkeypatch.setattr(whitening, "whiten_", lambda _, images: seen.append(images))
    whiten_first_(airbench(10, 1, (8, 8), width=2), splits)
    every = splits.train.select(torch.arange(40) * len(order) // 40)
    assert len(seen[0]) == 40
    assert len(every.labels.unique()) == 10
    ((expected, _),) = evaluation_batches(splits, every, batch_size=40)
    torch.testing.assert_close(seen[0], expected)
