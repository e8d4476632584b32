"""Networks in the middle of their training: what the arbiter is fitted and judged on.

Families that the prior is fitted on never come up in judging, nor the other way round.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from neuroexapt import LivingModel
from neuroexapt.training import (
    Augment,
    Batches,
    DataSplits,
    ImageSet,
    Recipe,
    build_optimizer,
    load,
    train_batches,
)

WARMUP = 20
STEPS = {"early": 200, "late": 2000}
RECIPES = {
    "cifar": Recipe(
        lr=0.05, batch_size=64, augment=Augment(shift=2, flip=True), channels_last=True
    ),
    "clutter": Recipe(lr=0.05, batch_size=64, augment=Augment(shift=1), channels_last=True),
}
ADAMW = {"optimizer": "adamw", "lr": 0.002, "weight_decay": 0.01}
CANVAS = 16
"""Side of a cluttered picture in pixels."""
NUM_CLUTTERED = {"train": 20_000, "validation": 5_000}


@dataclass(frozen=True)
class Checkpoint:
    """A network, the data it is trained on, how far, and what it is for.

    Attributes:
        family: see `build`.
        data: "cifar" (CIFAR-10 at 16 x 16 pixels) or "clutter" (see `cluttered`).
        stage: "early" or "late".
        use: "fit" or "judge".
        seed: of weights and batches.
        optimizer: "sgd" or "adamw".
    """

    family: str
    data: str
    stage: str
    use: str
    seed: int
    optimizer: str = "sgd"

    @property
    def name(self) -> str:
        """What its result file is called."""
        return f"{self.use}-{self.family}-{self.data}-{self.stage}"

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        recipe = RECIPES[self.data]
        return recipe.model_copy(update=ADAMW) if self.optimizer == "adamw" else recipe


FIT = (
    ("vgg", "cifar", "early"),
    ("preact", "cifar", "early"),
    ("bare", "cifar", "early"),
    ("vgg", "clutter", "early"),
    ("preact", "clutter", "early"),
    ("vgg", "cifar", "late"),
    ("bare", "cifar", "late"),
    ("vgg", "clutter", "late"),
)
JUDGE = (
    ("plain", "cifar", "early"),
    ("resnet", "cifar", "early"),
    ("mobile", "clutter", "early"),
    ("plain", "clutter", "early"),
    ("plain", "cifar", "late"),
    ("resnet", "clutter", "late"),
)


def checkpoints() -> list[Checkpoint]:
    """All of them, first those that the law is fitted on."""
    fit = [Checkpoint(*place, use="fit", seed=3) for place in FIT]
    return fit + [Checkpoint(*place, use="judge", seed=12) for place in JUDGE]


@cache
def splits(data: str, data_dir: Path) -> DataSplits:
    """Training and validation images; the test part is out of reach."""
    if data == "clutter":
        return _without_test(cluttered(load("digits", validation=0.3)))
    return _without_test(_halved(load("cifar10", data_dir)))


def _halved(given: DataSplits) -> DataSplits:
    train, validation = (
        ImageSet(avg_pool2d(part.images.float(), 2).round().byte(), part.labels, part.classes)
        for part in (given.train, given.validation)
    )
    return DataSplits("cifar10 at 16 x 16", train, validation, given.read_test)


def cluttered(digits: DataSplits) -> DataSplits:
    """Handwritten digits somewhere on a larger canvas, amid pieces of others and noise.

    The plain digits are learnt to the end too soon for any edit to matter. Pictures for validation
    are made of other digits than those for training.

    Source: cluttered MNIST, Mnih et al. 2014, arXiv:1406.6247.
    """
    train = _scattered(digits.train, NUM_CLUTTERED["train"], seed=1)
    validation = _scattered(digits.validation, NUM_CLUTTERED["validation"], seed=2)
    return DataSplits("cluttered digits", train, validation, digits.read_test)


def _scattered(source: ImageSet, count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)

    def draw(high: int) -> Tensor:
        return torch.randint(high, (count,), generator=generator)

    images = source.images.float()
    side, piece = images.shape[-1], images.shape[-1] // 2
    canvas = torch.zeros(count, 1, CANVAS, CANVAS)
    chosen = draw(len(images))
    for _ in range(4):
        _paste(canvas, images[draw(len(images)), :, 2 : 2 + piece, 2 : 2 + piece], draw)
    _paste(canvas, images[chosen, :, :side, :side], draw)
    canvas += 40 * torch.randn(canvas.shape, generator=generator)
    return ImageSet(canvas.clamp(0, 255).byte(), source.labels[chosen], source.classes)


def _paste(canvas: Tensor, pieces: Tensor, draw: Callable[[int], Tensor]) -> None:
    """Add a piece to each canvas, each at a place of its own."""
    side = pieces.shape[-1]
    down, right = draw(CANVAS - side + 1), draw(CANVAS - side + 1)
    offsets = torch.arange(side)
    rows = (down[:, None] + offsets)[:, :, None]
    columns = (right[:, None] + offsets)[:, None, :]
    canvas[torch.arange(len(canvas))[:, None, None], 0, rows, columns] += pieces[:, 0]


def _without_test(given: DataSplits) -> DataSplits:
    def refuse() -> ImageSet:
        raise RuntimeError("the arbiter is fitted and judged without the test part")

    return DataSplits(given.name, given.train, given.validation, refuse)


def batches(checkpoint: Checkpoint, data_dir: Path, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Training batches without end."""
    found = splits(checkpoint.data, data_dir)
    loader: Batches = train_batches(found, checkpoint.recipe, seed=seed)
    epoch = 0
    while True:
        loader.set_epoch(epoch)
        for inputs, targets in loader:
            if len(inputs) == checkpoint.recipe.batch_size:
                yield inputs, targets
        epoch += 1


def build(family: str, channels: int) -> nn.Module:
    """A small network for 10 classes."""
    return {
        "plain": _plain,
        "resnet": _resnet,
        "mobile": _mobile,
        "vgg": _vgg,
        "preact": _preact,
        "bare": _bare,
    }[family](channels)


def trained(checkpoint: Checkpoint, data_dir: Path) -> tuple[LivingModel, torch.optim.Optimizer]:
    """The network and its optimiser after as many steps as its stage says."""
    found = splits(checkpoint.data, data_dir)
    example = torch.zeros(2, found.num_channels, *found.image_size)
    torch.manual_seed(checkpoint.seed)
    living = LivingModel(build(checkpoint.family, found.num_channels), example)
    recipe = checkpoint.recipe
    optimizer = build_optimizer(living, recipe)
    criterion = nn.CrossEntropyLoss()
    stream = batches(checkpoint, data_dir, checkpoint.seed)
    living.train()
    for step in range(STEPS[checkpoint.stage]):
        set_rate(optimizer, recipe.lr * min((step + 1) / WARMUP, 1))
        inputs, targets = next(stream)
        optimizer.zero_grad()
        criterion(living(inputs), targets).backward()
        optimizer.step()
    return living, optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def _conv(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


def _unit(inputs: int, outputs: int, **options: int) -> list[nn.Module]:
    return [_conv(inputs, outputs, **options), nn.BatchNorm2d(outputs), nn.ReLU()]


def _head(channels: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def _plain(channels: int) -> nn.Module:
    """Six convolutions, of which the third is too narrow."""
    return nn.Sequential(
        *_unit(channels, 10),
        *_unit(10, 10),
        *_unit(10, 8, stride=2),
        *_unit(8, 24),
        *_unit(24, 24, stride=2),
        *_unit(24, 32),
        *_head(32),
    )


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, after: nn.Module | None = None) -> None:
        super().__init__()
        self.branch, self.after = branch, after

    def forward(self, x: Tensor) -> Tensor:
        total = x + self.branch(x)
        return total if self.after is None else self.after(total)


def _resnet(channels: int) -> nn.Module:
    def block(width: int) -> nn.Module:
        inside = [*_unit(width, width), _conv(width, width), nn.BatchNorm2d(width)]
        return _Residual(nn.Sequential(*inside), nn.ReLU())

    return nn.Sequential(
        *_unit(channels, 10),
        block(10),
        *_unit(10, 20, stride=2),
        block(20),
        *_unit(20, 28, stride=2),
        *_head(28),
    )


def _mobile(channels: int) -> nn.Module:
    def block(width: int, inside: int) -> nn.Module:
        return _Residual(
            nn.Sequential(
                *_unit(width, inside, kernel=1),
                *_unit(inside, inside, groups=inside),
                _conv(inside, width, kernel=1),
                nn.BatchNorm2d(width),
            )
        )

    return nn.Sequential(
        *_unit(channels, 12),
        block(12, 24),
        *_unit(12, 20, stride=2),
        block(20, 40),
        *_unit(20, 32, stride=2),
        *_head(32),
    )


def _vgg(channels: int) -> nn.Module:
    return nn.Sequential(
        *_unit(channels, 8),
        *_unit(8, 12),
        nn.MaxPool2d(2),
        *_unit(12, 20),
        *_unit(20, 16),
        nn.MaxPool2d(2),
        *_unit(16, 32),
        nn.Flatten(),
        nn.Linear(32 * 16, 40),
        nn.ReLU(),
        nn.Linear(40, 10),
    )


def _preact(channels: int) -> nn.Module:
    def block(width: int, inside: int) -> nn.Module:
        return _Residual(
            nn.Sequential(
                nn.BatchNorm2d(width),
                nn.ReLU(),
                _conv(width, inside),
                nn.BatchNorm2d(inside),
                nn.ReLU(),
                _conv(inside, width),
            )
        )

    return nn.Sequential(
        _conv(channels, 12),
        block(12, 8),
        _conv(12, 24, stride=2),
        block(24, 16),
        _conv(24, 32, stride=2),
        block(32, 24),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        *_head(32),
    )


def _bare(channels: int) -> nn.Module:
    """Without norms."""
    sizes = (channels, 12, 16, 20, 32)
    found: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        stride = 2 if index in (1, 3) else 1
        found += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GELU() if index == 3 else nn.ReLU()]
    return nn.Sequential(*found, *_head(32))
