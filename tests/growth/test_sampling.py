"""Sensing looks at as many samples as its share of the compute allows."""

import math

import pytest
import torch
from small import batches, model
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt import DataError, LivingModel
from neuroexapt.growth.sampling import ENOUGH, Sampling, Scope, drawn


def living() -> LivingModel:
    return LivingModel(model(), batches()[0][0][:4])


def test_affordable_samples_follow_from_what_one_costs():
    sampling = Sampling(fewest=10, flops_a_mac=20.0)
    assert sampling.affordable(20.0 * 500 * 64, macs=500) == Scope(64)
    assert sampling.affordable(20.0 * 500 * 9, macs=500) is None, "too few to tell anything"
    assert sampling.affordable(math.inf, macs=500) == Scope(math.inf)
    sampling.learn(flops=40 * 500 * 32, num_samples=32, macs=500, scope=Scope(32))
    assert sampling.affordable(20.0 * 500 * 64, macs=500) == Scope(32)


@pytest.mark.parametrize("samples", [20, 100, 255, 256, 5000])
def test_with_few_samples_a_part_of_the_additions_is_looked_at_for_the_same_flops(samples):
    sampling = Sampling(fewest=10, flops_a_mac=20.0, thins=True)
    flops = 20.0 * 500 * samples
    scope = sampling.affordable(flops, macs=500)
    assert scope is not None
    assert (scope.part < 1) == (samples < ENOUGH)
    assert scope.samples >= samples
    assert scope.samples * scope.cost * 20 * 500 == pytest.approx(flops)
    sampling.learn(int(flops), int(scope.samples), 500, scope)
    assert sampling.flops_a_mac == pytest.approx(20.0, rel=0.02)


@pytest.mark.parametrize(
    ("samples", "sizes"), [(math.inf, [32, 32, 32]), (64, [32, 32]), (40, [32, 8]), (33, [32])]
)
def test_drawn_batches_are_cut_to_the_samples(samples, sizes):
    found = drawn(living(), batches(5), num_batches=3, samples=samples)
    assert [len(inputs) for inputs, _ in found] == sizes
    assert [len(targets) for _, targets in found] == sizes
    torch.testing.assert_close(found[0][0], batches()[0][0])


def test_drawn_batches_keep_their_form():
    pair = {"input": batches()[0][0]}
    (inputs, targets), *_ = drawn(living(), [(pair, {"a": torch.arange(32)})], 1, 8)
    assert list(inputs) == ["input"]
    assert inputs["input"].shape[0] == len(targets["a"]) == 8


def test_drawing_leaves_random_numbers_as_they_were():
    def random_batches():
        while True:
            yield torch.randn(32, 1, 6, 6), torch.randint(3, (32,))

    model = living()
    before = torch.get_rng_state()
    drawn(model, random_batches(), 2, math.inf)
    assert torch.equal(torch.get_rng_state(), before)


def test_drawing_names_a_bad_batch():
    with pytest.raises(DataError, match="batch 1 is a int"):
        drawn(living(), [batches()[0], 3], 2, math.inf)


def test_drawing_leaves_a_loaders_own_generator_as_it_was():
    own = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.randn(64, 1, 6, 6), torch.randint(3, (64,)))
    loader = DataLoader(data, batch_size=16, shuffle=True, generator=own)
    before = own.get_state()
    drawn(living(), loader, 2, math.inf)
    assert torch.equal(own.get_state(), before)
