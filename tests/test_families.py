"""The model families are sound: they run, differentiate and trace, and their groups exist."""

import copy

import pytest
import torch
from families import FAMILIES, LEAVES, UNTRACEABLE, Family, Untraceable, scramble_, tensors
from sampled import each_family
from seeding import seed_
from torch import Tensor, fx, nn

each_mode = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


class FamilyTracer(fx.Tracer):
    """Traces through everything but torch's own modules, `LEAVES` and the module `keep`."""

    def __init__(self, keep: str = ""):
        super().__init__()
        self.keep = keep

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kept = isinstance(m, LEAVES) or module_qualified_name == self.keep
        return kept or super().is_leaf_module(m, module_qualified_name)


def trace(model: nn.Module, keep: str = "") -> fx.GraphModule:
    return fx.GraphModule(model, FamilyTracer(keep).trace(model))


def built(family: Family | Untraceable) -> nn.Module:
    seed_(0)
    return family.build()


def run(model: nn.Module, family: Family | Untraceable, dtype=torch.float32) -> list[Tensor]:
    """The outputs for the example, with the same dropout masks each time."""
    example = family.example()
    inputs = example if isinstance(example, tuple) else (example,)
    inputs = [x.to(dtype) if x.is_floating_point() else x for x in inputs]
    seed_(1)
    return list(tensors(model(*inputs)))


def assert_equal(actual: list[Tensor], expected: list[Tensor]) -> None:
    assert len(actual) == len(expected)
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@each_family
@each_mode
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_family_runs_forward_and_backward(family, training, dtype):
    model = built(family).to(dtype).train(training)
    outputs = run(model, family, dtype)
    sum(output.square().sum() for output in outputs).backward()
    for output in outputs:
        assert output.dtype == dtype
        assert output.isfinite().all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@each_family
@each_mode
def test_family_traces_with_equal_output(family, training):
    model = scramble_(built(family)).train(training)
    expected = run(copy.deepcopy(model), family)
    assert_equal(run(trace(model), family), expected)


@each_family
def test_family_output_depends_on_every_parameter(family):
    """A channel that nothing reads would be preserved by any edit."""
    model = scramble_(built(family)).double().eval()
    before = run(model, family, torch.float64)
    sum(output.square().sum() for output in before).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().max() > 0, name


@each_family
def test_family_groups_exist(family):
    model = built(family)
    producers = {name for name, _ in model.named_modules(remove_duplicate=False)}
    producers |= {name for name, _ in model.named_parameters(remove_duplicate=False)}
    listed = [*family.growable, *family.frozen]
    assert len(set(listed)) == len(listed)
    assert set(listed) <= producers
    assert family.frozen, "at least what the model returns is frozen"


def test_family_names_are_unique():
    names = [family.name for family in (*FAMILIES, *UNTRACEABLE)]
    assert len(set(names)) == len(names)


@each_family
def test_scramble_moves_parameters_and_statistics(family):
    fresh = built(family)
    scrambled = scramble_(copy.deepcopy(fresh))
    moved = scrambled.state_dict()
    for name, tensor in fresh.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert (tensor != moved[name]).any(), name


@pytest.mark.parametrize("family", UNTRACEABLE, ids=lambda family: family.name)
def test_untraceable_runs_but_does_not_trace(family):
    model = built(family)
    assert all(output.isfinite().all() for output in run(model, family))
    with pytest.raises((fx.proxy.TraceError, TypeError, RuntimeError)):
        trace(model)


@pytest.mark.parametrize(
    "family",
    [family for family in UNTRACEABLE if family.offender],
    ids=lambda family: family.name,
)
def test_untraceable_traces_once_its_offender_is_a_leaf(family):
    model = built(family)
    assert_equal(run(trace(model, keep=family.offender), family), run(model, family))
