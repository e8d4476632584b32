"""Names of torch's operators, gathered by what they do with channels."""


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


UNARY = _words("""
    abs ceil celu clamp clamp_max clamp_min clip clone contiguous cos detach elu erf exp
    expm1 fill floor gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu log log1p
    logsigmoid mish nan_to_num neg positive reciprocal relu relu6 requires_grad_ round rsqrt
    selu sigmoid sign silu sin softplus softshrink softsign sqrt square tanh tanhshrink
    threshold float half bfloat16 double int long bool cpu cuda zeros_like
    ones_like full_like logical_not isnan isfinite erfinv sinh cosh atan
""")
"""Functions of one tensor, each position by itself."""

CASTS = _words("""
    to type type_as
""")
"""Functions of one tensor that may take only the type or the device of another."""

BINARY = _words("""
    add sub mul div true_divide maximum minimum pow where lerp addcmul addcdiv masked_fill
    eq ne lt le gt ge logical_and logical_or rsub floor_divide remainder fmod atan2 hypot
""")
"""Functions of several tensors, broadcast."""

OPERATORS = _words("""
    add sub mul truediv pow neg pos iadd isub imul itruediv eq ne lt le gt ge and_ or_ mod
    floordiv
""")
"""Python's operators among them."""

MOVES = _words("""
    view reshape flatten unflatten permute transpose t swapaxes swapdims movedim moveaxis
    unsqueeze squeeze expand expand_as view_as reshape_as chunk split tensor_split unbind
    select narrow roll flip fliplr flipud repeat repeat_interleave tile ravel pixel_shuffle
    pixel_unshuffle channel_shuffle adjoint hsplit vsplit dsplit rot90
""")
"""Data movement."""

REDUCTIONS = _words("""
    sum mean amax amin max min var std prod logsumexp any all argmax argmin median nansum
    nanmean nanmedian std_mean var_mean count_nonzero
""")
"""Over some dimensions."""

SCANS = _words("""
    cumsum cumprod cummax cummin logcumsumexp
""")
"""Along one dimension, as long as it was."""

ORDERINGS = _words("""
    sort argsort
""")
"""Along one dimension, the last one unless said otherwise."""

PRODUCTS = _words("""
    baddbmm tensordot outer cdist
""")
"""Of activations with each other."""

CREATIONS = _words("""
    new_empty new_zeros new_ones new_full new_tensor
""")
"""New tensors that take only sizes or types from their inputs."""

ACTIVATIONS = _words("""
    CELU ELU GELU Hardshrink Hardsigmoid Hardswish Hardtanh Identity LeakyReLU LogSigmoid
    Mish ReLU ReLU6 SELU SiLU Sigmoid Softplus Softshrink Softsign Tanh Tanhshrink Threshold
""")
"""Modules that act on each position by itself."""
