"""A folder of class folders of image files, with or without folders for the parts above them."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.decode import decode_images
from neuroexapt.training.images import DataSplits, ImageSet
from neuroexapt.training.split import cut_test, cut_three, cut_validation

VALIDATION_FOLDERS = ("val", "valid", "validation")


@dataclass(frozen=True, eq=False)
class LabelledFiles:
    """Image files and the classes of the folders that they lie in.

    Attributes:
        paths: N files.
        labels: int64, shape (N,), each an index into `classes`.
        classes: the class folders' names, sorted.
    """

    paths: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]

    def select(self, indices: Tensor) -> "LabelledFiles":
        """Return the files at these indices, in their order."""
        paths = tuple(self.paths[index] for index in indices.tolist())
        return LabelledFiles(paths, self.labels[indices], self.classes)

    def read(self, image_size: int | None, num_channels: int | None = None) -> ImageSet:
        """Decode the files; arguments and errors are those of `decode_images`."""
        names = [str(path) for path in self.paths]
        images = decode_images(self.paths, names, image_size, num_channels)
        return ImageSet(images, self.labels, self.classes)


def list_files(folder: Path, classes: tuple[str, ...] | None = None) -> LabelledFiles:
    """List the files of a folder's class folders, at any depth, hidden ones left out.

    Args:
        folder: its subfolders are the classes.
        classes: the classes that are allowed; None takes what is there.

    Raises:
        DataError: if there is no class folder, one that is not allowed, or an empty one.
    """
    folders = sorted(
        entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")
    )
    if not folders:
        raise DataError(f"{folder} holds no folders; it needs one folder of images for each class")
    classes = classes or tuple(entry.name for entry in folders)
    paths: list[Path] = []
    labels: list[int] = []
    for entry in folders:
        if entry.name not in classes:
            raise DataError(
                f"{entry} is no class of the training part, which has {', '.join(classes)}"
            )
        files = sorted(
            path for path in entry.rglob("*") if path.is_file() and not path.name.startswith(".")
        )
        if not files:
            raise DataError(f"{entry} holds no image; remove it or fill it")
        paths += files
        labels += [classes.index(entry.name)] * len(files)
    return LabelledFiles(tuple(paths), torch.tensor(labels), classes)


def read_folder(
    root: Path, validation: float, split_seed: int, image_size: int | None
) -> DataSplits:
    """Read a folder of class folders; test files are listed now and decoded when asked for.

    Where `root` holds a folder `train`, it may hold `val` (or `valid`, `validation`) and `test`
    beside it; otherwise its folders are the classes. A part that has no folder is cut from the
    training files: a fifth for the test, always the same, and `validation` of the whole.

    Args:
        root: the folder.
        validation: share of the training files held out for choices made while training.
        split_seed: draws which those are.
        image_size: side in pixels of the square that images are resized to and cropped from their
            middle; None requires all to have one size already.

    Raises:
        DataError: if the folders do not fit together, or a file is unreadable, no image, or of
            another size than the others.
    """
    files = _parts(root, validation, split_seed)
    train = files["train"].read(image_size)
    return DataSplits(
        root.resolve().name,
        train=train,
        validation=files["validation"].read(image_size, train.num_channels),
        read_test=lambda: files["test"].read(image_size, train.num_channels),
    )


def _parts(root: Path, validation: float, split_seed: int) -> dict[str, LabelledFiles]:
    """List each part's files, cutting from the training files those without a folder."""
    if not (root / "train").is_dir():
        files = list_files(root)
        cuts = cut_three(files.labels, validation, split_seed)
        return dict(zip(("train", "validation", "test"), map(files.select, cuts), strict=True))
    parts = {"train": list_files(root / "train")}
    for part, names in (("validation", VALIDATION_FOLDERS), ("test", ("test",))):
        found = [root / name for name in names if (root / name).is_dir()]
        if len(found) > 1:
            raise DataError(f"{root} holds {found[0].name} and {found[1].name}; keep one of them")
        if found:
            parts[part] = list_files(found[0], parts["train"].classes)
    return _fill(parts, validation, split_seed)


def _fill(
    parts: dict[str, LabelledFiles], validation: float, split_seed: int
) -> dict[str, LabelledFiles]:
    train = parts["train"]
    if "test" in parts and "validation" in parts:
        return parts
    if "test" in parts:
        stay, held_out = cut_validation(train.labels, validation, split_seed)
        return parts | {"train": train.select(stay), "validation": train.select(held_out)}
    if "validation" in parts:
        stay, test = cut_test(train.labels)
        return parts | {"train": train.select(stay), "test": train.select(test)}
    cuts = cut_three(train.labels, validation, split_seed)
    return dict(zip(("train", "validation", "test"), map(train.select, cuts), strict=True))
