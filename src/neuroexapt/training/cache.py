"""Decoded images kept on disk, so that a data set is decoded once and not at every start."""

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuroexapt.errors import DataError

logger = logging.getLogger(__name__)

# Part of every key: raise it when decoding changes, and older files are no longer found.
DECODING = 1


def cache_dir() -> Path:
    """Return the folder of decoded images, `$XDG_CACHE_HOME/neuroexapt` or `~/.cache/neuroexapt`.

    It can be deleted at any time.
    """
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "neuroexapt"


def cache_path(sources: Sequence[Path]) -> Path:
    """Return the cache file for these sources: another one once any changes.

    Args:
        sources: existing files, known by resolved name, size in bytes and time of change.
    """
    digest = hashlib.sha256(str(DECODING).encode())
    for source in sources:
        stat = source.stat()
        digest.update(f"\0{source.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}".encode())
    return cache_dir() / f"{sources[0].stem}-{digest.hexdigest()[:16]}.npy"


def cached_images(sources: Sequence[Path], decode: Callable[[], Tensor]) -> Tensor:
    """Return what `decode` returns, from disk if these very sources were decoded before.

    A cache that cannot be written, as on a full disk, is logged and costs only time.

    Args:
        sources: the files that `decode` reads.
        decode: returns uint8 images.

    Raises:
        DataError: if the cache file is there and damaged.
    """
    path = cache_path(sources)
    if path.exists():
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            raise DataError(
                f"the decoded images in {path} are damaged ({error}); delete that file"
            ) from error
    images = decode()
    try:
        _write(path, images)
    except OSError as error:
        logger.warning("decoded images were not kept in %s: %s", path, error)
    return images


def _write(path: Path, images: Tensor) -> None:
    """Write beside the target and rename, so that no reader ever meets half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=path.stem, suffix=".part")
    try:
        with os.fdopen(descriptor, "wb") as file:
            np.save(file, images.numpy(), allow_pickle=False)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
