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
    assert all(parameter.grad.any() for parameter in model.parameters())


def test_tiny_conv_parameters_by_hand() -> None:
    # 9 x 1 x 4 + 9 x 4 x 8 + 9 x 8 x 8 weights, 2 x (4 + 8 + 8) for the norms, 8 x 10 + 10.
    model = build_model("tiny-conv", num_classes=10, in_channels=1, image_size=(8, 8))
    assert sum(p.numel() for p in model.parameters()) == 36 + 288 + 576 + 40 + 90


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
    ("path", "message"),
    [
        ("tiny", r"no model known by name \(tiny-conv, mlp, resnet, vgg\) and no import path"),
        ("torch.nn:", "no import path; give package.module:factory"),
        (":Linear", "no import path"),
        ("no_such_package.models:net", "there is no module no_such_package"),
    ],
)
def test_build_model_of_no_name_or_path_is_refused(path: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        build_model(path, **SHAPE)
