"""Where channels last gives wrong gradients, they come first."""

import copy

import pytest
import torch
from torch import Tensor, nn

from neuroexapt import LivingModel, Prune
from neuroexapt.growth.sampling import drawn
from neuroexapt.search.loaders import in_parts
from neuroexapt.search.undisturbed import first_samples
from neuroexapt.training import takes_channels_last, train_epoch
from neuroexapt.training.loaders import pairs


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.Conv2d(4, 8, 1, stride=2), False),
        (nn.Conv2d(32, 32, 1, stride=2, groups=8), False),
        (nn.Conv2d(16, 8, 1, stride=2), True),
        (nn.Conv2d(4, 8, 1), True),
        (nn.Conv2d(4, 8, 3, stride=2, padding=1), True),
    ],
)
def test_strided_1x1_convolutions_of_few_channels_do_not_take_channels_last(layer, expected):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), layer)
    assert takes_channels_last(model) is expected
    assert takes_channels_last(copy.deepcopy(model).to("meta")), "the fault is the CPU's"


@pytest.mark.parametrize(
    ("capability", "expected"), [("AVX2", True), ("AVX512", False), ("DEFAULT", False)]
)
def test_how_many_channels_are_few_goes_by_the_registers(capability, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert takes_channels_last(nn.Conv2d(8, 16, 1, stride=2)) is expected


def shortcut(width: int) -> nn.Module:
    """A network whose strided 1x1 convolution takes so many channels."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(width, 8, 1, stride=2, bias=False),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )


def last(count: int = 2) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(64, 3, 16, 16, generator=generator).to(memory_format=torch.channels_last),
            torch.randint(5, (64,), generator=generator),
        )
        for _ in range(count)
    ]


READERS = {
    "training": lambda model, loader: list(pairs(loader, model)),
    "sensing": lambda model, loader: drawn(LivingModel(model, loader[0][0][:2]), loader, 2, 96),
    "search": lambda model, loader: first_samples(loader, 96, model),
    "search in parts": lambda model, loader: in_parts(loader, 96, 4, model),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize(("width", "stays"), [(4, False), (16, True)])
def test_batches_are_laid_out_as_the_model_takes_them(read, width, stays):
    torch.manual_seed(0)
    loader = last()
    found = read(shortcut(width), loader)
    assert [t.is_contiguous(memory_format=torch.channels_last) for t, _ in found] == (
        [stays] * len(found)
    )
    seen = torch.cat([inputs for inputs, _ in found])
    assert torch.equal(seen, torch.cat([inputs for inputs, _ in loader])[: len(seen)])


def test_a_layer_that_pruning_makes_narrow_is_trained_with_channels_first():
    torch.manual_seed(0)
    loader = last()
    living = LivingModel(shortcut(20), loader[0][0][:2])
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1)
    given: list[bool] = []

    def note(_: nn.Module, args: tuple[Tensor]) -> None:
        given.append(args[0].is_contiguous(memory_format=torch.channels_last))

    for expected in (True, False):
        hook = living.get_submodule("2").register_forward_pre_hook(note)
        train_epoch(living, loader, optimizer, nn.CrossEntropyLoss())
        hook.remove()
        assert given == [expected] * len(loader)
        given.clear()
        if expected:
            living.apply(Prune(group="0", units=tuple(range(16)), preserving=False), optimizer)
