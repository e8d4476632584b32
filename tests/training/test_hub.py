import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from neuroexapt.errors import DataError
from neuroexapt.training.hub import download, find_parquet, read_parquet

WriteParquet = Callable[..., np.ndarray]
NAMES = ["cat", "dog"]


@pytest.fixture
def folder(tmp_path: Path, write_parquet: WriteParquet) -> Path:
    root = tmp_path / "pets"
    write_parquet(root / "train.parquet", [0, 1] * 10, class_names=NAMES)
    write_parquet(root / "test.parquet", [1, 0, 0], seed=1, class_names=NAMES)
    return root


def test_read_parquet_splits_the_training_rows(tmp_path: Path, write_parquet: WriteParquet) -> None:
    pixels = write_parquet(tmp_path / "train.parquet", [0, 1] * 10, class_names=NAMES)
    held_apart = write_parquet(tmp_path / "test.parquet", [1, 0, 0], seed=1, class_names=NAMES)
    splits = read_parquet("pets", tmp_path, 0.2, 0)
    assert splits.name == "pets" and splits.train.classes == ("cat", "dog")
    assert (len(splits.train), len(splits.validation)) == (16, 4)
    assert splits.validation.labels.bincount().tolist() == [2, 2]
    ours = [
        image.numpy().tobytes()
        for part in (splits.train, splits.validation)
        for image in part.images
    ]
    assert sorted(ours) == sorted(image.transpose(2, 0, 1).tobytes() for image in pixels)
    assert np.array_equal(splits.test.images, held_apart.transpose(0, 3, 1, 2))
    assert splits.test.labels.tolist() == [1, 0, 0]


def test_read_parquet_does_not_decode_the_test_part_before_it_is_asked_for(
    folder: Path, cache_home: Path
) -> None:
    splits = read_parquet("pets", folder, 0.2, 0)
    assert [path.name[:5] for path in cache_home.iterdir()] == ["train"]
    (folder / "test.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"test\.parquet cannot be read"):
        _ = splits.test


def test_read_parquet_gives_the_same_from_the_cache(folder: Path, cache_home: Path) -> None:
    first, second = (read_parquet("pets", folder, 0.2, 0) for _ in range(2))
    assert len(list(cache_home.iterdir())) == 1
    assert np.array_equal(first.train.images, second.train.images)


def test_read_parquet_without_names_numbers_the_classes(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2, 2, 1, 0], label_column="fine_label")
    write_parquet(tmp_path / "test.parquet", [0], label_column="fine_label")
    splits = read_parquet("pets", tmp_path, 0.5, 0)
    assert splits.test.classes == splits.train.classes == ("0", "1", "2")


def test_read_parquet_of_grey_images_has_one_channel(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1] * 3, channels=1)
    write_parquet(tmp_path / "test.parquet", [0], channels=1)
    splits = read_parquet("pets", tmp_path, 0.4, 0)
    assert splits.num_channels == 1 and splits.test.num_channels == 1


def test_read_parquet_with_unlabelled_rows_is_refused(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, -1], class_names=NAMES)
    write_parquet(tmp_path / "test.parquet", [0], class_names=NAMES)
    with pytest.raises(DataError, match="labels run from -1"):
        read_parquet("pets", tmp_path, 0.5, 0)


def test_read_parquet_with_other_names_in_the_test_part_is_refused(
    folder: Path, write_parquet: WriteParquet
) -> None:
    write_parquet(folder / "test.parquet", [0], class_names=["dog", "cat"])
    with pytest.raises(DataError, match="the test part has classes"):
        _ = read_parquet("pets", folder, 0.2, 0).test


def test_find_parquet_looks_into_subfolders(folder: Path) -> None:
    assert find_parquet(folder.parent, "test") == (folder / "test.parquet",)


def test_find_parquet_of_nothing_says_what_to_give(folder: Path) -> None:
    (folder / "test.parquet").unlink()
    with pytest.raises(DataError, match=r"hold no test\*.parquet; give the folder"):
        read_parquet("pets", folder, 0.2, 0)


def test_find_parquet_in_two_folders_is_refused(folder: Path, write_parquet: WriteParquet) -> None:
    write_parquet(folder.parent / "wild" / "train.parquet", [0])
    with pytest.raises(DataError, match=r"more than one folder \(.*pets, .*wild\)"):
        find_parquet(folder.parent, "train")


def test_download_without_the_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"pip install neuroexapt\[hub\].*--data-dir"):
        download("cifar10")


def test_download_without_network_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"cifar10 cannot be downloaded .*--data-dir"):
        download("cifar10")
