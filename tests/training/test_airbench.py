import pytest
import torch
from torch import Tensor, nn

from neuroexapt import Attend, Connect, Deepen, LivingModel, Prune, Split, Widen
from neuroexapt.graph import Cost
from neuroexapt.training import airbench, build_criterion, build_optimizer, training_flops
from neuroexapt.training.recipe import RECIPES


def living(width: int = 8) -> LivingModel:
    torch.manual_seed(0)
    return LivingModel(airbench(10, 3, width=width), torch.randn(4, 3, 32, 32))


def test_airbench_parameters_and_macs_by_hand() -> None:
    """At width w: 24 filters of 2x2x3, then 3x3 convolutions on 31, 15, 15, 7, 7 and 3 pixels."""
    w, c = 24, 96
    sizes = [(24, w, 31), (w, w, 15), (w, c, 15), (c, c, 7), (c, c, 7), (c, c, 3)]
    weights = 24 * 12 + 24 + sum(9 * a * b for a, b, _ in sizes) + 10 * c
    norms = 2 * (2 * w + 4 * c)
    macs = 24 * 12 * 31**2 + sum(9 * a * b * side**2 for a, b, side in sizes) + 10 * c
    model = airbench(10, 3, width=w, whitening_bias=True)
    assert LivingModel(model, torch.randn(2, 3, 32, 32)).cost() == Cost(weights + norms, macs)


def test_airbench_whitening_is_not_differentiated_once_it_is_frozen() -> None:
    """Neither its own gradient nor the one that would have to come down to it costs anything."""
    batch = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    model = airbench(10, 3, width=8)
    whole = training_flops(model, batch, nn.CrossEntropyLoss())
    model.whitening.weight.requires_grad_(False)
    spared = 2 * 31**2 * (24 * 12 + 9 * 24 * 8)
    assert training_flops(model, batch, nn.CrossEntropyLoss()) == whole - spared


def test_airbench_groups_grow_each_by_itself() -> None:
    groups = living().groups
    assert [(group.name, group.size) for group in groups] == [
        ("whitening", 24),
        *[
            (f"block{number}.conv{k}", 32 if number > 1 else 8)
            for number in (1, 2, 3)
            for k in (1, 2)
        ],
        ("head", 10),
    ]
    assert [group.name for group in groups if group.frozen is not None] == ["head"]


@pytest.mark.parametrize(
    "edit",
    [
        *[Widen(group=f"block{b}.conv{k}", count=2) for b in (1, 2, 3) for k in (1, 2)],
        Split(group="block3.conv2", units=(0, 3)),
        Widen(group="block2.conv1", count=2, init="paired"),
        Deepen(after="block2.act2"),
        Connect(source="block1.act2", target="block2.act1"),
        Attend(after="block3.act2"),
        Prune(group="block2.conv2", units=(1,), preserving=False),
    ],
    ids=str,
)
def test_airbench_grows_and_trains_on(edit) -> None:
    recipe = RECIPES["airbench"]
    model = living()
    optimizer = build_optimizer(model, recipe)
    criterion = build_criterion(recipe)
    batch = torch.randn(8, 3, 32, 32), torch.arange(8)

    def step() -> float:
        optimizer.zero_grad()
        loss: Tensor = criterion(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(2):
        step()
    change = model.apply(edit, optimizer)
    assert isinstance(edit, Prune) or change.max_error <= 1e-5
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters() if p.requires_grad}
    losses = [step() for _ in range(4)]
    assert losses[-1] < losses[0]


def test_airbench_heads_rate_follows_its_width() -> None:
    """Under gradients that stay the same, Adam's steps are its rate: that over the inputs."""
    recipe = RECIPES["airbench"]
    model = living()
    optimizer = build_optimizer(model, recipe)

    def moved() -> Tensor:
        weight = model.get_parameter("head.weight")
        before = weight.detach().clone()
        weight.grad = torch.ones_like(weight)
        optimizer.step()
        return before - weight.detach()

    torch.testing.assert_close(moved(), torch.full((10, 32), recipe.matrix_lr / 32))
    model.apply(Split(group="block3.conv2", units=tuple(range(32))), optimizer)
    torch.testing.assert_close(moved()[:, :32], torch.full((10, 32), recipe.matrix_lr / 64))


def test_airbench_convolutions_pass_their_inputs_on_at_first() -> None:
    block = airbench(10, 3, width=16).block2
    x = torch.rand(2, 16, 6, 6)
    torch.testing.assert_close(block.conv1(x)[:, :16], x + 0 * x)
    assert block.conv1(x)[:, 16:].abs().min() > 0


@pytest.mark.parametrize("width", [4, 64])
def test_airbench_head_begins_as_a_mean_and_norms_train_only_their_shift(width: int) -> None:
    torch.manual_seed(0)
    model = airbench(10, 3, width=width)
    assert model.head.weight.std().item() * 4 * width == pytest.approx(1.0)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 6
    for norm in norms:
        assert (norm.weight.requires_grad, norm.bias.requires_grad) == (False, True)
        assert norm.momentum == 0.4
