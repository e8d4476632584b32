"""How soft Gumbel-softmax's samples are."""

import pytest
import torch

from neuroexapt.search.decisions import relaxed_sample
from neuroexapt.search.saturation import sample_jacobian, saturation
from neuroexapt.search.stagnation import gumbel_saturation, temperature_at_floor
from neuroexapt.search.temperature import Annealing


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_jacobian_is_the_explicit_one(temperature, seed):
    alpha = torch.tensor([0.5, -1.0, 0.2, 1.5], dtype=torch.float64)

    def drawn(of: torch.Tensor) -> torch.Tensor:
        return relaxed_sample(of, temperature, generator(seed))

    explicit = torch.autograd.functional.jacobian(drawn, alpha)
    torch.testing.assert_close(sample_jacobian(drawn(alpha), temperature), explicit)


@pytest.mark.parametrize(("temperature", "entropy"), [(5.0, 0.98), (1.0, 0.69), (0.3, 0.24)])
def test_entropy_of_samples_is_as_simulated(temperature, entropy):
    """8 operations, alpha 0; the error of a mean of 2,000 samples is about 0.005."""
    found = saturation([torch.zeros(8)], temperature, generator(), draws=2000)
    assert found.entropy == pytest.approx(entropy, abs=0.02)


def test_saturation_of_cold_samples_is_as_simulated():
    """At T = 0.1 the share is 0.65 and the Jacobian 0.011.

    The two largest values are about 1 - exp(-G / T) and exp(-G / T), with G the distance of the
    two largest noises, of the order of 1. So the Jacobian's logarithm spreads by about 10, and its
    median over 10,000 samples by 0.1.
    """
    found = saturation([torch.zeros(8)], 0.1, generator(), draws=10_000)
    assert found.share == pytest.approx(0.65, abs=0.01)
    assert found.jacobian == pytest.approx(0.011, rel=0.25)


def test_saturation_is_the_mean_of_all_decisions():
    sure, even = torch.tensor([50.0, 0.0]), torch.zeros(8)
    both = saturation([sure, even], 5.0, generator(), draws=50)
    assert both.share == 0.5


@pytest.mark.parametrize(
    ("share", "entropy", "severity"),
    [(0.5, 1.0, "ok"), (0.51, 1.0, "critical"), (0.51, 0.5, "notice"), (0.4, 0.1, "ok")],
)
def test_saturation_is_critical_while_alpha_is_undecided(share, entropy, severity):
    found = gumbel_saturation(share, entropy, 0.1, 0.011)
    assert found.severity == severity
    assert "0.011" in found.meaning


@pytest.mark.parametrize(
    ("temperature", "share", "entropy", "severity"),
    [
        (0.2, 0.9, 1.0, "ok"),
        (0.1, 0.9, 1.0, "warning"),
        (0.1, 0.9, 0.2, "notice"),
        (0.1, 0.2, 1.0, "notice"),
        (0.1, None, 1.0, "notice"),
    ],
)
def test_floor_matters_where_draws_saturate_undecided(temperature, share, entropy, severity):
    annealing = Annealing(start=5.0, floor=0.1, reheat_every=None)
    found = temperature_at_floor(temperature, annealing, share, entropy)
    assert found.severity == severity
    assert ("for good" in found.meaning) is (severity != "ok")
    assert bool(found.remedy) is (severity == "warning")


def test_remedy_is_soft_enough():
    """What is proposed saturates fewer than half of the samples, and can be typed."""
    found = gumbel_saturation(0.65, 1.0, 0.1)
    proposed = eval(found.remedy, {"Annealing": Annealing})
    drawn = saturation([torch.zeros(8)], proposed.floor, generator(), draws=1000)
    assert drawn.share < 0.5
