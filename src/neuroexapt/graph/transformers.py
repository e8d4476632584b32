"""torch.nn's transformer layers as the operations that they consist of.

Their own `forward` chooses kernels by what isn't known while it is traced. Without that choice they
are a few additions, norms, linear layers and attentions, and the inner width of their feed-forward
parts can change. torch.nn.MultiheadAttention itself stays whole.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import nn

Forward: TypeAlias = Callable[..., Any]


def plain_forward(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Forward | None:
    """What a transformer layer computes, for the same arguments, as it can be traced.

    None for everything else; that is also an encoder which packs what isn't padding in eval mode
    (`enable_nested_tensor`, with a padding mask), since it then leaves zeros where padding was, and
    in train mode it doesn't.
    """
    if type(module) is nn.TransformerEncoder and module.use_nested_tensor:
        padding = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
        if padding is not None:
            return None
    plain = _PLAIN.get(type(module))  # what inherits from these may compute something else
    return None if plain is None else partial(plain, module)


def _encoder(
    encoder: Any,
    src: Any,
    mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool | None = None,
) -> Any:
    for layer in encoder.layers:
        src = layer(
            src,
            src_mask=mask,
            src_key_padding_mask=src_key_padding_mask,
            is_causal=bool(is_causal),  # a hint; the mask says it as well
        )
    return src if encoder.norm is None else encoder.norm(src)


def _encoder_layer(
    layer: Any,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Any:
    def attended(x: Any) -> Any:
        return layer.dropout1(_attention(layer, x, src_mask, src_key_padding_mask, is_causal))

    def fed_forward(x: Any) -> Any:
        return layer.dropout2(_feed_forward(layer, x))

    x = _residual(layer, layer.norm1, src, attended)
    return _residual(layer, layer.norm2, x, fed_forward)


def _decoder(
    decoder: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    for layer in decoder.layers:
        tgt = layer(
            tgt,
            memory,
            tgt_mask=tgt_mask,
            memory_mask=memory_mask,
            tgt_key_padding_mask=tgt_key_padding_mask,
            memory_key_padding_mask=memory_key_padding_mask,
            tgt_is_causal=bool(tgt_is_causal),
            memory_is_causal=memory_is_causal,
        )
    return tgt if decoder.norm is None else decoder.norm(tgt)


def _decoder_layer(
    layer: Any,
    tgt: Any,
    memory: Any,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Any:
    def attended(x: Any) -> Any:
        return layer.dropout1(_attention(layer, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal))

    def looked_up(x: Any) -> Any:
        found = layer.multihead_attn(
            x,
            memory,
            memory,
            attn_mask=memory_mask,
            key_padding_mask=memory_key_padding_mask,
            is_causal=memory_is_causal,
            need_weights=False,
        )
        return layer.dropout2(found[0])

    def fed_forward(x: Any) -> Any:
        return layer.dropout3(_feed_forward(layer, x))

    x = _residual(layer, layer.norm1, tgt, attended)
    x = _residual(layer, layer.norm2, x, looked_up)
    return _residual(layer, layer.norm3, x, fed_forward)


def _transformer(
    transformer: Any,
    src: Any,
    tgt: Any,
    src_mask: Any = None,
    tgt_mask: Any = None,
    memory_mask: Any = None,
    src_key_padding_mask: Any = None,
    tgt_key_padding_mask: Any = None,
    memory_key_padding_mask: Any = None,
    src_is_causal: bool | None = None,
    tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Any:
    memory = transformer.encoder(
        src, mask=src_mask, src_key_padding_mask=src_key_padding_mask, is_causal=src_is_causal
    )
    return transformer.decoder(
        tgt,
        memory,
        tgt_mask=tgt_mask,
        memory_mask=memory_mask,
        tgt_key_padding_mask=tgt_key_padding_mask,
        memory_key_padding_mask=memory_key_padding_mask,
        tgt_is_causal=tgt_is_causal,
        memory_is_causal=memory_is_causal,
    )


def _residual(layer: Any, norm: Any, x: Any, branch: Callable[[Any], Any]) -> Any:
    """Normalised before the branch, or after what it is added to (Xiong et al. 2020)."""
    return x + branch(norm(x)) if layer.norm_first else norm(x + branch(x))


def _attention(layer: Any, x: Any, mask: Any, padding: Any, is_causal: bool) -> Any:
    return layer.self_attn(
        x,
        x,
        x,
        attn_mask=mask,
        key_padding_mask=padding,
        is_causal=is_causal,
        need_weights=False,
    )[0]


def _feed_forward(layer: Any, x: Any) -> Any:
    return layer.linear2(layer.dropout(layer.activation(layer.linear1(x))))


_PLAIN: Mapping[type[nn.Module], Forward] = MappingProxyType(
    {
        nn.TransformerEncoder: _encoder,
        nn.TransformerEncoderLayer: _encoder_layer,
        nn.TransformerDecoder: _decoder,
        nn.TransformerDecoderLayer: _decoder_layer,
        nn.Transformer: _transformer,
    }
)
