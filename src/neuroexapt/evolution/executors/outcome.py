"""What a task comes to in a worker, as bytes on their way back."""

import traceback
from typing import Any

from neuroexapt.errors import EvolutionError, TaskError
from neuroexapt.evolution.executors.parcel import UNSENDABLE, pack, unpack


class Held:
    """The shared value that a worker was sent last."""

    def __init__(self) -> None:
        self._token = ""
        self._value: Any = None

    def value(self, token: str, content: Any) -> Any:
        """The value of that token, unpacked if it isn't held yet."""
        if token != self._token:
            self._token, self._value = "", None  # before there is memory for another one
            self._value = _received(content)
            self._token = token
        return self._value


HELD = Held()
"""That of this process, where it is a worker."""


def carried_out(token: str, content: Any, job: Any) -> bytes:
    """Run a task, and pack what it gave or raised.

    Args:
        token: of the value that the task is given.
        content: that value, packed; only looked at if it isn't held.
        job: the task and its other arguments, packed.
    """
    try:
        value = HELD.value(token, content)
        task, args = _received(job)
        return pack((task(value, *args), None))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits for the result
        return _packed(error)


def opened(outcome: Any) -> Any:
    """What a task gave.

    Raises:
        Exception: what it raised, with the worker's traceback as a note.
    """
    result, error = unpack(outcome)
    if error is not None:
        raise error
    return result


def arrived(_: Any) -> None:
    """Do nothing: a task that tells whether a worker got what it needs."""


def _received(content: Any) -> Any:
    try:
        return unpack(content)
    except UNSENDABLE as error:
        raise EvolutionError(
            f"a worker can't make out what it was sent ({type(error).__name__}: {error}); define "
            "models, criteria and data sets in a module that the worker can import, and let their "
            "tensors be where it has a device"
        ) from error


def _packed(error: Exception) -> bytes:
    """An exception, if it is the same after sending; else what it says."""
    told = "".join(traceback.format_exception(error))
    error.add_note(f"In a worker:\n{told}")
    try:
        packed = pack((None, error))
        if type(unpack(packed)[1]) is type(error):
            return packed
    except UNSENDABLE:
        pass
    return pack((None, TaskError(f"a task failed, by an error that can't be sent:\n{told}")))
