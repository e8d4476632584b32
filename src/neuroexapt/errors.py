"""The exceptions that this library raises on purpose.

Every message says what came in, what is allowed and what to do about it. Each class also derives
from the built-in exception that a caller who does not know this module would expect.
"""

import math


class NeuroexaptError(Exception):
    """Base of every exception below: catch it to catch them all."""


class TraceError(NeuroexaptError, ValueError):
    """A model cannot be seen as an editable graph."""


class EditError(NeuroexaptError, ValueError):
    """An edit is refused; the model it was meant for is unchanged."""


class LimitError(EditError):
    """An edit is refused since the model would become larger than allowed.

    Attributes:
        excess: what would be exceeded, in the words of the limit.
    """

    def __init__(self, message: str, excess: str = "") -> None:
        super().__init__(message)
        self.excess = excess


class PreservationError(EditError):
    """An edit is refused since it would change what the model computes.

    No edit should come to this: it is a fault of the edit, or the model gives something else at
    each call.

    Attributes:
        max_error: by how much, relative to the largest output.
        checked_in: floating-point type that this was found in.
    """

    def __init__(self, message: str, max_error: float = math.inf, checked_in: str = "") -> None:
        super().__init__(message)
        self.max_error = max_error
        self.checked_in = checked_in


class DataError(NeuroexaptError, ValueError):
    """Data cannot be read or trained on."""


class SearchError(NeuroexaptError, ValueError):
    """A search space, an operation or a cell isn't what a search can work with."""


class EvolutionError(NeuroexaptError, ValueError):
    """A population, its objectives or its limits aren't what an evolution can work with."""


class RunError(NeuroexaptError, ValueError):
    """A run directory cannot be read, written or resumed."""


class TrainingError(NeuroexaptError, RuntimeError):
    """Training cannot go on, as when the loss is no longer finite."""


class WorkerLostError(NeuroexaptError, RuntimeError):
    """A worker that ran a task is gone, and with it what the task would have given."""


class TaskError(NeuroexaptError, RuntimeError):
    """A task failed in a worker, by an error that can't be sent from there but for its words."""
