"""Class information against scikit-learn, and its bias."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score

from neuroexapt.signals import class_information


def data(units: int, count: int, classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    noise = torch.randn(units, count, generator=generator)
    strength = torch.linspace(0, 3, units)[:, None]
    return noise + strength * labels, labels


@pytest.mark.parametrize("bins", [2, 7, 16])
def test_class_information_is_that_of_scikit_learn_on_the_same_bins(bins):
    activations, labels = data(5, 400, 4)
    found = class_information(activations, labels, bins, corrected=False)
    for values, actual in zip(activations.double().numpy(), found.tolist(), strict=True):
        edges = np.linspace(values.min(), values.max(), bins + 1)
        binned = np.digitize(values, edges[1:-1])
        expected = mutual_info_score(labels.numpy(), binned)
        assert actual == pytest.approx(expected, abs=1e-9)


def test_class_information_of_nothing_is_nothing_once_corrected():
    rng = torch.Generator().manual_seed(1)
    activations = torch.rand(400, 1000, generator=rng)
    labels = torch.randint(10, (1000,), generator=rng)
    plain = class_information(activations, labels, corrected=False)
    assert plain.mean() > 0.06
    found = class_information(activations, labels)
    assert abs(found.mean()) < 0.1 * plain.mean()


def test_class_information_of_the_class_itself_is_all_there_is():
    labels = torch.arange(4).repeat(100)
    found = class_information(labels[None].float(), labels, corrected=False)
    assert float(found) == pytest.approx(math.log(4))
    constant = class_information(torch.ones(1, 400), labels)
    assert constant.tolist() == [0.0]


@pytest.mark.parametrize(
    ("activations", "labels", "bins", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(4, dtype=torch.int64), 4, "activations have shape"),
        (torch.zeros(2, 0), torch.zeros(0, dtype=torch.int64), 4, "n at least 1"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), 1, "bins is 1"),
        (torch.full((1, 2), math.nan), torch.tensor([0, 1]), 4, "not finite"),
    ],
)
def test_class_information_refuses(activations, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        class_information(activations, labels, bins)
