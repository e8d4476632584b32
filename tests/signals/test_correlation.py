import pytest
import torch
from scipy import stats
from torch import Tensor

from neuroexapt.signals import LayerCorrelation, noise_floor, signature_correlation
from neuroexapt.signals.correlation import correlated


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_pairs(num_layers: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(num_layers) for j in range(i + 1, num_layers)]


@pytest.mark.parametrize("num_samples", [16, 100, 1000])
def test_signature_correlation_equals_scipy(num_samples: int) -> None:
    """Fisher's p-value is an approximation of the exact one that SciPy gives."""
    signatures = noise(6, num_samples) + noise(1, num_samples, seed=1)
    correlation, p_value = signature_correlation(signatures)
    for i, j in all_pairs(6):
        expected = stats.pearsonr(signatures[i], signatures[j])
        assert correlation[i, j].item() == pytest.approx(expected.statistic, abs=1e-12)
        assert p_value[i, j].item() == pytest.approx(expected.pvalue, abs=0.2 / num_samples)


def test_signature_correlation_is_symmetric_with_ones_on_the_diagonal() -> None:
    correlation, p_value = signature_correlation(noise(5, 30))
    torch.testing.assert_close(correlation, correlation.T)
    torch.testing.assert_close(correlation.diagonal(), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(p_value, p_value.T)


def test_signature_correlation_does_not_depend_on_scale_or_place() -> None:
    signatures = noise(4, 50)
    moved = signatures * torch.tensor([[1e-6], [1.0], [5.0], [1e6]]) + 3
    for one, other in zip(
        signature_correlation(signatures), signature_correlation(moved), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("value", [0.0, 0.1, -7e3])
def test_signature_correlation_of_a_constant_is_no_evidence(value: float) -> None:
    signatures = torch.stack([torch.full((60,), value, dtype=torch.float64), noise(60)])
    correlation, p_value = signature_correlation(signatures)
    assert correlation[0].tolist() == [0, 0]
    assert p_value[0].tolist() == [1, 1]


@pytest.mark.parametrize("num_samples", [1, 2, 3])
def test_signature_correlation_of_few_samples_is_no_evidence(num_samples: int) -> None:
    _, p_value = signature_correlation(noise(3, num_samples))
    assert (p_value == 1).all()


def heavy(*shape: int, seed: int) -> Tensor:
    """Student's t with 3 degrees of freedom: no fourth moment."""
    ratio = noise(3, *shape, seed=seed + 10_000).square().mean(0).sqrt()
    return noise(*shape, seed=seed) / ratio


@pytest.mark.parametrize("draw", [noise, heavy])
def test_signature_correlation_of_noise_is_significant_as_often_as_it_says(draw) -> None:
    """2,000 independent pairs at 5 %: within 4 standard errors, sqrt(0.05 x 0.95 / 2000)."""
    p_values = [
        signature_correlation(draw(2, 64, seed=2 * seed))[1][0, 1].item() for seed in range(2000)
    ]
    rate = sum(p < 0.05 for p in p_values) / len(p_values)
    assert rate == pytest.approx(0.05, abs=4 * (0.05 * 0.95 / 2000) ** 0.5)


def test_correlated_noise_is_rarely_called_significant_in_any_of_many_pairs() -> None:
    """45 pairs of 10 layers, 400 times: 5 % or fewer with any, within 4 standard errors."""
    names = [str(number) for number in range(10)]
    wrong = sum(
        any(pair.significant for pair in correlated(names, noise(10, 64, seed=seed), all_pairs(10)))
        for seed in range(400)
    )
    assert wrong / 400 <= 0.05 + 4 * (0.05 * 0.95 / 400) ** 0.5


def test_correlated_finds_a_common_cause() -> None:
    signatures = noise(4, 100)
    signatures[3] += signatures[0]
    first, *others = correlated(list("abcd"), signatures, all_pairs(4))
    assert (first.source, first.target, first.significant) == ("a", "d", True)
    assert first.num_samples == 100
    assert first.correlation == pytest.approx(0.7, abs=0.15)
    assert not any(pair.significant for pair in others)


def test_correlated_are_strongest_first_whatever_the_sign() -> None:
    signatures = noise(3, 100)
    signatures[2] = -signatures[0] + 0.1 * signatures[2]
    first, *_ = correlated(list("abc"), signatures, all_pairs(3))
    assert (first.source, first.target) == ("a", "c")
    assert first.correlation < -0.9


def test_correlated_ties_keep_the_order_of_the_pairs() -> None:
    signatures = noise(1, 50) * torch.tensor([[1.0], [3.0], [0.7], [11.0]])
    found = correlated(list("abcd"), signatures, all_pairs(4))
    assert [pair.source + pair.target for pair in found] == ["ab", "ac", "ad", "bc", "bd", "cd"]


def test_correlated_without_pairs_is_empty() -> None:
    assert correlated(["a"], noise(1, 50), []) == ()


@pytest.mark.parametrize("num_pairs", [1, 10, 1000])
@pytest.mark.parametrize("num_samples", [10, 128, 10_000])
def test_noise_floor_is_where_significance_begins(num_samples: int, num_pairs: int) -> None:
    """Two signatures at an angle of arccos(r) correlate by r."""
    basis = torch.linalg.qr(torch.cat([torch.ones(num_samples, 1), noise(num_samples, 2)], 1))[0].T
    floor = noise_floor(num_samples, num_pairs)
    for factor, significant in ((0.999, False), (1.001, True)):
        r = floor * factor
        pair = torch.stack([basis[1], r * basis[1] + (1 - r**2) ** 0.5 * basis[2]])
        correlation, p_value = signature_correlation(pair)
        assert correlation[0, 1].item() == pytest.approx(r, rel=1e-6)
        assert (p_value[0, 1].item() < 0.05 / num_pairs) == significant


def test_noise_floor_of_flattened_tensors_of_length_ten_is_high() -> None:
    """Why signatures are of samples: even one pair of length 10 says nothing below 0.63."""
    assert noise_floor(10, 1) == pytest.approx(0.63, abs=0.01)


@pytest.mark.parametrize("num_samples, num_pairs", [(3, 1), (0, 1), (100, 0)])
def test_noise_floor_without_evidence_is_one(num_samples: int, num_pairs: int) -> None:
    assert noise_floor(num_samples, num_pairs) == 1


def test_layer_correlation_is_frozen() -> None:
    pair = LayerCorrelation("a", "b", 0.5, 100, 0.01, True)
    with pytest.raises(AttributeError):
        pair.correlation = 0.9  # type: ignore[misc]
