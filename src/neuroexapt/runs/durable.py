"""Write files so that a kill or a power cut leaves the old content or the new, never half."""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuroexapt.errors import RunError

TEMPORARY = ".unfinished-"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a `RunError` that says what to do."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{path} cannot be written ({error.strerror or error}); {_remedy(error)}, or give "
            "another place. What was saved before is intact"
        ) from error


def _remedy(error: OSError) -> str:
    """What to do about a refusal of the system."""
    place = error.filename or "the place"
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return "make room and resume the run"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"allow writing to {place}"
        case errno.EISDIR | errno.EEXIST | errno.ENOTEMPTY:
            return f"move {place} away"
        case errno.ENOTDIR:
            return f"move away the file that {place} leads through"
        case errno.ENOENT:
            return f"make the folder of {place}"
        case errno.ENAMETOOLONG:
            return "give a shorter name"
    return f"see whether the disk of {place} works"


def to_json(values: Any) -> bytes:
    """JSON for people and programs: indented, in UTF-8, with a line end."""
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def sha256(content: bytes) -> str:
    """The content's SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def replace_file(path: Path, content: bytes) -> None:
    """Write a file as a whole, over an older one if there is one.

    Raises:
        RunError: if it can't be written; an older one is then as it was.
    """
    unfinished = path.with_name(TEMPORARY + path.name)
    with writing(path):
        try:
            _write(unfinished, content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        sync_folder(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a folder of files as a whole.

    It is renamed into its place when everything in it is on disk, so whoever finds it finds it
    complete.

    Args:
        path: where it will be; not there yet.
        files: the files' names and contents.

    Raises:
        RunError: if it can't be written; nothing of it is left then.
    """
    unfinished = path.with_name(TEMPORARY + path.name)
    with writing(path):
        try:
            _clear(unfinished)
            unfinished.mkdir(parents=True)
            for name, content in files.items():
                _write(unfinished / name, content)
            sync_folder(unfinished)
            unfinished.rename(path)
        finally:
            _clear(unfinished)
        sync_folder(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder so that it is never seen with some of its files gone.

    Raises:
        RunError: if it can't be removed.
    """
    if not path.exists():
        return
    leaving = path.with_name(f"{TEMPORARY}removal-{path.name}")
    with writing(path):
        _clear(leaving)
        path.rename(leaving)
        _clear(leaving)


def sync_folder(folder: Path) -> None:
    """Bring a folder's list of names to disk, where the system can."""
    if os.name == "nt":  # Windows opens no folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
