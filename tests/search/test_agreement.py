"""Cosines of training and held-out gradients, operation by operation."""

import math

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.search import Mixed, aso_se, mix
from neuroexapt.search.agreement import (
    Agreement,
    agreement,
    mean_cosines,
    operation_gradients,
    summed,
)
from neuroexapt.search.bottleneck import operation_overfit

CRITERION = nn.CrossEntropyLoss()


def network() -> nn.Module:
    torch.manual_seed(0)
    operations = ("none", "skip_connect", "conv_1x1", "conv_3x3")
    return aso_se(channels=4, num_cells=2, operations=operations)


def batches(seed: int, count: int) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(8, 3, 8, 8, generator=random), torch.randint(10, (8,), generator=random))
        for _ in range(count)
    ]


def naive_gradients(found: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """By a backward pass for each operation."""
    gradients = {}
    for place, module in found.named_modules():
        if not isinstance(module, Mixed):
            continue
        for name, operation in module.operations.items():
            found.zero_grad()
            mix(found)
            CRITERION(found(batch[0]), batch[1]).backward()
            parts = [p.grad.flatten() for p in operation.parameters() if p.grad is not None]
            if parts:
                gradients[f"{place} {name}"] = torch.cat(parts)
    return gradients


def test_agreement_is_that_of_a_naive_loop():
    train, held_out = batches(0, 3), batches(1, 3)
    found = agreement(network(), train, held_out, CRITERION)
    naive = network()
    own = [naive_gradients(naive, batch) for batch in train]
    other = [naive_gradients(naive, batch) for batch in held_out]
    # Of the stride-1 cell's three edges both convolutions, of the other's two also the skip.
    assert found.keys() == own[0].keys()
    assert len(found) == 3 * 2 + 3 * 2 + 2
    for name, cosines in found.items():
        across = [
            float(a[name] @ b[name] / (a[name].norm() * b[name].norm()))
            for a, b in zip(own, other, strict=True)
        ]
        within = [
            float(own[i][name] @ own[i + 1][name] / (own[i][name].norm() * own[i + 1][name].norm()))
            for i in range(2)
        ]
        assert cosines.held_out == pytest.approx(sum(across) / 3, abs=1e-4)
        assert cosines.training == pytest.approx(sum(within) / 2, abs=1e-4)


def test_same_batches_agree_and_turned_gradients_do_not():
    batch = batches(0, 1)
    same = agreement(network(), batch * 2, batch * 2, CRITERION)
    assert all(found.held_out == pytest.approx(1, abs=1e-4) for found in same.values())
    gradients = operation_gradients(network(), batch[0], CRITERION)
    turned = {name: -gradient for name, gradient in gradients.items()}
    cosines = mean_cosines([gradients], [turned])
    assert list(cosines.values()) == pytest.approx([-1] * len(gradients), abs=1e-4)


def test_operations_without_weights_have_no_gradient():
    found = operation_gradients(network(), batches(0, 1)[0], CRITERION)
    assert not any("none" in name for name in found)


@pytest.mark.parametrize(
    ("held_out", "training", "severity"),
    [
        (0.6, 0.9, "ok"),
        (0.3, 0.9, "warning"),
        (0.3, 0.5, "notice"),
        (0.1, 0.2, "notice"),
        (-0.5, 0.5, "warning"),
    ],
)
def test_overfit_is_told_from_noise(held_out, training, severity):
    cosines = {"a": Agreement(held_out, training), "b": Agreement(held_out - 0.01, training)}
    found = operation_overfit(summed({**cosines, "c": Agreement(held_out, training)}), 32)
    assert found.severity == severity
    assert found.value == pytest.approx(held_out)
    assert ("b most" in found.meaning) is (severity == "warning")
    assert ("batch_size=128" in found.remedy) is (severity == "notice")


def test_overfit_without_weights_is_not_measured():
    assert summed({"a": Agreement(math.nan, 0.5)}) is None
    assert operation_overfit(summed({}), 32).severity == "not measured"
