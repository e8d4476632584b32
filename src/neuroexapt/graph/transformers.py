"""torch.nn's transformer layers as the operations that they consist of.

Their own `forward` chooses kernels by what isn't known while it is traced. Without that choice they
are a few additions, norms, linear layers and attentions, and the inner width of their feed-forward
parts can change. torch.nn.MultiheadAttention itself stays whole.
"""

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from torch import nn

Forward: TypeAlias = Callable[..., Any]


def plain_forward(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Forward | None:
    """What a transformer layer computes for these arguments, as it can be traced.

    None for everything else; that is also an encoder which packs what isn't padding in eval mode
    (`enable_nested_tensor`, with a padding mask), since it then leaves zeros where padding was, and
    in train mode it doesn't.
    """
    plain = _PLAIN.get(type(module))  # what inherits from these may compute something else
    if plain is None:
        return None
    given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
    packs = isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor
    if packs and given.get("src_key_padding_mask") is not None:
        return None
    return lambda *_, **__: plain(module, **given)


def _encoder(
    encoder: Any, src: Any, mask: Any = None, is_causal: bool | None = None, **padding: Any
) -> Any:
    for layer in encoder.layers:
        # That it is causal is a hint; the mask says it as well.
        src = layer(src, src_mask=mask, is_causal=bool(is_causal), **padding)
    return src if encoder.norm is None else encoder.norm(src)


def _decoder(
    decoder: Any, tgt: Any, memory: Any, tgt_is_causal: bool | None = None, **masks: Any
) -> Any:
    for layer in decoder.layers:
        tgt = layer(tgt, memory, tgt_is_causal=bool(tgt_is_causal), **masks)
    return tgt if decoder.norm is None else decoder.norm(tgt)


def _transformer(transformer: Any, src: Any, tgt: Any, **masks: Any) -> Any:
    of_encoder = {
        "src_mask": "mask",
        "src_key_padding_mask": "src_key_padding_mask",
        "src_is_causal": "is_causal",
    }
    own = {of_encoder[name]: masks.pop(name) for name in of_encoder.keys() & masks.keys()}
    return transformer.decoder(tgt, transformer.encoder(src, **own), **masks)


def _encoder_layer(
    layer: Any,
    src: Any,
    src_mask: Any = None,
    src_key_padding_mask: Any = None,
    is_causal: bool = False,
) -> Any:
    def attended(x: Any) -> Any:
        found = _attention(layer.self_attn, x, x, src_mask, src_key_padding_mask, is_causal)
        return layer.dropout1(found)

    x = _residual(layer, layer.norm1, src, attended)
    return _residual(layer, layer.norm2, x, lambda x: layer.dropout2(_feed_forward(layer, x)))


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
        found = _attention(layer.self_attn, x, x, tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        return layer.dropout1(found)

    def looked_up(x: Any) -> Any:
        masks = memory_mask, memory_key_padding_mask, memory_is_causal
        return layer.dropout2(_attention(layer.multihead_attn, x, memory, *masks))

    x = _residual(layer, layer.norm1, tgt, attended)
    x = _residual(layer, layer.norm2, x, looked_up)
    return _residual(layer, layer.norm3, x, lambda x: layer.dropout3(_feed_forward(layer, x)))


def _residual(layer: Any, norm: Any, x: Any, branch: Callable[[Any], Any]) -> Any:
    """Normalised before the branch, or after what it is added to (Xiong et al. 2020)."""
    return x + branch(norm(x)) if layer.norm_first else norm(x + branch(x))


def _attention(
    attention: Any, x: Any, memory: Any, mask: Any, padding: Any, is_causal: bool
) -> Any:
    return attention(
        x,
        memory,
        memory,
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
