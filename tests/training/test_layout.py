"""Where channels last gives wrong gradients, they stay first."""

import pytest
import torch
from torch import nn

from neuroexapt.runs import configure
from neuroexapt.runs.session import build
from neuroexapt.training import train_batches
from neuroexapt.training.layout import suited
from neuroexapt.training.recipe import Recipe

LAST = Recipe(channels_last=True, batch_size=64)


@pytest.mark.parametrize(
    ("layer", "stays_last"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), False),
        (nn.Conv2d(32, 32, 1, stride=2, groups=8), False),
        (nn.Conv2d(16, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), True),
    ],
)
def test_only_strided_1x1_convolutions_of_few_channels_keep_channels_first(layer, stays_last):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), layer)
    assert suited(LAST, model, "cpu").channels_last is stays_last
    assert suited(LAST, model, "cuda").channels_last


@pytest.mark.parametrize(
    ("capability", "stays_last"), [("AVX2", True), ("AVX512", False), ("DEFAULT", False)]
)
def test_how_many_channels_are_few_goes_by_the_registers(capability, stays_last, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    model = nn.Conv2d(8, 16, 1, stride=2)
    assert suited(LAST, model, "cpu").channels_last is stays_last


def test_a_recipe_with_channels_first_is_left_alone():
    recipe = Recipe()
    assert suited(recipe, nn.Conv2d(4, 8, 1, stride=2), "cpu") is recipe


def test_gradients_of_a_narrow_shortcut_in_a_run_are_right(tmp_path, monkeypatch):
    (tmp_path / "narrow_shortcut.py").write_text(
        "from torch import nn\n"
        "def net(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, padding=1, bias=False),\n"
        "        nn.Conv2d(4, 8, 1, stride=2, bias=False), nn.ReLU(),\n"
        "        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = configure(
        {"data": "digits", "model": "narrow_shortcut:net", "epochs": 1, "recipe": LAST.model_dump()}
    )
    session = build(config)
    assert not session.train.channels_last
    assert not session.validation.channels_last
    assert train_batches(session.data, LAST, seed=0).channels_last
    images, labels = next(iter(session.train))
    living = session.loop.living
    loss = nn.functional.cross_entropy(living(images), labels)
    weights = dict(living.named_parameters())["1.weight"]
    (found,) = torch.autograd.grad(loss, weights)
    doubled = living.double()
    loss = nn.functional.cross_entropy(doubled(images.double()), labels)
    (exact,) = torch.autograd.grad(loss, dict(doubled.named_parameters())["1.weight"])
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-6)
