"""Norms that know what runs, for as long as it is judged."""

import torch
from torch import nn

from neuroexapt.training.calibrate import calibrated


def norm_of(mean: float) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(2)
    norm.running_mean.fill_(mean)
    return norm


def test_statistics_inside_are_the_mean_over_the_batches_and_outside_as_before():
    network = nn.Sequential(norm_of(7.0)).eval()
    batches = [torch.randn(16, 2) + shift for shift in (0.0, 4.0)]
    kept = {name: buffer.clone() for name, buffer in network.named_buffers()}
    with calibrated(network, batches):
        expected = torch.stack([batch.mean(0) for batch in batches]).mean(0)
        torch.testing.assert_close(network[0].running_mean, expected)
        spread = torch.stack([batch.var(0) for batch in batches]).mean(0)
        torch.testing.assert_close(network[0].running_var, spread)
        assert not network.training
    assert all(torch.equal(kept[name], buffer) for name, buffer in network.named_buffers())
    assert network[0].momentum == 0.1


def test_without_batches_nothing_changes():
    network = nn.Sequential(norm_of(7.0))
    with calibrated(network, []):
        assert network[0].running_mean.tolist() == [7.0, 7.0]


def test_statistics_are_put_back_where_judging_fails():
    network = nn.Sequential(norm_of(7.0))
    try:
        with calibrated(network, [torch.randn(8, 2)]):
            raise RuntimeError
    except RuntimeError:
        pass
    assert network[0].running_mean.tolist() == [7.0, 7.0]
    assert network[0].momentum == 0.1


def test_norms_without_running_statistics_stay_without():
    network = nn.Sequential(nn.BatchNorm1d(2, track_running_stats=False))
    with calibrated(network, [torch.randn(8, 2)]):
        assert network[0].running_mean is None
