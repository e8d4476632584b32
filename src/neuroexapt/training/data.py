"""Find a data set by its name or path, and split it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuroexapt.errors import DataError
from neuroexapt.training.digits import read_digits
from neuroexapt.training.folder import read_folder
from neuroexapt.training.hub import HUB_DATASETS, download, has_parquet, read_parquet
from neuroexapt.training.images import DataSplits

logger = logging.getLogger(__name__)

DATASETS = ("digits", *HUB_DATASETS)
FEW = 20
"""Images held out, of which fewer are warned of: each is more than 5% of the accuracy."""


def load(
    name_or_path: str | Path,
    data_dir: str | Path | None = None,
    *,
    validation: float = 0.1,
    split_seed: int = 0,
    image_size: int | None = None,
) -> DataSplits:
    """Read a data set's training part, and hold out a fixed part of it for validation.

    The split depends on the data, `validation` and `split_seed` alone. Runs with different seeds
    therefore train on the same images and are judged on the same images. The test part is not read
    until `DataSplits.test` is asked for.

    Args:
        name_or_path: `digits`; `cifar10` or `cifar100`; or a folder, of class folders or of
            parquet files in the hub's schema (`train*.parquet`, `test*.parquet`).
        data_dir: where the parquet files of `cifar10` or `cifar100` lie, themselves or in a
            subfolder of the data set's name; None downloads them from the hub. A relative path
            in `name_or_path` starts here.
        validation: share held out, more than 0 and at most 0.5, of the part it is cut from: the
            training part, or all images where the data has no test part of its own. Unused where
            a folder brings its own validation part.
        split_seed: draws which images are held out. Leave it alone between runs to be compared.
        image_size: side in pixels of the square that a folder's images are brought to.

    Raises:
        DataError: if the data set is unknown, missing, damaged or too small to split.

    Logs a warning if so little is held out that the accuracy on it says little.

    Example:
        >>> splits = load("digits")
        >>> len(splits.train), len(splits.validation), len(splits.test)
        (1258, 180, 359)
    """
    if not 0 < validation <= 0.5:
        raise DataError(
            f"the validation share is more than 0 and at most 0.5, not {validation}; 0.1 is usual"
        )
    splits = _load(str(name_or_path), data_dir, validation, split_seed, image_size)
    _warn_of_few(splits)
    return splits


def _load(
    name: str,
    data_dir: str | Path | None,
    validation: float,
    split_seed: int,
    image_size: int | None,
) -> DataSplits:
    if name in DATASETS and image_size is not None:
        raise DataError(f"{name} has a size of its own; image_size={image_size} is for folders")
    if name == "digits":
        return read_digits(validation, split_seed)
    with _reading():
        if name in HUB_DATASETS:
            return read_parquet(name, _hub_folder(name, data_dir), validation, split_seed)
        folder = Path(data_dir or ".", name)
        return _read_path(name, folder, validation, split_seed, image_size)


def _warn_of_few(splits: DataSplits) -> None:
    held_out = splits.validation
    absent = splits.num_classes - len(held_out.labels.unique())
    if absent or len(held_out) < FEW:
        without = f", and none of {absent} of {splits.num_classes} classes" if absent else ""
        logger.warning(
            "%s: the validation part holds only %s%s, so its accuracy, which growth is judged by, "
            "says little; give more images, or hold out a larger share: validation in the settings",
            splits.name,
            "1 image" if len(held_out) == 1 else f"{len(held_out)} images",
            without,
        )


@contextmanager
def _reading() -> Iterator[None]:
    """Turn the system's refusal to read something into a `DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{error.filename or 'the data'} cannot be read ({error.strerror or error}); "
            "allow reading it, or give another place"
        ) from error


def _read_path(
    name: str, folder: Path, validation: float, split_seed: int, image_size: int | None
) -> DataSplits:
    if not folder.is_dir():
        raise DataError(
            f"{name} is no data set known by name ({', '.join(DATASETS)}) and no folder: "
            f"there is no {folder.absolute()}"
        )
    if has_parquet(folder):
        if image_size is not None:
            raise DataError(
                f"{folder} holds parquet files, whose images are taken as they are; "
                f"leave out image_size={image_size}"
            )
        return read_parquet(folder.resolve().name, folder, validation, split_seed)
    return read_folder(folder, validation, split_seed, image_size)


def _hub_folder(name: str, data_dir: str | Path | None) -> Path:
    if data_dir is None:
        return download(name)
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder.absolute()} to find {name} in")
    own = folder / name
    return own if own.is_dir() else folder
