"""What a training step costs in floating-point operations."""

import copy
from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from neuroexapt.training.loop import Criterion
from neuroexapt.training.modes import mode

# What fake tensors refuse: results that depend on values, and operators without a shape rule.
_NOT_FAKEABLE = (
    fake_tensor.DataDependentOutputException,
    fake_tensor.DynamicOutputShapeException,
    fake_tensor.UnsupportedFakeTensorException,
    fake_tensor.UnsupportedOperatorException,
)


def _conv_backward_flops(
    grad_out_shape: Sequence[int],
    x_shape: Sequence[int],
    w_shape: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: object,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    """Count a convolution's gradients; each takes as many operations as the convolution itself.

    torch's own formula takes all input channels for those of one group, and so counts the weight's
    gradient of a depthwise convolution as often too much as there are channels.
    """
    forward = conv_flop_count(
        list(x_shape), list(w_shape), list(grad_out_shape), transposed=transposed
    )
    return forward * sum(output_mask[:2])


def _attention_flops(
    query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object
) -> int:
    """Count attention on the CPU, which torch's own table lacks."""
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(
    grad_out: Sequence[int],
    query: Sequence[int],
    key: Sequence[int],
    value: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """Count its gradients, with the scores computed again."""
    return int(sdpa_backward_flop_count(grad_out, query, key, value))


def _counter() -> FlopCounterMode:
    aten = torch.ops.aten
    formulas = {
        aten.convolution_backward: _conv_backward_flops,
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    return FlopCounterMode(display=False, custom_mapping=formulas)


def training_flops(
    model: nn.Module, example_batch: tuple[Tensor, Tensor], criterion: Criterion
) -> int:
    """Count the floating-point operations of training on one sample.

    One forward pass in train mode and one backward pass are run on fake tensors, which have shapes
    but no data: it takes milliseconds, and model, gradients and random numbers stay as they are.
    So the figure is not an estimate of three times the forward pass: gradients that nobody needs,
    as for the network's inputs or frozen weights, are not counted, since they are not computed.

    Counted are matrix products, convolutions and attention, two operations for each
    multiply-accumulate. What is done element by element (norms, activations, the optimiser's step)
    is not: it is a small part, and no two counters agree on it.

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
    counter = _counter()
    with mode(model, training=True), torch.enable_grad(), fake, counter:
        outputs = torch.func.functional_call(model, state, (fake.from_tensor(inputs),))
        criterion(outputs, fake.from_tensor(targets)).backward()
    return counter.get_total_flops()


def _count_real(model: nn.Module, inputs: Tensor, targets: Tensor, criterion: Criterion) -> int:
    twin = copy.deepcopy(model).train()
    counter = _counter()
    devices = [inputs.device] if inputs.is_cuda else []
    with torch.random.fork_rng(devices), torch.enable_grad(), counter:
        criterion(twin(inputs), targets).backward()
    return counter.get_total_flops()
