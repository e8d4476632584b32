"""Small models of many families, written the way people write them, with what must grow in each.

The lists of groups are derived by hand from the rules below, never from the package's own answers.

A channel group is named after the first producer, in forward order, whose output channels belong to
it: a module's qualified name or, where a bare parameter is the weight, the parameter's. `growable`
names groups that must be growable, `frozen` groups that must not be; a group in neither list is
one about which reasonable tools may differ.

Growable by its units: a plain channel; a block of channels for a grouped convolution or a group
norm; the channels at the same place in all parts for `chunk`, channel and pixel shuffles.
Frozen: what the model returns, what is mixed across channels (layer norm, softmax, mean or
maximum over channels, recurrent and attention layers), sizes written into the code, and groups
with one unit only.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Example = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True)
class Family:
    """A model and what is known of its channel groups.

    Attributes:
        name: unique among the families.
        build: makes a fresh model; its weights come from torch's global generator.
        example: makes the input, the same one each time.
        growable: groups that must be growable.
        frozen: group that must be frozen -> a word in the reason, compared without regard to case;
            empty where several reasons are equally right.
    """

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], Example]
    growable: tuple[str, ...]
    frozen: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Untraceable:
    """A model that runs but does not trace, because of the submodule `offender` ("": the model)."""

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[], Example]
    offender: str


def noise(*shape: int, seed: int = 0) -> Callable[[], Tensor]:
    """A function that gives the same normal noise of this shape each time."""
    return lambda: torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tokens(*shape: int, vocabulary: int) -> Callable[[], Tensor]:
    """A function that gives the same random tokens below `vocabulary` each time."""
    return lambda: torch.randint(vocabulary, shape, generator=torch.Generator().manual_seed(0))


def tensors(output: object) -> Iterator[Tensor]:
    """All tensors in a model's output, in order, whatever holds them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, tuple | list):
        for value in output:
            yield from tensors(value)
    else:
        raise TypeError(f"a model returned {type(output).__name__}")


@torch.no_grad()
def scramble_(model: nn.Module, seed: int = 0) -> nn.Module:
    """Move all parameters and norm statistics off their initial values, and return the model.

    Ones, zeros and tiny layer scales would hide what an edit forgets to copy or to rescale; so
    would dead units, of which larger biases leave few.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            parameter += 0.5 * torch.rand(parameter.shape, generator=generator).to(parameter)
        else:
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer += 0.2 * torch.randn(buffer.shape, generator=generator).to(buffer)
        elif name.endswith("running_var"):
            buffer *= 0.5 + torch.rand(buffer.shape, generator=generator).to(buffer)
    return model


# Perceptrons and plain convolution nets


def mlp() -> Family:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(12, 10),
            nn.BatchNorm1d(10),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(10, 8),
            nn.ReLU(),
            nn.Linear(8, 4),
        )

    return Family("mlp", build, noise(8, 12), ("0", "4"), {"6": "output"})


class Highway(nn.Module):
    def __init__(self, size: int):
        super().__init__()
        self.plain = nn.Linear(size, size)
        self.gate = nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(x))
        return gate * F.relu(self.plain(x)) + (1 - gate) * x


def highway() -> Family:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(12, 8), Highway(8), Highway(8), nn.Linear(8, 4))

    return Family("highway", build, noise(8, 12), ("0",), {"3": "output"})


class VGG(nn.Module):
    def __init__(self, cfg: tuple[int | str, ...] = (6, "M", 8, 8, "M"), num_classes: int = 4):
        super().__init__()
        layers: list[nn.Module] = []
        in_channels = 3
        for v in cfg:
            if v == "M":
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [
                    nn.Conv2d(in_channels, v, kernel_size=3, padding=1),
                    nn.BatchNorm2d(v),
                    nn.ReLU(inplace=True),
                ]
                in_channels = v
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(in_channels * 2 * 2, 12),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(12, 10),
            nn.ReLU(True),
            nn.Dropout(p=0.5),
            nn.Linear(10, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.classifier(x)
        return x


def vgg() -> Family:
    growable = ("features.0", "features.4", "features.7", "classifier.0", "classifier.3")
    return Family("vgg", VGG, noise(4, 3, 16, 16), growable, {"classifier.6": "output"})


class LeNet(nn.Module):
    """The introductory tutorial's net: the flattened size is a constant in the code."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 8, 3)
        self.fc1 = nn.Linear(8 * 2 * 2, 12)
        self.fc2 = nn.Linear(12, 10)
        self.fc3 = nn.Linear(10, 4)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 8 * 2 * 2)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        x = self.fc3(x)
        return x


def lenet() -> Family:
    frozen = {"conv2": "view", "fc3": "output"}
    return Family("lenet", LeNet, noise(4, 1, 16, 16), ("conv1", "fc1", "fc2"), frozen)


class FunctionalDropout(nn.Module):
    """The MNIST example: dropout as a function of `self.training`, in the model's own forward."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, 1)
        self.conv2 = nn.Conv2d(6, 8, 3, 1)
        self.fc1 = nn.Linear(8 * 2 * 2, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = F.relu(self.conv2(x))
        x = F.max_pool2d(x, 2)
        x = F.dropout2d(x, 0.25, self.training)
        x = torch.flatten(x, 1)
        x = F.relu(self.fc1(x))
        x = F.dropout(x, training=self.training)
        x = self.fc2(x)
        return F.log_softmax(x, dim=1)


def functional_dropout() -> Family:
    growable = ("conv1", "conv2", "fc1")
    return Family("functional_dropout", FunctionalDropout, noise(4, 1, 8, 8), growable, {"fc2": ""})


class Functional(nn.Module):
    """No layer modules at all."""

    def __init__(self):
        super().__init__()
        self.conv1_weight = nn.Parameter(torch.empty(6, 3, 3, 3))
        self.conv1_bias = nn.Parameter(torch.zeros(6))
        self.conv2_weight = nn.Parameter(torch.empty(8, 6, 3, 3))
        self.fc1_weight = nn.Parameter(torch.empty(10, 8 * 2 * 2))
        self.fc1_bias = nn.Parameter(torch.zeros(10))
        self.fc2_weight = nn.Parameter(torch.empty(4, 10))
        self.fc2_bias = nn.Parameter(torch.zeros(4))
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.kaiming_uniform_(p)

    def forward(self, x):
        x = F.conv2d(x, self.conv1_weight, self.conv1_bias, padding=1)
        x = F.max_pool2d(F.relu(x), 2)
        x = F.conv2d(x, self.conv2_weight, stride=2, padding=1)
        x = torch.flatten(F.relu(x), start_dim=1)
        x = torch.relu(F.linear(x, self.fc1_weight, self.fc1_bias))
        return F.linear(x, self.fc2_weight, bias=self.fc2_bias)


def functional() -> Family:
    growable = ("conv1_weight", "conv2_weight", "fc1_weight")
    return Family("functional", Functional, noise(4, 3, 8, 8), growable, {"fc2_weight": "output"})


class ShapeArithmetic(nn.Module):
    """Three ways from maps to vectors, concatenated; all sizes come from the tensors."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.a = nn.Conv2d(6, 4, 3, stride=2, padding=1)
        self.b = nn.Conv2d(6, 8, 1)
        self.c = nn.Conv2d(6, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(4 * 4 + 8 + 6 * 4, 5)

    def forward(self, x):
        x = self.stem(x).relu()
        a = self.a(x).relu()
        a = a.view(a.size(0), -1)
        b = self.b(x).relu().mean([2, 3])
        c = self.c(x).relu()
        n, ch, h, w = c.shape
        c = c.reshape(n, ch * h * w)
        return self.fc(torch.cat([a, b, c], dim=1))


def shape_arithmetic() -> Family:
    growable = ("stem", "a", "b", "c")
    return Family(
        "shape_arithmetic", ShapeArithmetic, noise(4, 3, 8, 8), growable, {"fc": "output"}
    )


class PReLUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.act1 = nn.PReLU(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.act2 = nn.PReLU()
        self.fc1 = nn.Linear(8, 10)
        self.act3 = nn.PReLU(10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x):
        x = self.act1(self.conv1(x))
        x = self.act2(self.conv2(x))
        x = self.act3(self.fc1(x.mean(dim=(2, 3))))
        return self.fc2(x)


def prelu() -> Family:
    return Family(
        "prelu", PReLUNet, noise(4, 3, 8, 8), ("conv1", "conv2", "fc1"), {"fc2": "output"}
    )


class ScaledBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.gamma = nn.Parameter(0.1 * torch.ones(dim))
        self.alpha = nn.Parameter(torch.tensor(0.5))

    def forward(self, x):
        return self.alpha * x + self.gamma.view(1, -1, 1, 1) * F.gelu(self.conv(x))


class LearnedScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1, bias=False)
        self.scale = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.shift = nn.Parameter(torch.zeros(6))
        self.block = ScaledBlock(6)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.temperature = nn.Parameter(torch.ones(1))
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x) * self.scale + self.shift[:, None, None])
        x = self.block(x)
        x = torch.tanh(self.conv2(x) / self.temperature)
        return self.fc(x.mean((-2, -1)))


def learned_scale() -> Family:
    return Family(
        "learned_scale", LearnedScale, noise(4, 3, 8, 8), ("conv1", "conv2"), {"fc": "output"}
    )


# Residual networks


class BasicBlock(nn.Module):
    expansion = 1

    def __init__(self, inplanes, planes, stride=1, downsample=None, groups=1, norm_layer=None):
        super().__init__()
        if groups != 1:
            raise ValueError("BasicBlock only supports groups=1")
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x

        out = self.conv1(x)
        out = self.bn1(out)
        out = self.relu(out)

        out = self.conv2(out)
        out = self.bn2(out)

        if self.downsample is not None:
            identity = self.downsample(x)

        out += identity
        out = self.relu(out)

        return out


class Bottleneck(nn.Module):
    expansion = 2

    def __init__(self, inplanes, planes, stride=1, downsample=None, groups=1, norm_layer=None):
        super().__init__()
        width = planes * groups
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = norm_layer(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, groups=groups, bias=False)
        self.bn2 = norm_layer(width)
        self.conv3 = nn.Conv2d(width, planes * self.expansion, 1, bias=False)
        self.bn3 = norm_layer(planes * self.expansion)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        identity = x

        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))

        if self.downsample is not None:
            identity = self.downsample(x)

        out += identity
        out = self.relu(out)

        return out


class ResNet(nn.Module):
    def __init__(self, block, layers, planes=(6, 8), groups=1, norm_layer=nn.BatchNorm2d):
        super().__init__()
        self._norm_layer = norm_layer
        self.groups = groups
        self.inplanes = planes[0]
        self.conv1 = nn.Conv2d(3, self.inplanes, 3, stride=1, padding=1, bias=False)
        self.bn1 = norm_layer(self.inplanes)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, planes[0], layers[0])
        self.layer2 = self._make_layer(block, planes[1], layers[1], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(planes[1] * block.expansion, 4)

    def _make_layer(self, block, planes, blocks, stride=1):
        downsample = None
        if stride != 1 or self.inplanes != planes * block.expansion:
            downsample = nn.Sequential(
                nn.Conv2d(self.inplanes, planes * block.expansion, 1, stride, bias=False),
                self._norm_layer(planes * block.expansion),
            )
        layers = [block(self.inplanes, planes, stride, downsample, self.groups, self._norm_layer)]
        self.inplanes = planes * block.expansion
        for _ in range(1, blocks):
            layers.append(
                block(self.inplanes, planes, groups=self.groups, norm_layer=self._norm_layer)
            )
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.bn1(x)
        x = self.relu(x)
        x = self.maxpool(x)
        x = self.layer1(x)
        x = self.layer2(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        return self.fc(x)


# In a basic stage with a projection, conv2 runs before the projection and so names the stream.
BASIC_GROUPS = (
    "conv1",
    "layer1.0.conv1",
    "layer1.1.conv1",
    "layer2.0.conv1",
    "layer2.0.conv2",
    "layer2.1.conv1",
)


def resnet_basic() -> Family:
    build = partial(ResNet, BasicBlock, (2, 2))
    return Family("resnet_basic", build, noise(4, 3, 16, 16), BASIC_GROUPS, {"fc": "output"})


def resnet_group_norm() -> Family:
    """Four norm groups: units of two channels in the first stage, of three in the second."""
    build = partial(ResNet, BasicBlock, (2, 2), (8, 12), norm_layer=partial(nn.GroupNorm, 4))
    return Family("resnet_group_norm", build, noise(4, 3, 16, 16), BASIC_GROUPS, {"fc": "output"})


def resnet_bottleneck() -> Family:
    growable = (
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv2",
        "layer1.0.conv3",
        "layer1.1.conv1",
        "layer1.1.conv2",
        "layer2.0.conv1",
        "layer2.0.conv2",
        "layer2.0.conv3",
    )
    build = partial(ResNet, Bottleneck, (2, 1), (4, 6))
    return Family("resnet_bottleneck", build, noise(4, 3, 16, 16), growable, {"fc": "output"})


def resnext() -> Family:
    """Grouped conv2 ties its inputs to its outputs, so that it belongs to the group of conv1."""
    growable = (
        "conv1",
        "layer1.0.conv1",
        "layer1.0.conv3",
        "layer1.1.conv1",
        "layer2.0.conv1",
        "layer2.0.conv3",
    )
    build = partial(ResNet, Bottleneck, (2, 1), (2, 4), groups=3)
    return Family("resnext", build, noise(4, 3, 16, 16), growable, {"fc": "output"})


class PreActBlock(nn.Module):
    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=1, padding=1, bias=False)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False)
            )

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, "shortcut") else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        out += shortcut
        return out


class PreActResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, kernel_size=3, stride=1, padding=1, bias=False)
        self.layer1 = nn.Sequential(PreActBlock(6, 6), PreActBlock(6, 6))
        self.layer2 = nn.Sequential(PreActBlock(6, 8, stride=2), PreActBlock(8, 8))
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        out = self.conv1(x)
        out = self.layer1(out)
        out = self.layer2(out)
        out = F.avg_pool2d(out, 4)
        out = out.view(out.size(0), -1)
        out = self.linear(out)
        return out


def resnet_preact() -> Family:
    growable = (
        "conv1",
        "layer1.0.conv1",
        "layer1.1.conv1",
        "layer2.0.shortcut.0",
        "layer2.0.conv1",
        "layer2.1.conv1",
    )
    return Family("resnet_preact", PreActResNet, noise(4, 3, 8, 8), growable, {"linear": "output"})


class SELayer(nn.Module):
    def __init__(self, channel, reduction=2):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Sequential(
            nn.Linear(channel, channel // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channel // reduction, channel, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x):
        b, c, _, _ = x.size()
        y = self.avg_pool(x).view(b, c)
        y = self.fc(y).view(b, c, 1, 1)
        return x * y.expand_as(x)


class SEBlock(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.se = SELayer(planes)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.se(self.bn2(self.conv2(out)))
        return F.relu(x + out)


def se_resnet() -> Family:
    def build() -> nn.Module:
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 6, 3, padding=1),
                block1=SEBlock(6),
                block2=SEBlock(6),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(6, 4),
            )
        )

    growable = ("conv1", "block1.conv1", "block1.se.fc.0", "block2.conv1", "block2.se.fc.0")
    return Family("se_resnet", build, noise(4, 3, 8, 8), growable, {"fc": "output"})


class RepVGGBlock(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.nonlinearity = nn.ReLU()
        self.rbr_identity = (
            nn.BatchNorm2d(in_channels) if out_channels == in_channels and stride == 1 else None
        )
        self.rbr_dense = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False),
                bn=nn.BatchNorm2d(out_channels),
            )
        )
        self.rbr_1x1 = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, out_channels, 1, stride, 0, bias=False),
                bn=nn.BatchNorm2d(out_channels),
            )
        )

    def forward(self, inputs):
        id_out = 0 if self.rbr_identity is None else self.rbr_identity(inputs)
        return self.nonlinearity(self.rbr_dense(inputs) + self.rbr_1x1(inputs) + id_out)


class RepVGG(nn.Module):
    def __init__(self):
        super().__init__()
        self.stage0 = RepVGGBlock(3, 6, stride=2)
        self.stage1 = RepVGGBlock(6, 6)
        self.stage2 = nn.ModuleList([nn.Conv2d(6, 8, k, padding=k // 2) for k in (1, 3)])
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stage1(self.stage0(x))
        x = sum(branch(x) for branch in self.stage2)
        x = torch.stack([F.relu(x), torch.tanh(x)]).sum(0)
        return self.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def repvgg() -> Family:
    """The identity branch of the second block ties its output to the first block's."""
    growable = ("stage0.rbr_dense.conv", "stage2.0")
    return Family("repvgg", RepVGG, noise(4, 3, 8, 8), growable, {"linear": "output"})


# Concatenation


class DenseLayer(nn.Module):
    def __init__(self, num_input_features, growth_rate, bn_size):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(num_input_features)
        self.relu1 = nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(num_input_features, bn_size * growth_rate, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(bn_size * growth_rate)
        self.relu2 = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(bn_size * growth_rate, growth_rate, 3, padding=1, bias=False)

    def forward(self, inputs):
        bottleneck_output = self.conv1(self.relu1(self.norm1(torch.cat(inputs, 1))))
        return self.conv2(self.relu2(self.norm2(bottleneck_output)))


class DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers, num_input_features, growth_rate=4, bn_size=2):
        super().__init__()
        for i in range(num_layers):
            layer = DenseLayer(num_input_features + i * growth_rate, growth_rate, bn_size)
            self.add_module(f"denselayer{i + 1}", layer)

    def forward(self, init_features):
        features = [init_features]
        for _, layer in self.items():
            features.append(layer(features))
        return torch.cat(features, 1)


class Transition(nn.Sequential):
    def __init__(self, num_input_features, num_output_features):
        super().__init__()
        self.norm = nn.BatchNorm2d(num_input_features)
        self.relu = nn.ReLU(inplace=True)
        self.conv = nn.Conv2d(num_input_features, num_output_features, 1, bias=False)
        self.pool = nn.AvgPool2d(kernel_size=2, stride=2)


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            OrderedDict(
                [
                    ("conv0", nn.Conv2d(3, 6, kernel_size=3, padding=1, bias=False)),
                    ("norm0", nn.BatchNorm2d(6)),
                    ("relu0", nn.ReLU(inplace=True)),
                    ("denseblock1", DenseBlock(2, 6)),
                    ("transition1", Transition(6 + 8, 7)),
                    ("denseblock2", DenseBlock(2, 7)),
                    ("norm5", nn.BatchNorm2d(7 + 8)),
                ]
            )
        )
        self.classifier = nn.Linear(7 + 8, 4)

    def forward(self, x: Tensor) -> Tensor:
        features = self.features(x)
        out = F.relu(features, inplace=True)
        out = F.adaptive_avg_pool2d(out, (1, 1))
        out = torch.flatten(out, 1)
        return self.classifier(out)


def densenet() -> Family:
    growable = (
        "features.conv0",
        "features.denseblock1.denselayer1.conv1",
        "features.denseblock1.denselayer1.conv2",
        "features.denseblock1.denselayer2.conv1",
        "features.denseblock1.denselayer2.conv2",
        "features.transition1.conv",
        "features.denseblock2.denselayer1.conv1",
        "features.denseblock2.denselayer1.conv2",
        "features.denseblock2.denselayer2.conv1",
        "features.denseblock2.denselayer2.conv2",
    )
    return Family("densenet", DenseNet, noise(4, 3, 8, 8), growable, {"classifier": "output"})


class BasicConv2d(nn.Module):
    def __init__(self, in_channels, out_channels, **kwargs):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, bias=False, **kwargs)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.bn(x)
        return F.relu(x, inplace=True)


class InceptionA(nn.Module):
    def __init__(self, in_channels, pool_features):
        super().__init__()
        self.branch1x1 = BasicConv2d(in_channels, 4, kernel_size=1)
        self.branch5x5_1 = BasicConv2d(in_channels, 3, kernel_size=1)
        self.branch5x5_2 = BasicConv2d(3, 4, kernel_size=5, padding=2)
        self.branch3x3dbl_1 = BasicConv2d(in_channels, 4, kernel_size=1)
        self.branch3x3dbl_2 = BasicConv2d(4, 5, kernel_size=(1, 3), padding=(0, 1))
        self.branch3x3dbl_3 = BasicConv2d(5, 5, kernel_size=(3, 1), padding=(1, 0))
        self.branch_pool = BasicConv2d(in_channels, pool_features, kernel_size=1)

    def _forward(self, x: Tensor) -> list[Tensor]:
        branch1x1 = self.branch1x1(x)

        branch5x5 = self.branch5x5_1(x)
        branch5x5 = self.branch5x5_2(branch5x5)

        branch3x3dbl = self.branch3x3dbl_1(x)
        branch3x3dbl = self.branch3x3dbl_2(branch3x3dbl)
        branch3x3dbl = self.branch3x3dbl_3(branch3x3dbl)

        branch_pool = F.avg_pool2d(x, kernel_size=3, stride=1, padding=1)
        branch_pool = self.branch_pool(branch_pool)

        return [branch1x1, branch5x5, branch3x3dbl, branch_pool]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat(self._forward(x), 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = BasicConv2d(3, 6, kernel_size=3, stride=2, padding=1)
        self.mixed1 = InceptionA(6, 2)
        self.mixed2 = InceptionA(15, 3)
        self.dropout = nn.Dropout(0.1)
        self.fc = nn.Linear(16, 4)

    def forward(self, x):
        x = self.mixed2(self.mixed1(self.stem(x)))
        x = F.adaptive_max_pool2d(x, 1)
        x = self.dropout(x)
        return self.fc(torch.flatten(x, 1))


def inception() -> Family:
    branches = (
        "branch1x1",
        "branch5x5_1",
        "branch5x5_2",
        "branch3x3dbl_1",
        "branch3x3dbl_2",
        "branch3x3dbl_3",
        "branch_pool",
    )
    mixed = tuple(f"mixed{i}.{branch}.conv" for i in (1, 2) for branch in branches)
    growable = ("stem.conv", *mixed)
    return Family("inception", Inception, noise(4, 3, 8, 8), growable, {"fc": "output"})


class DoubleConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


class Up(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, in_channels // 2, kernel_size=2, stride=2)
        self.conv = DoubleConv(in_channels, out_channels)

    def forward(self, x1, x2):
        x1 = self.up(x1)
        diff_y = x2.size()[2] - x1.size()[2]
        diff_x = x2.size()[3] - x1.size()[3]
        x1 = F.pad(x1, [diff_x // 2, diff_x - diff_x // 2, diff_y // 2, diff_y - diff_y // 2])
        x = torch.cat([x2, x1], dim=1)
        return self.conv(x)


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(3, 4)
        self.down1 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
        self.down2 = nn.Sequential(nn.MaxPool2d(2), DoubleConv(8, 16))
        self.up1 = Up(16, 8)
        self.up2 = Up(8, 4)
        self.outc = nn.Conv2d(4, 2, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down1(x1)
        x3 = self.down2(x2)
        x = self.up1(x3, x2)
        x = self.up2(x, x1)
        return self.outc(x)


def unet() -> Family:
    growable = (
        "inc.double_conv.0",
        "inc.double_conv.3",
        "down1.1.double_conv.0",
        "down1.1.double_conv.3",
        "down2.1.double_conv.0",
        "down2.1.double_conv.3",
        "up1.up",
        "up1.conv.double_conv.0",
        "up1.conv.double_conv.3",
        "up2.up",
        "up2.conv.double_conv.0",
        "up2.conv.double_conv.3",
    )
    return Family("unet", UNet, noise(4, 3, 10, 12), growable, {"outc": "output"})


class C2f(nn.Module):
    """Half of the channels go round the bottleneck, and all are concatenated."""

    def __init__(self, c1, c2, c):
        super().__init__()
        self.cv1 = nn.Conv2d(c1, 2 * c, 1)
        self.m1 = nn.Conv2d(c, c, 3, padding=1)
        self.m2 = nn.Conv2d(c, c, 3, padding=1)
        self.cv2 = nn.Conv2d(3 * c, c2, 1)

    def forward(self, x):
        a, b = self.cv1(x).chunk(2, 1)
        m = b + F.silu(self.m2(F.silu(self.m1(b))))
        return self.cv2(torch.cat((a, b, m), 1))


def csp() -> Family:
    """The two halves of cv1 must stay equal for `chunk`, but only one of them goes into m1."""

    def build() -> nn.Module:
        layers = [nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.SiLU(), C2f(6, 8, 4)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    growable = ("0", "2.m1", "2.cv2")
    frozen = {"2.cv1": "unevenly", "5": "output"}
    return Family("csp", build, noise(4, 3, 8, 8), growable, frozen)


class PartialConv(nn.Module):
    """FasterNet's block: a convolution over a quarter of the channels, by constant sizes."""

    def __init__(self, dim, n_div=4):
        super().__init__()
        self.dim_conv3 = dim // n_div
        self.dim_untouched = dim - self.dim_conv3
        self.partial_conv3 = nn.Conv2d(self.dim_conv3, self.dim_conv3, 3, 1, 1, bias=False)
        self.mlp = nn.Sequential(
            nn.Conv2d(dim, 2 * dim, 1, bias=False),
            nn.BatchNorm2d(2 * dim),
            nn.ReLU(),
            nn.Conv2d(2 * dim, dim, 1, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x1, x2 = torch.split(x, [self.dim_conv3, self.dim_untouched], dim=1)
        x1 = self.partial_conv3(x1)
        x = torch.cat((x1, x2), 1)
        return shortcut + self.mlp(x)


def partial_conv() -> Family:
    """Whether the constant sizes of `split` can be followed is left open: no stream is listed."""

    def build() -> nn.Module:
        layers = [nn.Conv2d(3, 8, 3, stride=2, padding=1), PartialConv(8), PartialConv(8)]
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))

    growable = ("1.mlp.0", "2.mlp.0")
    return Family("partial_conv", build, noise(4, 3, 8, 8), growable, {"5": "output"})


# Mobile networks


class StochasticDepth(nn.Module):
    """Drops whole samples of a residual branch; its forward depends on the mode."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        if not self.training or self.p == 0.0:
            return input
        survival_rate = 1.0 - self.p
        noise = input.new_empty([input.shape[0]] + [1] * (input.dim() - 1))
        noise = noise.bernoulli_(survival_rate).div_(survival_rate)
        return input * noise


# Modules that must not be traced through, so that training and evaluation keep their meaning.
LEAVES = (StochasticDepth,)


class ConvNormAct(nn.Sequential):
    def __init__(self, in_channels, out_channels, kernel_size=3, stride=1, groups=1, act=nn.ReLU6):
        layers = [
            nn.Conv2d(
                in_channels,
                out_channels,
                kernel_size,
                stride,
                (kernel_size - 1) // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(out_channels),
        ]
        if act is not None:
            layers.append(act(inplace=True))
        super().__init__(*layers)


class InvertedResidual(nn.Module):
    def __init__(self, inp, oup, stride, expand_ratio):
        super().__init__()
        hidden_dim = round(inp * expand_ratio)
        self.use_res_connect = stride == 1 and inp == oup

        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(ConvNormAct(inp, hidden_dim, kernel_size=1))
        layers.extend(
            [
                ConvNormAct(hidden_dim, hidden_dim, stride=stride, groups=hidden_dim),
                nn.Conv2d(hidden_dim, oup, 1, 1, 0, bias=False),
                nn.BatchNorm2d(oup),
            ]
        )
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        if self.use_res_connect:
            return x + self.conv(x)
        else:
            return self.conv(x)


class MobileNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormAct(3, 6, stride=2),
            InvertedResidual(6, 4, 1, 1),
            InvertedResidual(4, 6, 2, 2),
            InvertedResidual(6, 6, 1, 2),
            ConvNormAct(6, 12, kernel_size=1),
        )
        self.classifier = nn.Sequential(nn.Dropout(p=0.2), nn.Linear(12, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = nn.functional.adaptive_avg_pool2d(x, (1, 1))
        x = torch.flatten(x, 1)
        x = self.classifier(x)
        return x


def mobilenet_v2() -> Family:
    growable = (
        "features.0.0",
        "features.1.conv.1",
        "features.2.conv.0.0",
        "features.2.conv.2",
        "features.3.conv.0.0",
        "features.4.0",
    )
    return Family(
        "mobilenet_v2", MobileNetV2, noise(4, 3, 16, 16), growable, {"classifier.1": "output"}
    )


class SqueezeExcitation(nn.Module):
    def __init__(
        self, input_channels, squeeze_channels, activation=nn.ReLU, scale_activation=nn.Sigmoid
    ):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(input_channels, squeeze_channels, 1)
        self.fc2 = nn.Conv2d(squeeze_channels, input_channels, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def _scale(self, input: Tensor) -> Tensor:  # noqa: A002
        scale = self.avgpool(input)
        scale = self.fc1(scale)
        scale = self.activation(scale)
        scale = self.fc2(scale)
        return self.scale_activation(scale)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        scale = self._scale(input)
        return scale * input


class MobileNetV3Block(nn.Module):
    def __init__(self, inp, hidden, oup, kernel, stride, use_se, act):
        super().__init__()
        self.use_res_connect = stride == 1 and inp == oup
        layers = [
            ConvNormAct(inp, hidden, 1, act=act),
            ConvNormAct(hidden, hidden, kernel, stride, groups=hidden, act=act),
        ]
        if use_se:
            layers.append(SqueezeExcitation(hidden, 3, scale_activation=nn.Hardsigmoid))
        layers.append(ConvNormAct(hidden, oup, 1, act=None))
        self.block = nn.Sequential(*layers)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        result = self.block(input)
        if self.use_res_connect:
            result += input
        return result


class MobileNetV3(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormAct(3, 6, stride=2, act=nn.Hardswish),
            MobileNetV3Block(6, 12, 6, 3, 1, True, nn.ReLU),
            MobileNetV3Block(6, 10, 8, 5, 2, False, nn.Hardswish),
            ConvNormAct(8, 12, 1, act=nn.Hardswish),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(12, 10),
            nn.Hardswish(inplace=True),
            nn.Dropout(p=0.2, inplace=True),
            nn.Linear(10, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.classifier(x)
        return x


def mobilenet_v3() -> Family:
    growable = (
        "features.0.0",
        "features.1.block.0.0",
        "features.1.block.2.fc1",
        "features.2.block.0.0",
        "features.2.block.2.0",
        "features.3.0",
        "classifier.0",
    )
    return Family(
        "mobilenet_v3", MobileNetV3, noise(4, 3, 16, 16), growable, {"classifier.3": "output"}
    )


class MBConv(nn.Module):
    def __init__(self, inp, oup, expand_ratio, stride, stochastic_depth_prob):
        super().__init__()
        self.use_res_connect = stride == 1 and inp == oup
        hidden = inp * expand_ratio
        layers: list[nn.Module] = []
        if expand_ratio != 1:
            layers.append(ConvNormAct(inp, hidden, 1, act=nn.SiLU))
        layers.append(ConvNormAct(hidden, hidden, 3, stride, groups=hidden, act=nn.SiLU))
        layers.append(
            SqueezeExcitation(hidden, inp // 2, activation=partial(nn.SiLU, inplace=True))
        )
        layers.append(ConvNormAct(hidden, oup, 1, act=None))
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(stochastic_depth_prob)

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        result = self.block(input)
        if self.use_res_connect:
            result = self.stochastic_depth(result)
            result += input
        return result


class EfficientNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            ConvNormAct(3, 6, stride=2, act=nn.SiLU),
            MBConv(6, 6, 1, 1, 0.1),
            MBConv(6, 8, 2, 2, 0.2),
            MBConv(8, 8, 2, 1, 0.3),
            ConvNormAct(8, 12, 1, act=nn.SiLU),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(p=0.2, inplace=True), nn.Linear(12, 4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        x = self.avgpool(x)
        x = torch.flatten(x, 1)
        x = self.classifier(x)
        return x


def efficientnet() -> Family:
    """The first block doesn't expand: stem, depthwise, excitation and projection are one group."""
    growable = (
        "features.0.0",
        "features.1.block.1.fc1",
        "features.2.block.0.0",
        "features.2.block.2.fc1",
        "features.2.block.3.0",
        "features.3.block.0.0",
        "features.3.block.2.fc1",
        "features.4.0",
    )
    return Family(
        "efficientnet", EfficientNet, noise(4, 3, 16, 16), growable, {"classifier.1": "output"}
    )


def channel_multiplier() -> Family:
    """Depthwise with two outputs a channel: they follow the stem's channel."""

    def build() -> nn.Module:
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(3, 5, 3, stride=2, padding=1),
                act1=nn.ReLU(),
                depthwise=nn.Conv2d(5, 10, 3, padding=1, groups=5, padding_mode="reflect"),
                bn=nn.BatchNorm2d(10),
                act2=nn.ReLU(),
                pointwise=nn.Conv2d(10, 8, 1),
                act3=nn.ReLU(),
                pool=nn.AdaptiveMaxPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(8, 4),
            )
        )

    growable = ("stem", "pointwise")
    return Family("channel_multiplier", build, noise(4, 3, 8, 8), growable, {"fc": "output"})


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    batchsize, num_channels, height, width = x.size()
    channels_per_group = num_channels // groups
    x = x.view(batchsize, groups, channels_per_group, height, width)
    x = torch.transpose(x, 1, 2).contiguous()
    x = x.view(batchsize, num_channels, height, width)
    return x


class ShuffleUnit(nn.Module):
    def __init__(self, inp, oup, stride):
        super().__init__()
        self.stride = stride
        branch_features = oup // 2
        if stride > 1:
            self.branch1 = nn.Sequential(
                nn.Conv2d(inp, inp, 3, stride, 1, bias=False, groups=inp),
                nn.BatchNorm2d(inp),
                nn.Conv2d(inp, branch_features, 1, bias=False),
                nn.BatchNorm2d(branch_features),
                nn.ReLU(inplace=True),
            )
        else:
            self.branch1 = nn.Sequential()
        self.branch2 = nn.Sequential(
            nn.Conv2d(inp if stride > 1 else branch_features, branch_features, 1, bias=False),
            nn.BatchNorm2d(branch_features),
            nn.ReLU(inplace=True),
            nn.Conv2d(
                branch_features, branch_features, 3, stride, 1, bias=False, groups=branch_features
            ),
            nn.BatchNorm2d(branch_features),
            nn.Conv2d(branch_features, branch_features, 1, bias=False),
            nn.BatchNorm2d(branch_features),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 1:
            x1, x2 = x.chunk(2, dim=1)
            out = torch.cat((x1, self.branch2(x2)), dim=1)
        else:
            out = torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        return channel_shuffle(out, 2)


class ShuffleNetV2(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, 6, 3, 1, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        self.stage2 = nn.Sequential(ShuffleUnit(6, 8, 2), ShuffleUnit(8, 8, 1))
        self.conv5 = nn.Sequential(nn.Conv2d(8, 10, 1), nn.BatchNorm2d(10), nn.ReLU(inplace=True))
        self.fc = nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.stage2(x)
        x = self.conv5(x)
        x = x.mean([2, 3])
        return self.fc(x)


def shufflenet_v2() -> Family:
    """The stream, cut and shuffled in turn, is left open: its units mingle from block to block."""
    growable = ("conv1.0", "stage2.0.branch2.0", "stage2.1.branch2.0", "conv5.0")
    return Family("shufflenet_v2", ShuffleNetV2, noise(4, 3, 8, 8), growable, {"fc": "output"})


class Shuffle(nn.Module):
    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, x):
        return channel_shuffle(x, self.groups)


def shuffle() -> Family:
    """Channels at the same place in both halves of the stem become neighbours: units of two."""

    def build() -> nn.Module:
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(3, 8, 3, padding=1),
                relu=nn.ReLU(),
                shuffle=Shuffle(2),
                depthwise=nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
                pointwise=nn.Conv2d(8, 6, 1),
                pool=nn.AdaptiveAvgPool2d((2, 1)),
                flatten=nn.Flatten(),
                fc=nn.Linear(12, 4),
            )
        )

    growable = ("stem", "pointwise")
    return Family("shuffle", build, noise(4, 3, 8, 8), growable, {"fc": "output"})


class ShuffleNetV1(nn.Module):
    """Grouped, shuffled, grouped: the shuffle ties every group to every other."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.gconv1 = nn.Conv2d(8, 8, 1, groups=2, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8)
        self.gconv3 = nn.Conv2d(8, 12, 1, groups=2, bias=False)
        self.last = nn.Conv2d(12, 6, 1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        out = F.relu(self.bn1(self.gconv1(self.stem(x))))
        out = channel_shuffle(out, 2)
        out = self.gconv3(self.conv2(out))
        out = F.relu(self.last(F.relu(out)))
        return self.fc(out.mean(dim=[2, 3]))


def shufflenet_v1() -> Family:
    """The stem's only unit is everything, from the stem to what the last grouped layer makes."""
    frozen = {"stem": "", "fc": "output"}
    return Family("shufflenet_v1", ShuffleNetV1, noise(4, 3, 8, 8), ("last",), frozen)


# Attention and mixing across channels


class ChannelAttention(nn.Module):
    def __init__(self, in_planes, ratio=2):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.max_pool = nn.AdaptiveMaxPool2d(1)
        self.fc = nn.Sequential(
            nn.Conv2d(in_planes, in_planes // ratio, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(in_planes // ratio, in_planes, 1, bias=False),
        )
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        avg_out = self.fc(self.avg_pool(x))
        max_out = self.fc(self.max_pool(x))
        return self.sigmoid(avg_out + max_out)


class SpatialAttention(nn.Module):
    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv1 = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        avg_out = torch.mean(x, dim=1, keepdim=True)
        max_out, _ = torch.max(x, dim=1, keepdim=True)
        x = torch.cat([avg_out, max_out], dim=1)
        x = self.conv1(x)
        return self.sigmoid(x)


class CBAM(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.ca1 = ChannelAttention(6)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.ca2 = ChannelAttention(8)
        self.sa2 = SpatialAttention()
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        x = self.ca1(x) * x
        x = F.relu(self.conv2(x))
        x = self.ca2(x) * x
        x = self.sa2(x) * x
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


def cbam() -> Family:
    """Spatial attention takes the mean over channels, and broadcasts its own single channel."""
    growable = ("conv1", "ca1.fc.0", "ca2.fc.0")
    frozen = {"conv2": "mean", "sa2.conv1": "", "fc": "output"}
    return Family("cbam", CBAM, noise(4, 3, 8, 8), growable, frozen)


class ECA(nn.Module):
    """Efficient channel attention: a 1-D convolution along the channels."""

    def __init__(self, k_size=3):
        super().__init__()
        self.avg_pool = nn.AdaptiveAvgPool2d(1)
        self.conv = nn.Conv1d(1, 1, kernel_size=k_size, padding=(k_size - 1) // 2, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        y = self.avg_pool(x)
        y = self.conv(y.squeeze(-1).transpose(-1, -2)).transpose(-1, -2).unsqueeze(-1)
        y = self.sigmoid(y)
        return x * y.expand_as(x)


def eca() -> Family:
    def build() -> nn.Module:
        return nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(3, 6, 3, padding=1),
                relu1=nn.ReLU(),
                eca=ECA(),
                conv2=nn.Conv2d(6, 8, 3, stride=2, padding=1),
                relu2=nn.ReLU(),
                pool=nn.AdaptiveAvgPool2d(1),
                flatten=nn.Flatten(),
                fc=nn.Linear(8, 4),
            )
        )

    frozen = {"conv1": "", "eca.conv": "", "fc": "output"}
    return Family("eca", build, noise(4, 3, 8, 8), ("conv2",), frozen)


class ChannelMixing(nn.Module):
    """Softmax and local response normalisation over channels."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.lrn = nn.LocalResponseNorm(3)
        self.conv2 = nn.Conv2d(6, 8, 3, padding=1)
        self.conv3 = nn.Conv2d(8, 6, 3, padding=1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = self.lrn(F.relu(self.conv1(x)))
        x = F.softmax(self.conv2(x), dim=1)
        x = F.relu(self.conv3(x))
        return self.fc(x.mean((2, 3)))


def channel_mixing() -> Family:
    frozen = {"conv1": "norm", "conv2": "softmax", "fc": "output"}
    return Family("channel_mixing", ChannelMixing, noise(4, 3, 8, 8), ("conv3",), frozen)


class NonLocal(nn.Module):
    """Self-attention over positions, with its width as a constant in the views."""

    def __init__(self, in_channels):
        super().__init__()
        self.inter_channels = in_channels // 2
        self.g = nn.Conv2d(in_channels, self.inter_channels, 1)
        self.theta = nn.Conv2d(in_channels, self.inter_channels, 1)
        self.phi = nn.Conv2d(in_channels, self.inter_channels, 1)
        self.W = nn.Sequential(
            nn.Conv2d(self.inter_channels, in_channels, 1), nn.BatchNorm2d(in_channels)
        )

    def forward(self, x):
        batch_size = x.size(0)
        g_x = self.g(x).view(batch_size, self.inter_channels, -1).permute(0, 2, 1)
        theta_x = self.theta(x).view(batch_size, self.inter_channels, -1).permute(0, 2, 1)
        phi_x = self.phi(x).view(batch_size, self.inter_channels, -1)
        f_div_c = F.softmax(torch.matmul(theta_x, phi_x), dim=-1)
        y = torch.matmul(f_div_c, g_x)
        y = y.permute(0, 2, 1).contiguous()
        y = y.view(batch_size, self.inter_channels, x.size(2), x.size(3))
        return self.W(y) + x


class NonLocalNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.attend = NonLocal(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x):
        x = self.attend(F.relu(self.stem(x)))
        return self.fc(F.max_pool2d(x, kernel_size=x.size()[2:]).flatten(1))


def non_local() -> Family:
    frozen = {"attend.g": "", "attend.theta": "", "fc": "output"}
    return Family("non_local", NonLocalNet, noise(4, 3, 8, 8), ("stem",), frozen)


class StdConv2d(nn.Conv2d):
    """Weight standardisation: statistics of each filter over all of its inputs."""

    def forward(self, x):
        w = self.weight
        v, m = torch.var_mean(w, dim=[1, 2, 3], keepdim=True, unbiased=False)
        w = (w - m) / torch.sqrt(v + 1e-10)
        return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)


class WeightStandardized(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
        self.conv2 = StdConv2d(6, 8, 3, stride=2, padding=1)
        self.fc1 = nn.Linear(8, 10)
        self.fc2 = nn.Linear(10, 4)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        return self.fc2(F.relu(self.fc1(x.mean((2, 3)))))


def weight_standardization() -> Family:
    """Inputs of a standardised filter can't be added freely; its outputs (unlisted) might be."""
    frozen = {"conv1": "", "fc2": "output"}
    return Family("weight_standardization", WeightStandardized, noise(4, 3, 8, 8), ("fc1",), frozen)


# Gates


class GatedConv(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 2 * out_channels, 3, padding=1)

    def forward(self, x):
        x, gate = self.conv(x).chunk(2, dim=1)
        return x * torch.sigmoid(gate)


class GatedNet(nn.Module):
    """Three kinds of gate: `chunk`, `glu`, and two convolutions that multiply each other."""

    def __init__(self):
        super().__init__()
        self.gated1 = GatedConv(3, 4)
        self.conv2 = nn.Conv2d(4, 12, 3, padding=1)
        self.filter3 = nn.Conv2d(6, 5, 3, padding=1)
        self.gate3 = nn.Conv2d(6, 5, 3, padding=1)
        self.fc = nn.Linear(5, 4)

    def forward(self, x):
        x = self.gated1(x)
        x = F.glu(self.conv2(x), dim=1)
        x = torch.tanh(self.filter3(x)) * torch.sigmoid(self.gate3(x))
        return self.fc(x.amax(dim=(2, 3)))


def gated() -> Family:
    """Value and gate of one output channel are one unit."""
    growable = ("gated1.conv", "conv2", "filter3")
    return Family("gated", GatedNet, noise(4, 3, 8, 8), growable, {"fc": "output"})


# Transformers and mixers


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        x = x.permute(0, 3, 1, 2)
        return x


class ConvNeXtBlock(nn.Module):
    def __init__(self, dim, drop_path=0.0, layer_scale_init_value=1e-6):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size=7, padding=3, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 2 * dim)
        self.act = nn.GELU()
        self.pwconv2 = nn.Linear(2 * dim, dim)
        self.gamma = nn.Parameter(layer_scale_init_value * torch.ones(dim), requires_grad=True)
        self.drop_path = StochasticDepth(drop_path) if drop_path > 0.0 else nn.Identity()

    def forward(self, x):
        input = x  # noqa: A001
        x = self.dwconv(x)
        x = x.permute(0, 2, 3, 1)
        x = self.norm(x)
        x = self.pwconv1(x)
        x = self.act(x)
        x = self.pwconv2(x)
        x = self.gamma * x
        x = x.permute(0, 3, 1, 2)
        x = input + self.drop_path(x)
        return x


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.downsample_layers = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 6, kernel_size=2, stride=2), LayerNorm2d(6, eps=1e-6)),
                nn.Sequential(LayerNorm2d(6, eps=1e-6), nn.Conv2d(6, 8, kernel_size=2, stride=2)),
            ]
        )
        self.stages = nn.ModuleList(
            [
                nn.Sequential(ConvNeXtBlock(6)),
                nn.Sequential(ConvNeXtBlock(8, drop_path=0.1), ConvNeXtBlock(8, drop_path=0.2)),
            ]
        )
        self.norm = nn.LayerNorm(8, eps=1e-6)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        for i in range(2):
            x = self.downsample_layers[i](x)
            x = self.stages[i](x)
        x = self.norm(x.mean([-2, -1]))
        return self.head(x)


def convnext() -> Family:
    growable = ("stages.0.0.pwconv1", "stages.1.0.pwconv1", "stages.1.1.pwconv1")
    frozen = {"downsample_layers.0.0": "norm", "downsample_layers.1.1": "norm", "head": "output"}
    return Family("convnext", ConvNeXt, noise(4, 3, 16, 16), growable, frozen)


class ConvNeXtBatchNorm(nn.Module):
    """The same block with batch norms: nothing mixes channels, so that the stream grows too."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, kernel_size=2, stride=2)
        self.dwconv = nn.Conv2d(6, 6, kernel_size=7, padding=3, groups=6)
        self.norm = nn.BatchNorm2d(6)
        self.pwconv1 = nn.Linear(6, 12)
        self.pwconv2 = nn.Linear(12, 6)
        self.gamma = nn.Parameter(1e-6 * torch.ones(6))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        shortcut = x = self.stem(x)
        x = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        x = self.pwconv2(F.gelu(self.pwconv1(x)))
        x = shortcut + (self.gamma * x).permute(0, 3, 1, 2)
        return self.head(x.mean([-2, -1]))


def convnext_batch_norm() -> Family:
    growable = ("stem", "pwconv1")
    return Family(
        "convnext_batch_norm",
        ConvNeXtBatchNorm,
        noise(4, 3, 16, 16),
        growable,
        {"head": "output"},
    )


class PatchEmbed(nn.Module):
    def __init__(self, patch_size, embed_dim):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, x):
        return self.proj(x).flatten(2).transpose(1, 2)


class Attention(nn.Module):
    def __init__(self, dim, num_heads=2):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, dim * 3)
        self.attn_drop = nn.Dropout(0.0)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        B, N, C = x.shape  # noqa: N806
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, C // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v)
        x = x.transpose(1, 2).reshape(B, N, C)
        return self.attn_drop(self.proj(x))


class Mlp(nn.Module):
    def __init__(self, in_features, hidden_features):
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden_features)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(0.1)
        self.fc2 = nn.Linear(hidden_features, in_features)
        self.drop2 = nn.Dropout(0.1)

    def forward(self, x):
        x = self.fc1(x)
        x = self.act(x)
        x = self.drop1(x)
        x = self.fc2(x)
        x = self.drop2(x)
        return x


class ViTBlock(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 10)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        x = x + self.mlp(self.norm2(x))
        return x


class VisionTransformer(nn.Module):
    def __init__(self, embed_dim=8, depth=2):
        super().__init__()
        self.patch_embed = PatchEmbed(4, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.randn(1, 5, embed_dim) * 0.02)
        self.blocks = nn.Sequential(*[ViTBlock(embed_dim) for _ in range(depth)])
        self.norm = nn.LayerNorm(embed_dim)
        self.head = nn.Linear(embed_dim, 4)

    def forward(self, x):
        x = self.patch_embed(x)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1)
        x = x + self.pos_embed
        x = self.blocks(x)
        x = self.norm(x)
        return self.head(x[:, 0])


def vit() -> Family:
    growable = ("blocks.0.mlp.fc1", "blocks.1.mlp.fc1")
    frozen = {
        "patch_embed.proj": "norm",
        "blocks.0.attn.qkv": "multiplies",
        "blocks.1.attn.qkv": "multiplies",
        "head": "output",
    }
    return Family("vit", VisionTransformer, noise(4, 3, 8, 8), growable, frozen)


class EncoderBlock(nn.Module):
    def __init__(self, num_heads, hidden_dim, mlp_dim):
        super().__init__()
        self.ln_1 = nn.LayerNorm(hidden_dim)
        self.self_attention = nn.MultiheadAttention(hidden_dim, num_heads, batch_first=True)
        self.dropout = nn.Dropout(0.1)
        self.ln_2 = nn.LayerNorm(hidden_dim)
        self.mlp = nn.Sequential(
            nn.Linear(hidden_dim, mlp_dim), nn.GELU(), nn.Linear(mlp_dim, hidden_dim)
        )

    def forward(self, input):  # noqa: A002
        x = self.ln_1(input)
        x, _ = self.self_attention(x, x, x, need_weights=False)
        x = self.dropout(x)
        x = x + input
        y = self.ln_2(x)
        y = self.mlp(y)
        return x + y


class ViTMultihead(nn.Module):
    def __init__(self, hidden_dim=8):
        super().__init__()
        self.conv_proj = nn.Conv2d(3, hidden_dim, kernel_size=4, stride=4)
        self.class_token = nn.Parameter(torch.zeros(1, 1, hidden_dim))
        self.pos_embedding = nn.Parameter(torch.empty(1, 5, hidden_dim).normal_(std=0.02))
        self.layers = nn.Sequential(
            EncoderBlock(2, hidden_dim, 12), EncoderBlock(2, hidden_dim, 10)
        )
        self.ln = nn.LayerNorm(hidden_dim)
        self.heads = nn.Sequential(OrderedDict(head=nn.Linear(hidden_dim, 4)))

    def forward(self, x):
        n, _c, _h, _w = x.shape
        x = self.conv_proj(x).flatten(2).permute(0, 2, 1)
        batch_class_token = self.class_token.expand(n, -1, -1)
        x = torch.cat([batch_class_token, x], dim=1)
        x = self.ln(self.layers(x + self.pos_embedding))
        x = x[:, 0]
        return self.heads(x)


def vit_multihead() -> Family:
    growable = ("layers.0.mlp.0", "layers.1.mlp.0")
    frozen = {"conv_proj": "norm", "heads.head": "output"}
    return Family("vit_multihead", ViTMultihead, noise(4, 3, 8, 8), growable, frozen)


class TransformerClassifier(nn.Module):
    def __init__(self, vocabulary=20, d_model=8):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, d_model)
        layer = nn.TransformerEncoderLayer(d_model, 2, dim_feedforward=12, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2)
        self.classifier = nn.Linear(d_model, 3)

    def forward(self, x):
        return self.classifier(self.encoder(self.embedding(x)).mean(1))


def transformer_encoder() -> Family:
    growable = ("encoder.layers.0.linear1", "encoder.layers.1.linear1")
    frozen = {"embedding": "MultiheadAttention", "classifier": "output"}
    example = tokens(4, 7, vocabulary=20)
    return Family("transformer_encoder", TransformerClassifier, example, growable, frozen)


class FeedForward(nn.Module):
    def __init__(self, dim, hidden_dim):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden_dim, bias=False)
        self.w2 = nn.Linear(hidden_dim, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden_dim, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class DecoderBlock(nn.Module):
    def __init__(self, dim, n_heads):
        super().__init__()
        self.n_heads = n_heads
        self.head_dim = dim // n_heads
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, dim, bias=False)
        self.wv = nn.Linear(dim, dim, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)
        self.attention_norm = nn.RMSNorm(dim, eps=1e-5)
        self.ffn_norm = nn.RMSNorm(dim, eps=1e-5)
        self.feed_forward = FeedForward(dim, 10)

    def attention(self, x):
        bsz, seqlen, _ = x.shape
        xq, xk, xv = self.wq(x), self.wk(x), self.wv(x)
        xq = xq.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        xk = xk.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        xv = xv.view(bsz, seqlen, self.n_heads, self.head_dim).transpose(1, 2)
        output = F.scaled_dot_product_attention(xq, xk, xv, is_causal=True)
        output = output.transpose(1, 2).contiguous().view(bsz, seqlen, -1)
        return self.wo(output)

    def forward(self, x):
        h = x + self.attention(self.attention_norm(x))
        return h + self.feed_forward(self.ffn_norm(h))


class Decoder(nn.Module):
    """A language model with RMS norms, a gated MLP and a tied output projection."""

    def __init__(self, vocab_size=11, dim=8):
        super().__init__()
        self.tok_embeddings = nn.Embedding(vocab_size, dim)
        self.layers = nn.ModuleList([DecoderBlock(dim, 2) for _ in range(2)])
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.output = nn.Linear(dim, vocab_size, bias=False)
        self.tok_embeddings.weight = self.output.weight

    def forward(self, idx):
        h = self.tok_embeddings(idx)
        for layer in self.layers:
            h = layer(h)
        return self.output(self.norm(h))


def decoder() -> Family:
    growable = ("layers.0.feed_forward.w1", "layers.1.feed_forward.w1")
    frozen = {"tok_embeddings": "", "layers.0.wq": "", "output": "output"}
    return Family("decoder", Decoder, tokens(4, 6, vocabulary=11), growable, frozen)


class MixerBlock(nn.Module):
    def __init__(self, dim, seq_len):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.mlp_tokens = Mlp(seq_len, 6)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp_channels = Mlp(dim, 10)

    def forward(self, x):
        x = x + self.mlp_tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        x = x + self.mlp_channels(self.norm2(x))
        return x


class MlpMixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = PatchEmbed(4, 8)
        self.blocks = nn.Sequential(MixerBlock(8, 4), MixerBlock(8, 4))
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.stem(x)
        x = self.blocks(x)
        x = self.norm(x)
        x = x.mean(dim=1)
        return self.head(x)


def mlp_mixer() -> Family:
    """The outputs of a token MLP are positions of the image, of which there are no more."""
    growable = tuple(
        f"blocks.{i}.{mlp}.fc1" for i in (0, 1) for mlp in ("mlp_tokens", "mlp_channels")
    )
    frozen = {"stem.proj": "norm", "blocks.0.mlp_tokens.fc2": "", "head": "output"}
    return Family("mlp_mixer", MlpMixer, noise(4, 3, 8, 8), growable, frozen)


# Sequences, volumes, text


class M5(nn.Module):
    """The audio tutorial's net: the classifier works on the last of three dimensions."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 6, kernel_size=8, stride=4)
        self.bn1 = nn.BatchNorm1d(6)
        self.pool1 = nn.MaxPool1d(2)
        self.conv2 = nn.Conv1d(6, 8, kernel_size=3)
        self.bn2 = nn.BatchNorm1d(8)
        self.fc1 = nn.Linear(8, 4)

    def forward(self, x):
        x = self.conv1(x)
        x = F.relu(self.bn1(x))
        x = self.pool1(x)
        x = self.conv2(x)
        x = F.relu(self.bn2(x))
        x = F.avg_pool1d(x, x.shape[-1])
        x = x.permute(0, 2, 1)
        return self.fc1(x)


def conv1d() -> Family:
    return Family("conv1d", M5, noise(4, 1, 64), ("conv1", "conv2"), {"fc1": "output"})


class Chomp1d(nn.Module):
    def __init__(self, chomp_size):
        super().__init__()
        self.chomp_size = chomp_size

    def forward(self, x):
        return x[:, :, : -self.chomp_size].contiguous()


class TemporalBlock(nn.Module):
    def __init__(self, n_inputs, n_outputs, dilation, dropout=0.2):
        super().__init__()
        padding = 2 * dilation
        self.net = nn.Sequential(
            nn.Conv1d(n_inputs, n_outputs, 3, padding=padding, dilation=dilation),
            Chomp1d(padding),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Conv1d(n_outputs, n_outputs, 3, padding=padding, dilation=dilation),
            Chomp1d(padding),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        self.downsample = nn.Conv1d(n_inputs, n_outputs, 1) if n_inputs != n_outputs else None
        self.relu = nn.ReLU()

    def forward(self, x):
        out = self.net(x)
        res = x if self.downsample is None else self.downsample(x)
        return self.relu(out + res)


class TCN(nn.Module):
    def __init__(self):
        super().__init__()
        self.tcn = nn.Sequential(TemporalBlock(3, 6, 1), TemporalBlock(6, 6, 2))
        self.linear = nn.Linear(6, 4)

    def forward(self, inputs):
        y1 = self.tcn(inputs)
        return self.linear(y1[:, :, -1])


def tcn() -> Family:
    growable = ("tcn.0.net.0", "tcn.0.net.4", "tcn.1.net.0")
    return Family("tcn", TCN, noise(4, 3, 16), growable, {"linear": "output"})


def conv3d() -> Family:
    def build() -> nn.Module:
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv3d(1, 4, 3, padding=1, bias=False),
                norm0=nn.BatchNorm3d(4),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool3d(kernel_size=(1, 2, 2)),
                space=nn.Conv3d(4, 6, (1, 3, 3), padding=(0, 1, 1)),
                norm1=nn.BatchNorm3d(6, affine=False),
                relu1=nn.ReLU(inplace=True),
                time=nn.Conv3d(6, 5, (3, 1, 1), padding=(1, 0, 0)),
                norm2=nn.BatchNorm3d(5, track_running_stats=False),
                relu2=nn.ReLU(inplace=True),
                pool=nn.AdaptiveAvgPool3d((1, 2, 2)),
                flatten=nn.Flatten(),
                drop=nn.Dropout(0.2),
                fc=nn.Linear(20, 4),
            )
        )

    growable = ("stem", "space", "time")
    return Family("conv3d", build, noise(4, 1, 4, 8, 8), growable, {"fc": "output"})


class TextCNN(nn.Module):
    def __init__(self, vocab_size=20, embed_dim=6, num_filters=4, kernel_sizes=(2, 3, 4)):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embed_dim, padding_idx=0)
        self.convs = nn.ModuleList([nn.Conv1d(embed_dim, num_filters, k) for k in kernel_sizes])
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(num_filters * len(kernel_sizes), 4)

    def forward(self, x):
        x = self.embedding(x)
        x = x.permute(0, 2, 1)
        x = [F.relu(conv(x)) for conv in self.convs]
        x = [F.max_pool1d(i, i.size(2)).squeeze(2) for i in x]
        x = torch.cat(x, 1)
        x = self.dropout(x)
        return self.fc(x)


def text_cnn() -> Family:
    growable = ("embedding", "convs.0", "convs.1", "convs.2")
    return Family("text_cnn", TextCNN, tokens(4, 10, vocabulary=20), growable, {"fc": "output"})


class KimCNN(nn.Module):
    """The other common form: a 2-D kernel as wide as the embedding, which so becomes a width."""

    def __init__(self, vocab_size=20, embed_dim=6):
        super().__init__()
        self.embed = nn.Embedding(vocab_size, embed_dim)
        self.convs = nn.ModuleList([nn.Conv2d(1, 5, (k, embed_dim)) for k in (2, 3)])
        self.fc1 = nn.Linear(10, 4)

    def forward(self, x):
        x = self.embed(x)
        x = x.unsqueeze(1)
        x = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        x = [i.max(dim=2)[0] for i in x]
        return self.fc1(torch.cat(x, 1))


def kim_cnn() -> Family:
    frozen = {"embed": "", "fc1": "output"}
    return Family("kim_cnn", KimCNN, tokens(4, 10, vocabulary=20), ("convs.0", "convs.1"), frozen)


class LSTMClassifier(nn.Module):
    def __init__(self, vocab_size=20):
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 6)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.fc1 = nn.Linear(8, 10)
        self.fc2 = nn.Linear(10, 3)

    def forward(self, x):
        embedded = self.embedding(x)
        _output, (hidden, _cell) = self.lstm(embedded)
        return self.fc2(F.relu(self.fc1(hidden[-1])))


def lstm() -> Family:
    frozen = {"embedding": "lstm", "lstm": "lstm", "fc2": "output"}
    return Family("lstm", LSTMClassifier, tokens(4, 7, vocabulary=20), ("fc1",), frozen)


# Images out


class Upsampler(nn.Module):
    """A super-resolution net: residual body, pixel shuffle, and the upsampled input added."""

    def __init__(self, n_feats=6, scale=2):
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, n_feats, 3, padding=1)
        self.body1 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.body2 = nn.Conv2d(n_feats, n_feats, 3, padding=1)
        self.upsample = nn.Sequential(
            nn.Conv2d(n_feats, 5 * scale**2, 3, padding=1), nn.PixelShuffle(scale)
        )
        self.tail = nn.Conv2d(5, 3, 3, padding=1)

    def forward(self, x):
        h = self.head(x)
        res = self.body2(F.relu(self.body1(h)))
        res += h
        up = self.tail(self.upsample(res))
        return up + F.interpolate(x, scale_factor=self.scale, mode="bilinear", align_corners=False)


def pixel_shuffle() -> Family:
    """The four channels that become one pixel block are one unit of the upsampling layer."""
    growable = ("head", "body1", "upsample.0")
    return Family("pixel_shuffle", Upsampler, noise(4, 3, 6, 6), growable, {"tail": ""})


class ConvAutoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1),
            nn.ReLU(True),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(True),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1, groups=4),
            nn.BatchNorm2d(12),
            nn.ReLU(True),
            nn.ConvTranspose2d(12, 6, 3, padding=1),
            nn.ReLU(True),
            nn.ConvTranspose2d(6, 3, 3, stride=2, padding=1, output_padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))


def autoencoder() -> Family:
    """Grouped transposed convolution: two channels in and three out are a unit of encoder.2."""
    growable = ("encoder.0", "encoder.2", "decoder.3")
    return Family(
        "autoencoder", ConvAutoencoder, noise(4, 3, 8, 8), growable, {"decoder.5": "output"}
    )


class ConvLayer(nn.Module):
    def __init__(self, in_channels, out_channels, kernel_size, stride, upsample=None):
        super().__init__()
        self.upsample = upsample
        self.reflection_pad = nn.ReflectionPad2d(kernel_size // 2)
        self.conv2d = nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x):
        if self.upsample:
            x = F.interpolate(x, mode="nearest", scale_factor=self.upsample)
        return self.conv2d(self.reflection_pad(x))


class StyleBlock(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = ConvLayer(channels, channels, kernel_size=3, stride=1)
        self.in1 = nn.InstanceNorm2d(channels, affine=True)
        self.conv2 = ConvLayer(channels, channels, kernel_size=3, stride=1)
        self.in2 = nn.InstanceNorm2d(channels)
        self.relu = nn.ReLU()

    def forward(self, x):
        residual = x
        out = self.relu(self.in1(self.conv1(x)))
        out = self.in2(self.conv2(out))
        out = out + residual
        return out


class StyleNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = ConvLayer(3, 5, kernel_size=5, stride=1)
        self.in1 = nn.InstanceNorm2d(5, affine=True)
        self.conv2 = ConvLayer(5, 6, kernel_size=3, stride=2)
        self.in2 = nn.InstanceNorm2d(6, affine=True, track_running_stats=True)
        self.res1 = StyleBlock(6)
        self.res2 = StyleBlock(6)
        self.deconv1 = ConvLayer(6, 4, kernel_size=3, stride=1, upsample=2)
        self.in3 = nn.InstanceNorm2d(4, affine=True)
        self.deconv2 = ConvLayer(4, 3, kernel_size=5, stride=1)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.in1(self.conv1(x)))
        y = self.relu(self.in2(self.conv2(y)))
        y = self.res2(self.res1(y))
        y = self.relu(self.in3(self.deconv1(y)))
        y = self.deconv2(y)
        return y


def instance_norm() -> Family:
    growable = (
        "conv1.conv2d",
        "conv2.conv2d",
        "res1.conv1.conv2d",
        "res2.conv1.conv2d",
        "deconv1.conv2d",
    )
    return Family(
        "instance_norm", StyleNet, noise(4, 3, 8, 8), growable, {"deconv2.conv2d": "output"}
    )


class Generator(nn.Module):
    """Vectors to maps: one channel is four neighbouring features of the linear layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(10, 6 * 2 * 2)
        self.bn = nn.BatchNorm1d(6 * 2 * 2)
        self.up1 = nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1)
        self.up2 = nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1)

    def forward(self, z):
        x = F.relu(self.bn(self.fc(z)))
        x = x.view(z.size(0), -1, 2, 2)
        x = F.leaky_relu(self.up1(x), 0.2)
        return torch.tanh(self.up2(x))


def generator() -> Family:
    return Family("generator", Generator, noise(4, 10), ("fc", "up1"), {"up2": "output"})


def generator_unflatten() -> Family:
    """The usual form: the number of channels is a constant of `Unflatten`."""

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(10, 6 * 2 * 2),
            nn.ReLU(),
            nn.Unflatten(1, (6, 2, 2)),
            nn.ConvTranspose2d(6, 5, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(5, 3, 4, stride=2, padding=1),
        )

    frozen = {"0": "", "5": "output"}
    return Family("generator_unflatten", build, noise(4, 10), ("3",), frozen)


# Shared weights and modules


class TiedEmbedding(nn.Module):
    """The output projection is the embedding itself: one parameter makes and reads a channel."""

    def __init__(self, vocab_size=12, dim=6):
        super().__init__()
        self.encoder = nn.Embedding(vocab_size, dim)
        self.hidden = nn.Linear(dim, 10)
        self.project = nn.Linear(10, dim)
        self.decoder = nn.Linear(dim, vocab_size)
        self.decoder.weight = self.encoder.weight

    def forward(self, x):
        emb = self.encoder(x).mean(dim=1)
        h = torch.relu(self.hidden(emb))
        return self.decoder(self.project(h))


def tied_embedding() -> Family:
    frozen = {"encoder": "", "decoder": "output"}
    return Family("tied_embedding", TiedEmbedding, tokens(4, 5, vocabulary=12), ("hidden",), frozen)


class TiedAutoencoder(nn.Module):
    """The code's channels are rows of the weight in the encoder and its columns in the decoder."""

    def __init__(self):
        super().__init__()
        self.pre = nn.Linear(12, 10)
        self.enc = nn.Linear(10, 6)
        self.dec_bias = nn.Parameter(torch.zeros(10))
        self.post = nn.Linear(10, 12)

    def forward(self, x):
        h = torch.relu(self.pre(x))
        z = torch.sigmoid(self.enc(h))
        y = F.linear(z, self.enc.weight.t(), self.dec_bias)
        return self.post(torch.relu(y))


def tied_autoencoder() -> Family:
    """So are those of `pre`, read by the encoder and made again by the decoder."""
    frozen = {"pre": "", "enc": "", "post": "output"}
    return Family("tied_autoencoder", TiedAutoencoder, noise(4, 12), (), frozen)


class TiedTwins(nn.Module):
    """Two layers with one weight, both read by the classifier: they grow as one."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(6, 5)
        self.right = nn.Linear(6, 5)
        self.right.weight = self.left.weight
        self.fc = nn.Linear(10, 4)

    def forward(self, x, y):
        return self.fc(torch.cat([F.relu(self.left(x)), F.relu(self.right(y))], dim=-1))


def tied_twins() -> Family:
    def example() -> Example:
        return noise(4, 6)(), noise(4, 6, seed=1)()

    return Family("tied_twins", TiedTwins, example, ("left",), {"fc": "output"})


class Recurrent(nn.Module):
    """One convolution applied twice: it reads what it makes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.shared = nn.Conv2d(6, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = F.relu(self.stem(x))
        for _ in range(2):
            x = F.relu(self.norm(self.shared(x)))
        return self.fc(x.mean(dim=(2, 3)))


def called_twice() -> Family:
    return Family("called_twice", Recurrent, noise(4, 3, 8, 8), ("stem",), {"fc": "output"})


class SharedHead(nn.Module):
    """One head for two levels: what it reads must have the same size in both."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.level1 = nn.Conv2d(6, 5, 3, stride=2, padding=1)
        self.level2 = nn.Conv2d(6, 5, 3, stride=4, padding=1)
        self.head = nn.Sequential(
            nn.Conv2d(5, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1)
        )

    def forward(self, x):
        x = F.relu(self.stem(x))
        return [self.head(F.relu(level(x))) for level in (self.level1, self.level2)]


def shared_head() -> Family:
    growable = ("stem", "level1", "head.0")
    return Family("shared_head", SharedHead, noise(4, 3, 8, 8), growable, {"head.2": "output"})


class Siamese(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 3, stride=2, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.embed = nn.Linear(8 * 2 * 2, 7)
        self.fc = nn.Linear(7, 1)

    def forward_once(self, x):
        x = self.features(x)
        x = x.view(x.size()[0], -1)
        return torch.sigmoid(self.embed(x))

    def forward(self, input1, input2):
        difference = torch.abs(self.forward_once(input1) - self.forward_once(input2))
        return self.fc(difference)


def siamese() -> Family:
    def example() -> Example:
        return noise(4, 1, 8, 8)(), noise(4, 1, 8, 8, seed=1)()

    growable = ("features.0", "features.3", "embed")
    return Family("siamese", Siamese, example, growable, {"fc": "output"})


# Several inputs, several outputs


class ImageAndTable(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.table = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.ReLU())
        self.fuse = nn.Linear(6 + 7, 8)
        self.fc = nn.Linear(8, 4)

    def forward(self, image, table):
        image = F.relu(self.conv(image)).mean(dim=(2, 3))
        x = torch.cat((image, self.table(table)), dim=1)
        return self.fc(F.relu(self.fuse(x)))


def two_inputs() -> Family:
    def example() -> Example:
        return noise(4, 3, 8, 8)(), noise(4, 5, seed=1)()

    growable = ("conv", "table.0", "fuse")
    return Family("two_inputs", ImageAndTable, example, growable, {"fc": "output"})


class Detector(nn.Module):
    """Returns a dictionary; one entry is an inner map, which so can't change its size."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.hidden = nn.Conv2d(8, 6, 1)
        self.boxes = nn.Conv2d(6, 4, 1)
        self.labels = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        features = F.relu(self.conv2(x))
        x = F.relu(self.hidden(features))
        return {
            "features": features,
            "predictions": {"boxes": self.boxes(x), "labels": self.labels(x)},
        }


def dict_output() -> Family:
    frozen = {"conv2": "output", "boxes": "output", "labels": "output"}
    return Family("dict_output", Detector, noise(4, 3, 8, 8), ("conv1", "hidden"), frozen)


class CodeAndReconstruction(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc1 = nn.Linear(12, 10)
        self.enc2 = nn.Linear(10, 5)
        self.dec1 = nn.Linear(5, 9)
        self.dec2 = nn.Linear(9, 12)

    def forward(self, x):
        z = self.enc2(F.elu(self.enc1(x)))
        return self.dec2(F.elu(self.dec1(z))), z


def tuple_output() -> Family:
    frozen = {"enc2": "output", "dec2": "output"}
    return Family("tuple_output", CodeAndReconstruction, noise(4, 12), ("enc1", "dec1"), frozen)


FAMILIES: tuple[Family, ...] = tuple(
    family()
    for family in (
        mlp,
        highway,
        vgg,
        lenet,
        functional_dropout,
        functional,
        shape_arithmetic,
        prelu,
        learned_scale,
        resnet_basic,
        resnet_group_norm,
        resnet_bottleneck,
        resnext,
        resnet_preact,
        se_resnet,
        repvgg,
        densenet,
        inception,
        unet,
        csp,
        partial_conv,
        mobilenet_v2,
        mobilenet_v3,
        efficientnet,
        channel_multiplier,
        shufflenet_v2,
        shuffle,
        shufflenet_v1,
        cbam,
        eca,
        channel_mixing,
        non_local,
        weight_standardization,
        gated,
        convnext,
        convnext_batch_norm,
        vit,
        vit_multihead,
        transformer_encoder,
        decoder,
        mlp_mixer,
        conv1d,
        tcn,
        conv3d,
        text_cnn,
        kim_cnn,
        lstm,
        pixel_shuffle,
        autoencoder,
        instance_norm,
        generator,
        generator_unflatten,
        tied_embedding,
        tied_autoencoder,
        tied_twins,
        called_twice,
        shared_head,
        siamese,
        two_inputs,
        dict_output,
        tuple_output,
    )
)


# Models that can't be traced


class DataDependent(nn.Module):
    def __init__(self):
        super().__init__()
        self.small = nn.Linear(6, 6)
        self.large = nn.Linear(6, 6)

    def forward(self, x):
        if x.sum() > 0:
            return self.large(x)
        return self.small(x)


class LoopOverLength(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return torch.stack([self.fc(x[i]) for i in range(len(x))])


class LoopOverSteps(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(6, 6)

    def forward(self, x):
        h = torch.zeros_like(x)
        for _ in range(x.size(1)):
            h = self.cell(x, h)
        return h


class IterateSamples(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        return torch.stack([self.fc(sample) for sample in x])


class ToNumber(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(6))

    def forward(self, x):
        return x * self.scale / (1.0 + float(x.detach().abs().max()))


class CheckedInput(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 6)

    def forward(self, x):
        if not isinstance(x, Tensor):
            raise TypeError(f"expected a tensor, got {type(x).__name__}")
        return self.fc(x)


class Wrapped(nn.Module):
    """Two traceable layers around one that may not be."""

    def __init__(self, inner):
        super().__init__()
        self.stem = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.ReLU()), inner])
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


UNTRACEABLE: tuple[Untraceable, ...] = (
    Untraceable("data_dependent_model", DataDependent, noise(4, 6), ""),
    *(
        Untraceable(name, lambda inner=inner: Wrapped(inner()), noise(4, 4), "blocks.1")
        for name, inner in (
            ("data_dependent", DataDependent),
            ("loop_over_length", LoopOverLength),
            ("loop_over_steps", LoopOverSteps),
            ("iterate_samples", IterateSamples),
            ("to_number", ToNumber),
            ("checked_input", CheckedInput),
        )
    ),
    Untraceable(
        "deep_inside",
        lambda: nn.Sequential(nn.Linear(4, 4), Wrapped(nn.Sequential(nn.ReLU(), DataDependent()))),
        noise(4, 4),
        "1.blocks.1.1",
    ),
)
