"""Sensing looks at as many samples as its share of the compute allows."""

import math

import pytest
import torch
from small import batches, model

from neuroexapt import DataError, LivingModel
from neuroexapt.growth.sampling import Sampling, drawn


def living() -> LivingModel:
    return LivingModel(model(), batches()[0][0][:4])


def test_affordable_samples_follow_from_what_one_costs():
    sampling = Sampling(fewest=10, flops_a_mac=20.0)
    assert sampling.affordable(20.0 * 500 * 64, macs=500) == 64
    assert sampling.affordable(20.0 * 500 * 9, macs=500) == 0, "too few to tell anything"
    assert sampling.affordable(math.inf, macs=500) == math.inf
    sampling.learn(flops=40 * 500 * 32, num_samples=32, macs=500)
    assert sampling.affordable(20.0 * 500 * 64, macs=500) == 32


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
