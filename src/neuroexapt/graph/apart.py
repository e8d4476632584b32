"""What a model's outputs don't see of its inputs, so that edits can keep it so.

A language model's outputs don't see later tokens, what is masked isn't seen, and of two towers
neither sees the other's input. A path that an edit adds may break that though it starts at zero;
then the loss falls for the wrong reason. What isn't seen is found by trying: some of the inputs are
exchanged, and where the outputs stay, they have to stay after an edit, whatever the new weights.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_unflatten

from neuroexapt.graph.compare import leaves_of, run_in_mode
from neuroexapt.graph.inputs import FORWARD_FAILURES, Inputs, probe

TOLERANCE = 1e-5
"""Relative change of an output that is rounding."""
SAMPLES = 8
"""Samples that are tried, at most; more of the example hardly tell more."""
DRAWS = 4
"""Draws of the weights that have to agree on what isn't seen."""


@dataclass(frozen=True)
class Apart:
    """Something that outputs don't see.

    Attributes:
        given: number of the input tensor.
        dim: its dimension along which a half is exchanged; None for all of it.
        later: whether that is the later half.
        mask: number of the input that masks that half, and the value that it has there; or None.
        output: number of the output tensor.
        along: its dimension whose other half doesn't change; None if all of it doesn't.
    """

    given: int
    dim: int | None
    later: bool
    mask: tuple[int, int] | None
    output: int
    along: int | None

    def __str__(self) -> str:
        which = f"input {self.given}"
        if self.mask is not None:
            return f"what input {self.mask[0]} masks of {which}"
        if self.dim is None:
            return f"{which}, which output {self.output} doesn't see"
        order = "later" if self.later else "earlier"
        return f"{order} positions of {which} (dimension {self.dim})"


def unseen(graph_module: fx.GraphModule, inputs: Inputs) -> tuple[Apart, ...]:
    """What the outputs of a model don't see of its inputs, by its example.

    Sought are halves of the positions which the other half of the outputs doesn't see (in causal
    models, and those that treat each position by itself), positions that another input masks, and
    inputs that one of several outputs doesn't see. That a convolution doesn't see far isn't among
    them: its outputs see what is next to them.
    """
    first, *others = (_Trial.of(graph_module, inputs, draw) for draw in range(DRAWS))
    found = () if first is None else first.found()
    # Units that are dead by chance see nothing either, but not whatever the weights.
    return tuple(
        a for a in found if all(trial is not None and trial.is_apart(a) for trial in others)
    )


def one_sided(apart: Iterable[Apart]) -> tuple[Apart, ...]:
    """Without positions whose other half isn't seen either.

    A causal model sees one half by design; one that treats each position by itself may have been
    too small for more.
    """
    known = tuple(apart)
    mirrored = {replace(each, later=not each.later) for each in known if each.dim is not None}
    return tuple(each for each in known if each not in mirrored)


def seen(graph_module: fx.GraphModule, inputs: Inputs, apart: tuple[Apart, ...]) -> Apart | None:
    """The first of what outputs mustn't see that they do see."""
    trial = _Trial.of(graph_module, inputs, draw=0) if apart else None
    if trial is None:
        return None
    return next((each for each in apart if trial.is_seen(each)), None)


@dataclass(frozen=True)
class _Trial:
    """A model with noise on its weights, so that no path is zero, and two batches for it."""

    graph_module: fx.GraphModule
    weights: dict[str, Tensor]
    inputs: Inputs
    first: list[Any]
    second: list[Any]
    structure: Any

    @classmethod
    def of(cls, graph_module: fx.GraphModule, inputs: Inputs, draw: int) -> "_Trial | None":
        size = inputs.batch_size
        few = inputs.map(lambda t: t[:SAMPLES] if t.ndim and t.shape[0] == size else t)
        one, other = (probe(few, seed, batch_size=2) for seed in (0, 1))
        if not few.is_varied:
            other = one.map(lambda t: t.roll(1, 0) if t.ndim else t)
        given, structure = tree_flatten((few.args, few.kwargs))
        first, second = ([*tree_flatten((of.args, of.kwargs))[0]] for of in (one, other))
        for number, leaf in enumerate(given):
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and _is_binary(leaf):
                size = first[number].shape[0] // max(leaf.shape[0], 1) if leaf.ndim else 1
                first[number] = torch.cat([leaf] * size) if leaf.ndim else leaf  # masks: no noise
        if not any(isinstance(leaf, Tensor) for leaf in first):
            return None
        return cls(graph_module, _noisy(graph_module, draw), one, first, second, structure)

    def found(self) -> Iterator[Apart]:
        """All that outputs don't see."""
        try:
            plain = self._outputs(self.first)
        except FORWARD_FAILURES:
            return
        for given, dim, mask in self._places(plain):
            for later in (True, False) if dim is not None and mask is None else (True,):
                for output, tensor in enumerate(plain):
                    for along in self._alongs(given, dim, tensor):
                        candidate = Apart(given, dim, later, mask, output, along)
                        if self.is_apart(candidate):
                            yield candidate

    def is_seen(self, apart: Apart) -> bool:
        """Whether an output sees what it mustn't."""
        kept, _ = self._changes(apart)
        return kept

    def is_apart(self, candidate: Apart) -> bool:
        """Whether the output doesn't see it, and there is something to see.

        What is masked is seen where it isn't; what one half of an output doesn't see, the other
        does; what one output doesn't see, another one does.
        """
        try:
            kept, rest = self._changes(candidate)
            if kept:
                return False
            if candidate.mask is not None:
                number, value = candidate.mask
                return self._changes(replace(candidate, mask=(number, 1 - value)))[0]
            return rest
        except FORWARD_FAILURES:
            return False

    def _places(
        self, plain: list[Tensor]
    ) -> Iterator[tuple[int, int | None, tuple[int, int] | None]]:
        """What may be exchanged: an input or half of its positions, masked or not."""
        sizes = {size for tensor in plain for size in tensor.shape[1:]}
        sizes |= {tensor.shape[0] // self.inputs.batch_size for tensor in plain if tensor.ndim}
        tensors = {k: leaf for k, leaf in enumerate(self.first) if isinstance(leaf, Tensor)}
        for number, leaf in tensors.items():
            if len(tensors) > 1 and len(plain) > 1:
                yield number, None, None
            for dim in range(1, leaf.ndim):
                if leaf.shape[dim] > 1 and leaf.shape[dim] in sizes:
                    yield number, dim, None
            for other, mask in tensors.items():
                fits = mask.ndim == 2 and leaf.ndim > 1 and mask.shape == leaf.shape[:2]
                if other != number and fits and mask.shape[1] > 1 and _is_binary(mask):
                    yield from ((number, 1, (other, value)) for value in (0, 1))

    def _alongs(self, given: int, dim: int | None, output: Tensor) -> list[int | None]:
        """Dimensions of an output that may be the positions of an input, or None for all of it."""
        if dim is None:
            return [None]
        size = self.first[given].shape[dim]
        if output.ndim and output.shape[0] == self.inputs.batch_size * size:
            return [0]  # samples and positions in one
        found: list[int | None] = [d for d in range(1, output.ndim) if output.shape[d] == size]
        return found or [None]

    def _changes(self, apart: Apart) -> tuple[bool, bool]:
        """Whether the exchange changes what has to stay; and whether it changes anything else."""
        leaf = self.first[apart.given]
        half = torch.ones_like(leaf, dtype=torch.bool)
        if apart.dim is not None:
            cut = leaf.shape[apart.dim] // 2
            half.narrow(apart.dim, 0, cut).fill_(not apart.later)
            half.narrow(apart.dim, cut, leaf.shape[apart.dim] - cut).fill_(apart.later)
        before = list(self.first)
        if apart.mask is not None:
            number, value = apart.mask
            mask = torch.full_like(before[number], 1 - value)
            mask[:, mask.shape[1] // 2 :] = value
            before[number] = mask
        after = list(before)
        after[apart.given] = torch.where(half, self.second[apart.given], leaf)
        pairs = zip(self._outputs(before), self._outputs(after), strict=True)
        changed = [_changed(old, new) for old, new in pairs]
        mine = changed[apart.output]
        others = any(bool(c.any()) for k, c in enumerate(changed) if k != apart.output)
        if apart.along is None:
            return bool(mine.any()), others
        size = leaf.shape[apart.dim or 0]
        if apart.along == 0:
            mine = mine.unflatten(0, (-1, size))
        along = max(apart.along, 1)
        early, late = mine.narrow(along, 0, size // 2), mine.narrow(along, size // 2, -(-size // 2))
        kept, rest = (early, late) if apart.later else (late, early)
        return bool(kept.any()), bool(rest.any())

    def _outputs(self, leaves: list[Any]) -> list[Tensor]:
        args, kwargs = tree_unflatten(leaves, self.structure)

        def run(module: Any, inputs: Inputs) -> Any:
            return functional_call(module, self.weights, inputs.args, inputs.kwargs)

        output = run_in_mode(self.graph_module, Inputs(args, kwargs), False, run)
        return [t for t in leaves_of(output) if isinstance(t, Tensor) and t.is_floating_point()]


def _noisy(graph_module: fx.GraphModule, draw: int) -> dict[str, Tensor]:
    """Parameters with noise of half their spread or more, and a little where they are alike."""
    generator = torch.Generator().manual_seed(draw)
    scale = (1 + draw) / 2
    return {
        name: p.detach()
        + torch.randn(p.shape, generator=generator).to(p)
        * (scale * p.detach().std(correction=0) + 0.02)
        for name, p in graph_module.named_parameters()
        if p.is_floating_point() and p.numel()
    }


def _is_binary(mask: Tensor) -> bool:
    return mask.dtype == torch.bool or bool(((mask == 0) | (mask == 1)).all())


def _changed(old: Tensor, new: Tensor) -> Tensor:
    """Where two outputs differ by more than rounding; nowhere if they can't be compared."""
    same = (old == new) | (old.isnan() & new.isnan())
    scale = old.abs().nan_to_num(0, 0, 0).max() if old.numel() else old.new_zeros(())
    return ~same & ~((new - old).abs() <= TOLERANCE * scale)
