import pytest
import torch
from torch import nn

from neuroexapt.training.modes import buffers_kept_on_failure, device_of, mode


@pytest.mark.parametrize("training", [True, False])
def test_mode_restores_every_modules_own(training: bool) -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 2))
    model[0].eval()
    with mode(model, training=training):
        assert all(module.training is training for module in model.modules())
    assert [module.training for module in model.modules()] == [True, False, True, True]


def test_mode_is_restored_after_an_error() -> None:
    model = nn.Linear(2, 2)
    with pytest.raises(KeyError), mode(model, training=False):
        raise KeyError
    assert model.training


def test_buffers_are_kept_on_failure_only() -> None:
    model = nn.BatchNorm1d(2)
    with pytest.raises(KeyError), buffers_kept_on_failure(model):
        model(torch.randn(4, 2))
        raise KeyError
    assert model.running_mean.tolist() == [0, 0] and int(model.num_batches_tracked) == 0
    with buffers_kept_on_failure(model):
        model(torch.randn(4, 2))
    assert int(model.num_batches_tracked) == 1


def test_device_of_a_model_without_tensors_is_the_cpu() -> None:
    assert device_of(nn.ReLU()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(1, affine=False, device="meta")) == torch.device("meta")
