"""Small networks to grow from, by name, and any other by its import path."""

import importlib
import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from torch import Tensor, nn

from neuroexapt.errors import TraceError
from neuroexapt.training.airbench import airbench
from neuroexapt.training.origin import origin

Size = tuple[int, int]


def _conv_bn(in_channels: int, out_channels: int, stride: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(out_channels),
    ]


def tiny_conv(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """Three convolutions, far too narrow for their task: the network to watch growing.

    4, 8 and 8 channels on images up to 16 pixels, 8, 16 and 16 on larger ones, halving the
    picture after the first and, on larger images, the second.

    Raises:
        TraceError: if the picture is too small to be halved so often.
    """
    large = max(image_size) > 16
    least = 4 if large else 2
    if min(image_size) < least:
        raise TraceError(
            f"tiny-conv halves the picture, so each side of {image_size[0]} by {image_size[1]} "
            f"pixels has to be at least {least}; give a larger --image-size for a folder's images, "
            "or another model, as mlp"
        )
    widths = (8, 16, 16) if large else (4, 8, 8)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = in_channels
    for number, width in enumerate(widths, start=1):
        layers[f"conv{number}"], layers[f"bn{number}"] = _conv_bn(channels, width)
        layers[f"relu{number}"] = nn.ReLU()
        if number == 1 or (large and number == 2):
            layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels = width
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)


def mlp(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """Two hidden layers of 16 units each on the flattened picture."""
    inputs = in_channels * image_size[0] * image_size[1]
    return nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            fc1=nn.Linear(inputs, 16),
            relu1=nn.ReLU(),
            fc2=nn.Linear(16, 16),
            relu2=nn.ReLU(),
            fc3=nn.Linear(16, num_classes),
        )
    )


def vgg(num_classes: int, in_channels: int, image_size: Size) -> nn.Module:
    """Pairs of convolutions of 8, 16 and 16 channels, each pair halving the picture if it can."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels, side = in_channels, min(image_size)
    for stage, width in enumerate((8, 16, 16), start=1):
        for number in (1, 2):
            name = f"{stage}_{number}"
            layers[f"conv{name}"], layers[f"bn{name}"] = _conv_bn(channels, width)
            layers[f"relu{name}"] = nn.ReLU()
            channels = width
        if side >= 2:
            layers[f"pool{stage}"] = nn.MaxPool2d(2)
            side //= 2
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["fc"] = nn.Linear(channels, num_classes)
    return nn.Sequential(layers)


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, which projects where the shape changes."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv_bn(in_channels, out_channels, stride)
        self.relu1 = nn.ReLU()
        self.conv2, self.bn2 = _conv_bn(out_channels, out_channels)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        residual = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x)))))
        outputs: Tensor = self.relu2(residual + self.shortcut(x))
        return outputs


def resnet(num_classes: int, in_channels: int) -> nn.Module:
    """A residual network of 8, 16 and 32 channels, one block a stage.

    Source: He et al. 2016, arXiv:1512.03385, section 4.2, at half the width.
    """
    conv, bn = _conv_bn(in_channels, 8)
    return nn.Sequential(
        OrderedDict(
            conv=conv,
            bn=bn,
            relu=nn.ReLU(),
            stage1=BasicBlock(8, 8, stride=1),
            stage2=BasicBlock(8, 16, stride=2),
            stage3=BasicBlock(16, 32, stride=2),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(32, num_classes),
        )
    )


Factory = Callable[..., nn.Module]

MODELS: dict[str, Factory] = {
    "tiny-conv": tiny_conv,
    "airbench": airbench,
    "mlp": mlp,
    "resnet": resnet,
    "vgg": vgg,
}


def build_model(
    name_or_path: str, *, num_classes: int, in_channels: int, image_size: Size
) -> nn.Module:
    """Build a network by its name, or by calling a factory given as `package.module:factory`.

    A factory is called with those of the three arguments that it names. One that takes any
    keyword (`**kwargs`), as torchvision's do, is given `num_classes` as well.

    Args:
        name_or_path: a key of `MODELS`, or an import path.
        num_classes: outputs.
        in_channels: 1 for grey images, 3 for colour.
        image_size: height and width in pixels.

    Raises:
        TraceError: if there is no such name, module or factory, the module or the factory fails,
            or the factory needs other arguments or returns no `nn.Module`.
    """
    factory = MODELS.get(name_or_path) or _import_factory(name_or_path)
    offered = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
    arguments = _accepted(name_or_path, factory, offered)
    with _failing(name_or_path, f"building it from {', '.join(arguments) or 'no argument'}"):
        model = factory(**arguments)
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"{name_or_path} returned a {type(model).__name__}; a factory returns an nn.Module"
        )
    return model


def _import_factory(path: str) -> Factory:
    module_name, _, attribute = path.partition(":")
    if "/" in module_name or module_name.endswith(".py"):
        dotted = module_name.removesuffix(".py").replace("/", ".").strip(".")
        raise TraceError(f"{path} names a file; give its module, as {dotted}:{attribute or '...'}")
    if not module_name or module_name.startswith(".") or not attribute:
        raise TraceError(
            f"{path} is no model known by name ({', '.join(MODELS)}) and no import path; "
            "give package.module:factory"
        )
    module = _import_module(path, module_name)
    factory = getattr(module, attribute, None)
    if factory is None:
        raise TraceError(f"{path}: module {module_name} has nothing named {attribute}")
    if not callable(factory):
        raise TraceError(
            f"{path} is a {type(factory).__name__}; a factory is a function or class that returns "
            "an nn.Module"
        )
    result: Factory = factory
    return result


def _import_module(path: str, name: str) -> ModuleType:
    with _failing(path, f"importing {name}"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None:
                raise
            raise TraceError(
                f"{path}: there is no module {error.name}; install it, or run where Python finds it"
            ) from error


@contextmanager
def _failing(path: str, doing: str) -> Iterator[None]:
    """Name a user's line that fails inside. Their code may raise anything, even end the program."""
    try:
        yield
    except TraceError:
        raise
    except (Exception, SystemExit) as error:
        text = str(error.msg if isinstance(error, SyntaxError) else error).strip().splitlines()
        what = f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
        raise TraceError(f"{path}: {doing} failed{origin(error)} ({what}); mend it") from error


def _accepted(path: str, factory: Factory, offered: dict[str, object]) -> dict[str, object]:
    """Return what the factory takes of the arguments on offer."""
    try:
        signature = inspect.signature(factory)
    except ValueError as error:
        raise TraceError(
            f"{path} doesn't tell its parameters; give a function of your own that calls it"
        ) from error
    named = {
        name
        for name, parameter in signature.parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    if any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values()):
        named.add("num_classes")
    arguments = {name: value for name, value in offered.items() if name in named}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise TraceError(
            f"{path} cannot be called with {', '.join(arguments) or 'no argument'} ({error}); give "
            f"its other parameters defaults, or name them {', '.join(offered)}"
        ) from error
    return arguments
