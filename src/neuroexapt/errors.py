"""The exceptions that this library raises on purpose.

Every message says what came in, what is allowed and what to do about it. Each class also derives
from the built-in exception that a caller who does not know this module would expect.
"""


class NeuroexaptError(Exception):
    """Base of every exception below: catch it to catch them all."""


class TraceError(NeuroexaptError, ValueError):
    """A model cannot be seen as an editable graph."""


class EditError(NeuroexaptError, ValueError):
    """An edit is refused; the model it was meant for is unchanged."""


class DataError(NeuroexaptError, ValueError):
    """Data cannot be read or trained on."""


class RunError(NeuroexaptError, ValueError):
    """A run directory cannot be read, written or resumed."""


class TrainingError(NeuroexaptError, RuntimeError):
    """Training cannot go on, as when the loss is no longer finite."""
