"""Count floating-point operations, where torch's own counter has no formula or a wrong one."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from typing import TypeAlias

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

Shape: TypeAlias = Sequence[int]


def _conv_backward_flops(
    grad_out_shape: Shape,
    x_shape: Shape,
    w_shape: Shape,
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


def _attention_flops(query: Shape, key: Shape, value: Shape, *_: object, **__: object) -> int:
    """Count attention on the CPU, which torch's own table lacks."""
    return int(sdpa_flop_count(query, key, value))


def _attention_backward_flops(
    grad_out: Shape, query: Shape, key: Shape, value: Shape, *_: object, **__: object
) -> int:
    """Count its gradients, with the scores computed again."""
    return int(sdpa_backward_flop_count(grad_out, query, key, value))


def _recurrent_flops(inputs: Shape, weights: Sequence[Shape]) -> int:
    """Count a recurrent kernel: each step of each sample meets every weight once."""
    matrices = [shape for shape in weights if len(shape) == 2]
    return 2 * prod(inputs[:-1]) * sum(map(prod, matrices))


def _lstm_flops(inputs: Shape, w_ih: Shape, w_hh: Shape, *_: object, **__: object) -> int:
    """Count one direction of one layer of an LSTM on the CPU."""
    return _recurrent_flops(inputs, (w_ih, w_hh))


def _lstm_backward_flops(inputs: Shape, w_ih: Shape, w_hh: Shape, *_: object, **__: object) -> int:
    """Count its gradients: it gives those of inputs, states and weights, wanted or not."""
    return 2 * _recurrent_flops(inputs, (w_ih, w_hh))


def _cudnn_flops(inputs: Shape, weights: Sequence[Shape], *_: object, **__: object) -> int:
    """Count all layers of a recurrent network on the GPU."""
    return _recurrent_flops(inputs, weights)


def _cudnn_backward_flops(inputs: Shape, weights: Sequence[Shape], *_: object, **__: object) -> int:
    """Count its gradients: the kernel gives all of them, as that of the CPU does."""
    return 2 * _recurrent_flops(inputs, weights)


_ATEN = torch.ops.aten
_FORMULAS = {
    _ATEN.convolution_backward: _conv_backward_flops,
    _ATEN._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    _ATEN._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    _ATEN.mkldnn_rnn_layer: _lstm_flops,
    _ATEN.mkldnn_rnn_layer_backward: _lstm_backward_flops,
    _ATEN._cudnn_rnn: _cudnn_flops,
    _ATEN._cudnn_rnn_backward: _cudnn_backward_flops,
}


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count what runs inside, two operations for each multiply-accumulate.

    Attention layers leave out their fast path meanwhile, which does a whole layer in one operator
    that shows none of its products, and makes nested tensors, which have no fake ones.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
