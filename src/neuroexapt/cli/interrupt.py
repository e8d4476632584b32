"""Ctrl-C: ends the program at once, except where there is something to be brought to an end."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

CODE = 130
"""The exit code, as shells have it for a program that SIGINT ended."""


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a run trains.

    Of a `KeyboardInterrupt` itself Python remembers that it occurred, and may then end by the
    signal, whatever exit code it is given.
    """


def leave_on_interrupt() -> None:
    """Let Ctrl-C end the program at once, with a line on stderr; if it is ignored, it stays so.

    No exception is raised: libraries in C++ that meet one while they are imported abort with pages
    of their own. What is on disk is safe, as after a kill.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


@contextmanager
def interrupts_raised() -> Iterator[None]:
    """Raise `Interrupted` inside where `leave_on_interrupt` would end the program."""
    if signal.getsignal(signal.SIGINT) is not _leave:
        yield
        return
    signal.signal(signal.SIGINT, _raise)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, _leave)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    # Not printed: a print may be under way.
    os.write(2, b"error: interrupted before training began\n")
    os._exit(CODE)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted
