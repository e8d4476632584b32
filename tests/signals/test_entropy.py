import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from neuroexapt.signals import HistogramEntropy, activation_entropy


def naive_entropy(activations: Tensor, bins: int) -> Tensor:
    """One NumPy histogram a unit."""
    found = []
    for unit in activations.double().numpy():
        counts, _ = np.histogram(unit, bins, (unit.min(), unit.max()))
        shares = counts[counts > 0] / counts.sum()
        found.append(-(shares * np.log(shares)).sum() / math.log(bins))
    return torch.tensor(found)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


DISTRIBUTIONS = {
    "normal": lambda x: x,
    "rectified": lambda x: x.relu(),
    "heavy": lambda x: x**5,
    "far": lambda x: 1000 + x,
    "saturated": lambda x: torch.tanh(5 * x),
}
each_distribution = pytest.mark.parametrize("name", DISTRIBUTIONS)


@each_distribution
@pytest.mark.parametrize("bins", [2, 10, 32])
def test_activation_entropy_equals_a_naive_histogram(name: str, bins: int) -> None:
    activations = DISTRIBUTIONS[name](noise(7, 500))
    torch.testing.assert_close(
        activation_entropy(activations, bins), naive_entropy(activations, bins), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("bins", [2, 10, 32])
def test_activation_entropy_of_evenly_spread_values_is_one(bins: int) -> None:
    evenly = torch.arange(bins * 100).repeat(3, 1) * 0.25 - 7
    torch.testing.assert_close(activation_entropy(evenly, bins), torch.ones(3))


@pytest.mark.parametrize("bins", [2, 10, 32])
@pytest.mark.parametrize("share", [0.5, 0.1])
def test_activation_entropy_of_two_values_is_theirs_over_log_bins(bins: int, share: float) -> None:
    number = round(100 * share)
    values = torch.tensor([[3.0] * number + [-1.0] * (100 - number)])
    expected = -(share * math.log(share) + (1 - share) * math.log(1 - share)) / math.log(bins)
    assert activation_entropy(values, bins).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.7e6, 1e-30])
def test_activation_entropy_of_a_constant_is_zero(value: float) -> None:
    assert activation_entropy(torch.full((2, 50), value)).tolist() == [0, 0]


def test_activation_entropy_of_rounding_around_a_constant_is_zero() -> None:
    wavering = torch.full((1, 50), 0.1)
    wavering[0, ::3] = torch.nextafter(wavering[0, 0], torch.tensor(1.0))
    assert activation_entropy(wavering).item() == 0


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), st.integers(2, 40))
def test_activation_entropy_lies_between_zero_and_one(values: list[float], bins: int) -> None:
    entropy = activation_entropy(torch.tensor([values]), bins).item()
    assert 0 <= entropy <= 1


@each_distribution
def test_activation_entropy_does_not_depend_on_scale_or_place(name: str) -> None:
    activations = DISTRIBUTIONS[name](noise(5, 300))
    expected = activation_entropy(activations)
    torch.testing.assert_close(activation_entropy(3 * activations + 2), expected)


def test_activation_entropy_accepts_half_precision() -> None:
    activations = noise(3, 400).bfloat16()
    expected = activation_entropy(activations.float())
    torch.testing.assert_close(activation_entropy(activations), expected)


def streamed(parts: list[Tensor], bins: int = 32) -> HistogramEntropy:
    histogram = HistogramEntropy(len(parts[0]), bins)
    for part in parts:
        histogram.update(part)
    return histogram


@each_distribution
@pytest.mark.parametrize("num_parts", [2, 5, 50])
def test_histogram_in_parts_agrees_with_one_go(name: str, num_parts: int) -> None:
    activations = DISTRIBUTIONS[name](noise(20, 2000))
    together = activation_entropy(activations)
    apart = streamed(list(activations.chunk(num_parts, 1))).entropy()
    # Most of the heavy tails' values lie close together, and so may all lie close to one edge.
    tolerance = 0.1 if name == "heavy" else 0.02
    torch.testing.assert_close(apart, together, rtol=0, atol=tolerance)


def test_histogram_does_not_depend_on_the_order_of_parts() -> None:
    parts = list((noise(20, 2000) * 2).chunk(10, 1))
    torch.testing.assert_close(
        streamed(parts).entropy(), streamed(parts[::-1]).entropy(), rtol=0, atol=0.02
    )


def test_histogram_of_a_repeated_batch_is_that_of_the_batch() -> None:
    activations = noise(5, 100)
    torch.testing.assert_close(
        streamed([activations] * 3).entropy(), activation_entropy(activations)
    )


@given(
    st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9), min_size=1),
    st.integers(2, 9),
)
def test_histogram_edges_stay_within_a_sixteenth_of_a_bin(
    rows: list[list[float]], bins: int
) -> None:
    """So each count lies between those of a bin that is 2/16 narrower and 2/16 wider."""
    histogram = streamed([torch.tensor([row], dtype=torch.float64) for row in rows], bins)
    values = np.concatenate([np.array(row) for row in rows])
    low, high = values.min(), values.max()
    if histogram.dead().item():
        return
    places = (values - low) / (high - low) * bins
    margin = 1 / 16 + 1e-9
    for number, count in enumerate(histogram.counts()[0].tolist()):
        inner = (places >= number + margin) & (places < number + 1 - margin)
        outer = (places >= number - margin) & (places < number + 1 + margin)
        assert inner.sum() <= count <= outer.sum()


@given(
    st.lists(
        st.lists(st.floats(-1e4, 1e4, width=32), min_size=2, max_size=2), min_size=1, max_size=30
    )
)
def test_histogram_never_loses_a_count(rows: list[list[float]]) -> None:
    histogram = streamed([torch.tensor(row).unsqueeze(1) for row in rows])
    assert histogram.counts().sum(1).tolist() == [len(rows)] * 2


def test_histogram_of_a_constant_that_comes_alive_keeps_its_count() -> None:
    histogram = streamed([torch.full((1, 60), 0.1), torch.tensor([[1.0] * 30 + [-1.0] * 30])], 4)
    shares = torch.tensor([0.25, 0.5, 0.25])
    expected = -(shares * shares.log()).sum() / math.log(4)
    torch.testing.assert_close(histogram.entropy(), expected.unsqueeze(0))


def test_histogram_dead_are_the_constant_units() -> None:
    activations = torch.stack([torch.zeros(10), torch.full((10,), 2.5), torch.arange(10.0)])
    histogram = streamed([activations])
    assert histogram.dead().tolist() == [True, True, False]
    histogram.update(torch.tensor([[0.0], [2.0], [0.0]]))
    assert histogram.dead().tolist() == [True, False, False]


def test_histogram_leaves_what_it_is_given_alone() -> None:
    activations = noise(3, 10)
    before = activations.clone()
    streamed([activations, activations * 5])
    torch.testing.assert_close(activations, before, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (3, 0), (3, 5, 1)])
def test_update_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"give \(3, n\) with n at least 1"):
        HistogramEntropy(3).update(torch.zeros(shape))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_update_not_finite_is_refused_and_changes_nothing(value: float) -> None:
    histogram = streamed([noise(2, 50)])
    before = histogram.entropy()
    with pytest.raises(ValueError, match="not finite"):
        histogram.update(torch.tensor([[0.0], [value]]))
    torch.testing.assert_close(histogram.entropy(), before, rtol=0, atol=0)


def test_entropy_before_any_update_is_refused() -> None:
    with pytest.raises(ValueError, match="call update first"):
        HistogramEntropy(3).entropy()


def test_histogram_of_one_bin_is_refused() -> None:
    with pytest.raises(ValueError, match="bins is 1; an entropy needs at least 2"):
        HistogramEntropy(3, bins=1)
