from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neuroexapt.errors import DataError
from neuroexapt.training.folder import read_folder
from neuroexapt.training.images import ImageSet


def fill(folder: Path, num: int, size: tuple[int, int] = (4, 4), first: int = 0) -> None:
    """Write grey images whose pixels are their number."""
    folder.mkdir(parents=True)
    for number in range(first, first + num):
        pixels = np.full(size, number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")


def numbers(images: ImageSet) -> list[int]:
    return sorted(images.images[:, 0, 0, 0].tolist())


def test_read_flat_folder_cuts_all_three_parts(tmp_path: Path) -> None:
    fill(tmp_path / "flowers" / "rose", 20)
    fill(tmp_path / "flowers" / "aster", 20, first=100)
    splits = read_folder(tmp_path / "flowers", 0.1, 0, None)
    assert splits.name == "flowers" and splits.train.classes == ("aster", "rose")
    parts = (splits.train, splits.validation, splits.test)
    assert [len(part) for part in parts] == [28, 4, 8]
    found = sorted(number for part in parts for number in numbers(part))
    assert found == [*range(20), *range(100, 120)]
    for part in parts:
        assert part.labels.tolist() == [int(n < 100) for n in part.images[:, 0, 0, 0].tolist()]


def test_read_folder_takes_the_parts_that_are_there(tmp_path: Path) -> None:
    for part, first in (("train", 0), ("val", 20), ("test", 40)):
        fill(tmp_path / part / "a", 10, first=first)
        fill(tmp_path / part / "b", 10, first=first + 10)
    splits = read_folder(tmp_path, 0.1, 0, None)
    assert numbers(splits.train) == list(range(20))
    assert numbers(splits.validation) == list(range(20, 40))
    assert numbers(splits.test) == list(range(40, 60))


@pytest.mark.parametrize(
    ("given", "sizes"),
    [((), [14, 2, 4]), (("test",), [18, 2, 3]), (("valid",), [16, 3, 4])],
)
def test_read_folder_cuts_the_parts_that_are_missing_from_training(
    tmp_path: Path, given: tuple[str, ...], sizes: list[int]
) -> None:
    fill(tmp_path / "train" / "a", 20)
    for part in given:
        fill(tmp_path / part / "a", 3, first=100)
    splits = read_folder(tmp_path, 0.1, 0, None)
    assert [len(splits.train), len(splits.validation), len(splits.test)] == sizes
    assert set(numbers(splits.train)) <= set(range(20))


def test_read_folder_decodes_test_files_only_when_asked(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 10)
    fill(tmp_path / "test" / "a", 2)
    (tmp_path / "test" / "a" / "notes.txt").write_text("not an image")
    splits = read_folder(tmp_path, 0.1, 0, None)
    with pytest.raises(DataError, match=r"notes.txt cannot be read as an image"):
        _ = splits.test


def test_read_folder_skips_hidden_files_and_enters_subfolders(tmp_path: Path) -> None:
    fill(tmp_path / "a" / "2024", 5)
    fill(tmp_path / "a" / "2025", 5, first=10)
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    fill(tmp_path / ".thumbnails", 1)
    splits = read_folder(tmp_path, 0.2, 0, None)
    assert splits.num_classes == 1
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 10


def test_read_folder_brings_images_to_one_size(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5, size=(6, 8))
    fill(tmp_path / "b", 5, size=(9, 5))
    with pytest.raises(DataError, match="give an image size"):
        read_folder(tmp_path, 0.2, 0, None)
    splits = read_folder(tmp_path, 0.2, 0, 5)
    assert splits.image_size == splits.test.image_size == (5, 5)


def test_read_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="needs one folder of images for each class"):
        read_folder(tmp_path, 0.1, 0, None)


def test_read_folder_with_an_empty_class_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "a", 5)
    (tmp_path / "b").mkdir()
    with pytest.raises(DataError, match="b holds no image"):
        read_folder(tmp_path, 0.1, 0, None)


def test_read_folder_with_an_unknown_test_class_is_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 10)
    fill(tmp_path / "test" / "b", 2)
    with pytest.raises(DataError, match=r"test/b is no class of the training part, which has a"):
        read_folder(tmp_path, 0.1, 0, None)


def test_read_folder_with_two_validation_parts_is_refused(tmp_path: Path) -> None:
    for part in ("train", "val", "validation"):
        fill(tmp_path / part / "a", 4)
    with pytest.raises(DataError, match="holds val and validation; keep one"):
        read_folder(tmp_path, 0.1, 0, None)
