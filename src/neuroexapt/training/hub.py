"""CIFAR-10 and CIFAR-100, or any image classification set, from the Hugging Face hub's parquet."""

from pathlib import Path

from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.cache import cached_images
from neuroexapt.training.decode import decode_images
from neuroexapt.training.images import DataSplits, ImageSet
from neuroexapt.training.parquet import read_encoded, read_labels
from neuroexapt.training.split import cut_validation

HUB_DATASETS = {"cifar10": "uoft-cs/cifar10", "cifar100": "uoft-cs/cifar100"}


def has_parquet(folder: Path) -> bool:
    """Tell whether a folder or one of its subfolders holds training data in parquet."""
    return next(folder.rglob("train*.parquet"), None) is not None


def find_parquet(folder: Path, part: str) -> tuple[Path, ...]:
    """Return the parquet files of one part, in order, from a folder or one of its subfolders.

    Args:
        folder: where to look, at any depth.
        part: `train` or `test`, what the files' names begin with: `train.parquet` as well as the
            hub's `train-00000-of-00002.parquet`.

    Raises:
        DataError: if there is none, or they lie in more than one folder.
    """
    files = sorted(folder.rglob(f"{part}*.parquet"))
    if not files:
        raise DataError(
            f"{folder} and its subfolders hold no {part}*.parquet; "
            "give the folder that holds the data set's parquet files"
        )
    folders = sorted({str(file.parent) for file in files})
    if len(folders) > 1:
        raise DataError(
            f"{part}*.parquet lies in more than one folder ({', '.join(folders)}); "
            "give the one that is meant"
        )
    return tuple(files)


def download(name: str) -> Path:
    """Download a data set from the hub, or find it where it was downloaded before.

    Args:
        name: `cifar10` or `cifar100`.

    Returns:
        The folder that holds its parquet files.

    Raises:
        DataError: if `huggingface_hub` is not installed or the hub cannot be reached.
    """
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise DataError(
            f"downloading {name} needs huggingface_hub; `pip install neuroexapt[hub]`, "
            "or give the folder of its parquet files with --data-dir"
        ) from error
    # The HTTP library beneath differs between versions of huggingface_hub. The base of its own
    # error is that library's, and the base of its lost connections too.
    unreachable: tuple[type[BaseException], ...] = (OSError, *HfHubHTTPError.__bases__)
    try:
        folder = snapshot_download(
            HUB_DATASETS[name], repo_type="dataset", allow_patterns="*.parquet"
        )
    except unreachable as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{name} cannot be downloaded from the hub ({reason}); connect to the network, "
            "or give the folder of its parquet files with --data-dir"
        ) from error
    return Path(folder)


def read_parquet(name: str, folder: Path, validation: float, split_seed: int) -> DataSplits:
    """Read a data set in the hub's schema: an encoded image and a label a row.

    Images are decoded once and then kept in the user's cache folder.

    Args:
        name: what the data set is called in records.
        folder: holds `train*.parquet` and `test*.parquet`, at any depth.
        validation: share of the training rows held out for choices made while training.
        split_seed: draws which those are.

    Raises:
        DataError: if a file or column is missing or damaged, or holds what is no image or label.
    """
    train_files, test_files = find_parquet(folder, "train"), find_parquet(folder, "test")
    labels = read_labels(train_files)
    classes = labels.class_names or tuple(map(str, range(int(labels.numbers.max()) + 1)))
    everything = ImageSet(_images(train_files), labels.numbers, classes)
    train, held_out = cut_validation(everything.labels, validation, split_seed)
    num_channels = everything.num_channels

    def read_test() -> ImageSet:
        labels = read_labels(test_files)
        images = _images(test_files, num_channels)
        return ImageSet(images, labels.numbers, labels.class_names or classes)

    return DataSplits(name, everything.select(train), everything.select(held_out), read_test)


def _images(files: tuple[Path, ...], num_channels: int | None = None) -> Tensor:
    """Decode the files' images, or take them from the cache."""

    def decode() -> Tensor:
        encoded = read_encoded(files)
        names = [f"image {row} of {files[0].parent}" for row in range(len(encoded))]
        return decode_images(encoded, names, num_channels=num_channels)

    return cached_images(files, decode)
