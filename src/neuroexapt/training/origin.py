"""Where in a user's own code an error comes from."""

import sysconfig
import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


def origin(error: BaseException) -> str:
    """The innermost line of a user's code that led to an error.

    Lines of this package, of Python's library and of installed packages are passed over, unless
    there are no others: the mistake is in what called them.

    Args:
        error: caught where this package called the user's code.

    Returns:
        ` at FILE, line N`; nothing where no Python code was called.
    """
    if isinstance(error, SyntaxError) and error.filename is not None:
        return f" at {error.filename}, line {error.lineno}"
    called = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<") and not _within(frame.filename, PACKAGE)
    ]
    own = [frame for frame in called if not _installed(frame.filename)]
    frame = next(reversed(own or called), None)
    return "" if frame is None else f" at {frame.filename}, line {frame.lineno}"


def _installed(filename: str) -> bool:
    packages = {"site-packages", "dist-packages"} & set(Path(filename).parts)
    return bool(packages) or _within(filename, STANDARD_LIBRARY)


def _within(filename: str, folder: Path) -> bool:
    return Path(filename).resolve().is_relative_to(folder)
