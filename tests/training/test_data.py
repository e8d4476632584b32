import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuroexapt.errors import DataError
from neuroexapt.training.data import load

WriteParquet = Callable[..., np.ndarray]


@pytest.fixture
def data_dir(tmp_path: Path, write_parquet: WriteParquet) -> Path:
    for name, column, seed in (("cifar10", "label", 0), ("cifar100", "fine_label", 1)):
        for part in ("train", "test"):
            path = tmp_path / name / f"{part}-00000-of-00001.parquet"
            write_parquet(path, [0, 1] * 10, seed=seed, label_column=column)
    return tmp_path


def test_load_digits_splits_alike_under_every_global_seed() -> None:
    torch.manual_seed(0)
    first = load("digits")
    torch.manual_seed(1)
    second = load("digits")
    assert torch.equal(first.validation.images, second.validation.images)
    assert not torch.equal(first.validation.images, load("digits", split_seed=1).validation.images)


def test_load_finds_the_data_sets_own_subfolder(data_dir: Path) -> None:
    ten, hundred = load("cifar10", data_dir), load("cifar100", data_dir)
    assert (ten.name, hundred.name) == ("cifar10", "cifar100")
    assert len(ten.train) == 18 and not torch.equal(ten.train.images, hundred.train.images)
    assert torch.equal(load("cifar10", data_dir / "cifar10").train.images, ten.train.images)


def test_load_takes_a_folder_of_parquet_or_of_classes(data_dir: Path) -> None:
    splits = load(data_dir / "cifar10")
    assert splits.name == "cifar10" and len(splits.validation) == 2
    assert load("cifar10", data_dir).name == load("./cifar10", data_dir).name
    (data_dir / "classes").mkdir()
    with pytest.raises(DataError, match="one folder of images for each class"):
        load("classes", data_dir)


def test_load_unknown_name_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cifar11 is no data set .*digits, cifar10, cifar100.*no"):
        load("cifar11", tmp_path)
    with pytest.raises(DataError, match=r"there is no folder .*missing to find cifar10 in"):
        load("cifar10", tmp_path / "missing")


@pytest.mark.parametrize(
    ("num_classes", "each", "warning"),
    [
        (10, 2, "holds only 2 images, and none of 8 of 10 classes, so its accuracy"),
        (2, 5, "holds only 1 image, and none of 1 of 2 classes, so"),
        (2, 50, "holds only 10 images, so its accuracy.*; give more images, or hold out a larger"),
        (2, 100, None),
    ],
)
def test_load_warns_where_little_is_held_out(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    num_classes: int,
    each: int,
    warning: str | None,
) -> None:
    for number in range(num_classes):
        folder = tmp_path / "few" / f"class{number}"
        folder.mkdir(parents=True)
        for image in range(each):
            Image.new("L", (2, 2), image).save(folder / f"{image}.png")
    load(tmp_path / "few")
    if warning is None:
        assert caplog.text == ""
    else:
        assert re.search(f"few: the validation part {warning}", caplog.text)


@pytest.mark.parametrize("args", [("a" * 300,), ("cifar10", "a" * 300)])
def test_load_what_the_system_refuses_is_named(args: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match=r"a{300} cannot be read \(.*\); allow reading it, or give"):
        load(*args)


@pytest.mark.parametrize("share", [0.0, -0.1, 0.51, float("nan")])
def test_load_validation_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(DataError, match=f"at most 0.5, not {share}"):
        load("digits", validation=share)


def test_load_image_size_where_it_means_nothing_is_refused(data_dir: Path) -> None:
    with pytest.raises(DataError, match="digits has a size of its own"):
        load("digits", image_size=16)
    with pytest.raises(DataError, match="leave out image_size=16"):
        load(data_dir / "cifar10", image_size=16)
