from pathlib import Path

import pytest
import torch
from torch import nn

from neuroexapt.errors import TraceError
from neuroexapt.training.models import MODELS, build_model

SHAPE = {"num_classes": 7, "in_channels": 3, "image_size": (12, 10)}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("channels", "size"), [(1, (8, 8)), (3, (32, 32)), (2, (5, 9))])
def test_model_maps_images_to_classes_and_traces(
    name: str, channels: int, size: tuple[int, int]
) -> None:
    model = build_model(name, num_classes=7, in_channels=channels, image_size=size)
    images = torch.randn(3, channels, *size)
    traced = torch.fx.symbolic_trace(model)
    for training in (True, False):
        model.train(training)
        traced.train(training)
        outputs = model(images)
        assert outputs.shape == (3, 7)
        assert torch.equal(traced(images), outputs)


@pytest.mark.parametrize("name", MODELS)
def test_model_gives_every_parameter_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(name, num_classes=7, in_channels=1, image_size=(8, 8))
    nn.functional.cross_entropy(model(torch.randn(16, 1, 8, 8)), torch.arange(16) % 7).backward()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert all(parameter.grad.any() for parameter in trained)


def test_tiny_conv_parameters_by_hand() -> None:
    # 9 x 1 x 4 + 9 x 4 x 8 + 9 x 8 x 8 weights, 2 x (4 + 8 + 8) for the norms, 8 x 10 + 10.
    model = build_model("tiny-conv", num_classes=10, in_channels=1, image_size=(8, 8))
    assert sum(p.numel() for p in model.parameters()) == 36 + 288 + 576 + 40 + 90


@pytest.mark.parametrize(("size", "least"), [((1, 1), 2), ((1, 8), 2), ((3, 17), 4), ((20, 2), 4)])
def test_tiny_conv_refuses_pictures_it_cannot_halve(size: tuple[int, int], least: int) -> None:
    message = (
        f"each side of {size[0]} by {size[1]} pixels has to be at least {least}; .*--image-size"
    )
    with pytest.raises(TraceError, match=message):
        build_model("tiny-conv", num_classes=7, in_channels=1, image_size=size)
    enough = tuple(max(side, least) for side in size)
    model = build_model("tiny-conv", num_classes=7, in_channels=1, image_size=enough)
    assert model(torch.zeros(2, 1, *enough)).shape == (2, 7)


def test_build_model_imports_a_factory_and_gives_it_what_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_models.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Linear):\n"
        "    def __init__(self, num_classes, image_size):\n"
        "        super().__init__(image_size[0] * image_size[1], num_classes)\n"
        "def any_keyword(width=3, **kwargs):\n"
        "    assert kwargs == {'num_classes': 7}, kwargs\n"
        "    return nn.Linear(width, kwargs['num_classes'])\n"
        "def nothing():\n"
        "    return nn.Linear(1, 2)\n"
        "def text():\n"
        "    return 'net'\n"
        "def other(width):\n"
        "    return nn.Linear(width, width)\n"
        "number = 3\n"
    )
    (tmp_path / "needy.py").write_text("import package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert build_model("their_models:Net", **SHAPE).weight.shape == (7, 120)
    assert build_model("their_models:any_keyword", **SHAPE).weight.shape == (7, 3)
    assert build_model("their_models:nothing", **SHAPE).weight.shape == (2, 1)
    for path, message in (
        ("their_models:text", "returned a str; a factory returns an nn.Module"),
        ("their_models:other", r"cannot be called .*'width'.* or name them num_classes, in_ch"),
        ("their_models:number", "is a int; a factory is a function or class"),
        ("their_models:missing", "module their_models has nothing named missing"),
        ("needy:net", "there is no module package_that_is_not_there; install it"),
    ):
        with pytest.raises(TraceError, match=message):
            build_model(path, **SHAPE)


@pytest.mark.parametrize(
    ("text", "doing", "line", "what"),
    [
        ("def net(:\n    pass\n", "importing", 1, "SyntaxError: invalid syntax"),
        ("width = 3\nwidth / 0\n", "importing", 2, "ZeroDivisionError: division by zero"),
        ("from torch import not_there\n", "importing", 1, "ImportError: cannot import name"),
        ("import sys\nsys.exit('usage')\n", "importing", 2, "SystemExit: usage"),
        ("raise ModuleNotFoundError\n", "importing", 1, "ModuleNotFoundError"),
        (
            "def size():\n    return {}['width']\n\ndef net(num_classes):\n    return size()\n",
            "building it from num_classes",
            2,
            "KeyError: 'width'",
        ),
        (
            "from torch import nn\ndef net():\n    return nn.Linear(\n        3, 'ten')\n",
            "building it from no argument",
            3,
            "TypeError: empty",
        ),
    ],
)
def test_build_model_names_the_line_that_fails(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    doing: str,
    line: int,
    what: str,
) -> None:
    name = f"failing_models_{abs(hash(text))}"
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(TraceError) as found:
        build_model(f"{name}:net", **SHAPE)
    message = str(found.value)
    assert message.startswith(f"{name}:net: {doing}")
    assert f" failed at {file}, line {line} ({what}" in message
    assert message.endswith("); mend it")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("models/small.py:net", "names a file; give its module, as models.small:net"),
        ("./small.py", r"names a file; give its module, as small:\.\.\."),
        (".small:net", "no import path"),
        ("builtins:dict", "doesn't tell its parameters; give a function of your own"),
        (
            "tiny",
            r"no model known by name \(tiny-conv, airbench, mlp, resnet, vgg\) and no import path",
        ),
        ("torch.nn:", "no import path; give package.module:factory"),
        (":Linear", "no import path"),
        ("no_such_package.models:net", "there is no module no_such_package"),
    ],
)
def test_build_model_of_no_name_or_path_is_refused(path: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        build_model(path, **SHAPE)
