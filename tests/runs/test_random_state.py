import json
import random

import numpy as np
import torch

from neuroexapt.runs.random_state import load_random_state, random_state
from neuroexapt.training import seeded


def draw() -> list[float]:
    return [
        float(torch.rand(())),
        float(torch.randn(())),
        random.random(),
        random.gauss(0, 1),
        float(np.random.random()),  # noqa: NPY002
        float(np.random.standard_normal()),  # noqa: NPY002
    ]


def test_random_state_round_trip_draws_the_same():
    seeded(7)
    draw()  # an odd number of normal draws leaves a second one waiting
    tensors, rest = random_state()
    expected = [draw() for _ in range(3)]
    seeded(8)
    load_random_state(tensors, json.loads(json.dumps(rest)))
    assert [draw() for _ in range(3)] == expected
