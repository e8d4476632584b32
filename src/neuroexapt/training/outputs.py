"""Whether a model's outputs are those of a classifier of the data."""

from typing import Any

from torch import Tensor

from neuroexapt.errors import TraceError


def check_outputs(name: str, outputs: Any, *, num_samples: int, num_classes: int) -> None:
    """Refuse outputs that the loss and the accuracy can't be taken of.

    Args:
        name: what to call the model in errors.
        outputs: what it gives for a batch.
        num_samples: in the batch.
        num_classes: of the data.

    Raises:
        TraceError: if they are anything but one tensor of floating-point numbers, of shape
            (num_samples, num_classes).
    """
    remedy = ""
    if not isinstance(outputs, Tensor):
        found, remedy = f"a {type(outputs).__name__}", "return the scores of the classes alone"
    else:
        found = f"{outputs.dtype} numbers of shape {tuple(outputs.shape)}"
        if not outputs.is_floating_point():
            remedy = "return the scores of the classes, not which one is highest"
        elif outputs.ndim != 2 or len(outputs) != num_samples:
            remedy = "pool or flatten whatever else there is"
        elif outputs.shape[1] != num_classes:
            remedy = f"let the factory take num_classes, which is {num_classes} here"
    if remedy:
        raise TraceError(
            f"{name} returns {found} for {num_samples} images, but the data needs one "
            f"floating-point tensor of shape ({num_samples}, {num_classes}), a score a class; "
            f"{remedy}"
        )
