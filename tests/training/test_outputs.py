from typing import Any

import pytest
import torch

from neuroexapt.errors import TraceError
from neuroexapt.training import check_outputs

SCORES = torch.zeros(4, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_check_outputs_of_a_classifier_pass(dtype: torch.dtype) -> None:
    check_outputs("net", SCORES.to(dtype), num_samples=4, num_classes=3)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ((SCORES, SCORES), r"net returns a tuple for 4 images, .*; return the scores of the c.*ne"),
        ({"logits": SCORES}, r"returns a dict for 4 images"),
        (SCORES.argmax(1), r"torch\.int64 numbers of shape \(4,\) .*, not which one is highest"),
        (torch.zeros(4, 3, 2, 2), r"shape \(4, 3, 2, 2\) .* shape \(4, 3\), a score.*; pool or fl"),
        (torch.zeros(4), r"shape \(4,\)"),
        (torch.zeros(12, 3), r"shape \(12, 3\) for 4 images.*; pool or flatten"),
        (
            torch.zeros(4, 2),
            r"shape \(4, 2\) .*; let the factory take num_classes, which is 3 here",
        ),
        (
            torch.zeros(4, 5),
            r"shape \(4, 5\) .*; let the factory take num_classes, which is 3 here",
        ),
    ],
)
def test_check_outputs_of_anything_else_are_refused(outputs: Any, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        check_outputs("net", outputs, num_samples=4, num_classes=3)
