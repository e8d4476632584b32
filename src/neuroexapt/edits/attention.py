"""Self-attention over the positions of a feature map or a sequence."""

import torch
from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Every position reads all others, weighted by how well its query fits their keys.

    The last map's weights start at zero, so that the output does. Nothing tells positions apart but
    their channels: what is upstream (padding, embeddings) has to.

    Args:
        channels: of the input and the output.
        hidden: of queries, keys and values together, a multiple of `heads`.
        heads: that attend separately.
        spatial: dimensions of positions behind the channels; 0 where channels come last.
        causal: whether a position reads only itself and those before it.

    Source: Vaswani et al. 2017, arXiv:1706.03762; over feature maps as in Wang et al. 2018,
    arXiv:1711.07971.

    Example:
        >>> attention = SelfAttention(channels=8, hidden=4, spatial=2)
        >>> attention(torch.randn(2, 8, 5, 5)).abs().max()
        tensor(0., grad_fn=<MaxBackward1>)
    """

    causal = False  # of those that were saved before there were others

    def __init__(
        self, channels: int, hidden: int, heads: int = 1, spatial: int = 0, causal: bool = False
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise ValueError(f"hidden is {hidden}, no multiple of the {heads} heads")
        self.heads = heads
        self.spatial = spatial
        self.causal = causal
        self.qkv = nn.Linear(channels, 3 * hidden)
        self.project = nn.Linear(hidden, channels)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Shape as the input's: (samples, channels, positions ...), or channels last."""
        tokens = x.flatten(2).transpose(1, 2) if self.spatial else x
        parts = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).movedim(-3, 0).transpose(-3, -2)
        query, key, value = parts[0], parts[1], parts[2]
        read = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        out: Tensor = self.project(read.transpose(-3, -2).flatten(-2))
        return out.transpose(1, 2).reshape(x.shape) if self.spatial else out

    def extra_repr(self) -> str:
        """What isn't seen from its parts."""
        return f"heads={self.heads}, spatial={self.spatial}, causal={self.causal}"


def draw_(attention: SelfAttention, generator: torch.Generator) -> None:
    """Draw queries, keys and values at random, in place: as large as their inputs."""
    weight = attention.qkv.weight
    with torch.no_grad():
        weight.copy_(torch.randn(weight.shape, generator=generator) / weight.shape[1] ** 0.5)
        attention.qkv.bias.zero_()
