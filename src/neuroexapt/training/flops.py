"""What a training step costs in floating-point operations."""

import copy
from itertools import chain

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from neuroexapt.graph.flops import counting
from neuroexapt.graph.shield import without_cudnn
from neuroexapt.training.loop import Criterion
from neuroexapt.training.modes import mode

# What fake tensors refuse: results that depend on values, and operators without a shape rule.
_NOT_FAKEABLE = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)


def training_flops(
    model: nn.Module, example_batch: tuple[Tensor, Tensor], criterion: Criterion
) -> int:
    """Count the floating-point operations of training on one sample.

    One forward pass in train mode and one backward pass are run on fake tensors, which have shapes
    but no data: it takes milliseconds, and model, gradients and random numbers stay as they are.
    So the figure is not an estimate of three times the forward pass: gradients that nobody needs,
    as for the network's inputs or frozen weights, are not counted, since they are not computed.

    Counted are matrix products, convolutions, recurrent layers and attention, two operations for
    each multiply-accumulate. A kernel that gives all gradients at once, as those of an LSTM, is
    counted with all. What is done element by element (norms, activations) is not: it is a small
    part, and no two counters agree on it. Nor is the optimiser's step, which isn't part of training
    on one sample: under Muon, whose steps multiply matrices once a batch, it is small beside large
    batches of images only, and the larger the wider the network.

    A model that looks at values, which fake tensors do not have, is copied and run for real.

    Args:
        model: on any device.
        example_batch: inputs and targets on that device, at least two samples where a norm needs
            them.
        criterion: outputs and targets to a loss.

    Returns:
        FLOPs a sample: the batch's, divided by its size and rounded.

    Example:
        Forward 2 x 3 x 5 operations, and as many for the weight's gradient.

        >>> batch = torch.ones(4, 3), torch.zeros(4, dtype=torch.int64)
        >>> training_flops(nn.Linear(3, 5), batch, nn.CrossEntropyLoss())
        60
    """
    inputs, targets = example_batch
    try:
        total = _count_fake(model, inputs, targets, criterion)
    except _NOT_FAKEABLE:
        total = _count_real(model, inputs, targets, criterion)
    return round(total / len(inputs))


def _count_fake(model: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion) -> int:
    # Tensors that are neither parameters nor buffers, as a loss's class weights, become fake when
    # they are met.
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    state: dict[str, Tensor] = {
        name: fake.from_tensor(tensor)
        for name, tensor in chain(model.named_parameters(), model.named_buffers())
    }
    with (
        without_cudnn(),
        mode(model, training=True),
        torch.enable_grad(),
        fake,
        counting() as counter,
    ):
        outputs = torch.func.functional_call(model, state, (fake.from_tensor(inputs),))
        criterion(outputs, fake.from_tensor(targets)).backward()
    return counter.get_total_flops()


def _count_real(model: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion) -> int:
    twin = copy.deepcopy(model).train()
    devices = [inputs.device] if inputs.is_cuda else []
    with torch.random.fork_rng(devices), torch.enable_grad(), counting() as counter:
        criterion(twin(inputs), targets).backward()
    return counter.get_total_flops()
