"""Ways to write `forward` that tracing sees, and what it says of those that it can't see."""

import inspect
import re
from functools import partial

import pytest
import torch
from tolerance import assert_equal_tensors, assert_same_outputs, outputs
from torch import Tensor, nn
from torch.fx.proxy import Proxy
from torch.nn.functional import pad

from neuroexapt import LivingModel, Split, TraceError
from neuroexapt.graph.parts import num_parts
from neuroexapt.graph.tracer import LeafTracer


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Written(nn.Module):
    """A hidden layer, a function of what it gives, and an output layer."""

    def __init__(self, function):
        super().__init__()
        self.into, self.out = nn.Linear(4, 6), nn.Linear(6, 2)
        self.positions = nn.Embedding(16, 6)
        self.function = function

    def forward(self, x):
        return self.out(self.function(self, self.into(x)))


def listed(self, h):
    return torch.cat([part.relu() for part in list(h.chunk(2, 1))], 1)


def mapped(self, h):
    first, second = map(torch.relu, torch.chunk(h, chunks=2, dim=1))
    return torch.cat([first, second], 1)


def looped(self, h):
    total = 0
    for part in h.chunk(chunks=3, dim=-1):
        total = total + pad(part, (0, 4))
    return total


def starred(self, h):
    first, *rest = h.chunk(3, 1)
    return torch.cat([*rest, first], 1)


def indexed(self, h):
    parts = list(h.chunk(2, 1))
    return torch.cat([parts[-1], parts[0]], len(parts) - 1)


def sections(self, h):
    return torch.cat([*reversed(list(h.split([2, 4], 1)))], 1)


def cuts(self, h):
    return torch.cat([*torch.tensor_split(h, (1, 3), dim=1)], 1)


def zeros(self, h):
    return h + torch.zeros(h.size(0), 6)


def zeros_like_it(self, h):
    return h + torch.zeros(h.shape, dtype=h.dtype, device=h.device)


def arange(self, h):
    return h + self.positions(torch.arange(h.size(0), device=h.device))


def random(self, h):
    return h * torch.rand(h.size(0), 1).add(0.5)


def filled(self, h):
    return h * torch.full((h.shape[0], 1), 2.0) + torch.tensor([h.size(1)])


def spread(self, h):
    return h.view(*h.shape)


def spread_in_part(self, h):
    return h.view(*h.shape[:-1], 2, -1).flatten(-2) + torch.zeros(*h.size()[:1], 1)


def behind_the_first(self, h):
    size, *others = h.size()
    return h.unsqueeze(1).expand(size, 3, *others).sum(1)


def over_all_but_the_first(self, h):
    return h - h.mean(dim=list(range(1, h.ndim)), keepdim=True)


def by_dimensions(self, h):
    for _ in range(h.dim() - 1):
        h = h.unsqueeze(-1)
    return [h, h.squeeze(-1)][int(len(h.shape) > 2)] * float(h.ndim)


def split_evenly(self, h):
    return torch.cat([part.relu() for part in h.split(3, dim=1)], 1)


SEEN = [
    spread,
    spread_in_part,
    behind_the_first,
    over_all_but_the_first,
    by_dimensions,
    split_evenly,
    listed,
    mapped,
    looped,
    starred,
    indexed,
    sections,
    cuts,
    zeros,
    zeros_like_it,
    arange,
    random,
    filled,
]


@pytest.mark.parametrize("function", SEEN)
def test_forward_is_seen_for_every_batch_size(function):
    model = Written(function)
    before = torch.zeros, torch.arange
    living = LivingModel(model, noise(3, 4))
    assert (torch.zeros, torch.arange) == before
    for size in (3, 5, 1):
        assert_same_outputs(
            outputs(living, (noise(size, 4),)), outputs(model, (noise(size, 4),)), tolerance=0.0
        )
    for group in living.groups:
        if group.frozen is None:
            assert living.apply(Split(group=group.name, units=(0,))).max_error <= 1e-5


def unpacked(self, h):
    first, second = h.chunk(2, 1)
    return torch.cat([first.relu(), second.relu()], 1)


def swapped(self, h):
    first, second = h.chunk(2, 1)
    return torch.cat([second, first], 1)


def gated(self, h):
    first, second = h.chunk(2, 1)
    return torch.cat([first * second.sigmoid()] * 2, 1)


def gated_by_parts(self, h):
    return torch.cat([torch.mul(*[f(p) for f, p in zip(GATE, h.chunk(2, 1), strict=True)])] * 2, 1)


GATE = (torch.clone, torch.sigmoid)


@pytest.mark.parametrize(
    ("function", "spelled_out"),
    [(listed, unpacked), (mapped, unpacked), (indexed, swapped), (gated_by_parts, gated)],
)
def test_parts_are_coupled_as_unpacked_ones(function, spelled_out):
    ours = LivingModel(Written(function), noise(3, 4)).group("into")
    theirs = LivingModel(Written(spelled_out), noise(3, 4)).group("into")
    assert (ours.size, ours.frozen) == (theirs.size, theirs.frozen)
    for mine, other in zip(ours.members, theirs.members, strict=True):
        assert (mine.tensor, mine.dim, mine.role) == (other.tensor, other.dim, other.role)
        assert mine.units.tolist() == other.units.tolist()


def test_made_tensor_freezes_what_it_meets():
    group = LivingModel(Written(zeros), noise(3, 4)).group("into")
    assert group.frozen is not None and "`zeros`" in group.frozen


def test_random_numbers_of_traced_sizes_are_drawn_at_every_call():
    living = LivingModel(Written(random), noise(3, 4))
    assert not torch.equal(living(noise(3, 4)), living(noise(3, 4)))


def test_chunk_that_gives_fewer_parts_is_refused():
    """Six channels in four chunks are three chunks of two."""

    def fewer(self, h):
        return torch.cat(list(h.chunk(4, 1)), 1)

    with pytest.raises(TraceError, match=r"IndexError: tuple index out of range.*fewer parts"):
        LivingModel(Written(fewer), noise(3, 4))


def test_chunk_that_gives_fewer_parts_is_seen_when_unpacked():
    def unpacked(self, h):
        first, second, third = h.chunk(4, 1)
        return torch.cat([third, second, first], 1)

    model = Written(unpacked)
    assert_equal_tensors(LivingModel(model, noise(3, 4))(noise(3, 4)), model(noise(3, 4)))


@pytest.mark.parametrize(
    ("call", "count"),
    [
        (lambda x: x.chunk(3), 3),
        (lambda x: torch.chunk(x, 3, 1), 3),
        (lambda x: torch.chunk(input=x, chunks=3), 3),
        (lambda x: x.split([1, 2, 3], 1), 3),
        (lambda x: torch.split(x, split_size_or_sections=(1, 2)), 2),
        (lambda x: x.split_with_sizes([1, 2]), 2),
        (lambda x: x.tensor_split(4), 4),
        (lambda x: x.tensor_split((1, 2)), 3),
        (lambda x: torch.tensor_split(x, indices=(1, 2)), 3),
        (lambda x: x.split(2), None),
        (lambda x: x.chunk(x.size(1)), None),
        (lambda x: x.unbind(1), None),
        (lambda x: x.relu(), None),
    ],
)
def test_num_parts_is_what_the_call_says(call, count):
    tracer = LeafTracer(())
    tracer.graph = torch.fx.Graph(tracer_cls=partial(LeafTracer, ()))
    outcome = call(tracer.create_proxy("placeholder", "x", (), {}))
    assert isinstance(outcome, Proxy)
    assert num_parts(outcome.node) == count


def iterates(self, h):
    return torch.stack(list(h.unbind(1)), 1)


def splits_samples(self, h):
    return torch.cat([part.relu() for part in h.split(1, dim=-2)])


def measures(self, h):
    return h * len(h)


def counts(self, h):
    for _ in range(h.size(1)):
        h = h + 1
    return h


def assigns(self, h):
    h[:, 0] = 0
    return h


def floats(self, h):
    return h * float(h.mean())


def decides(self, h):
    return h if h.sum() > 0 else -h


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    ("function", "rewrite"),
    [
        (iterates, "Unpack the parts into names, .*: a, b = x.unbind"),
        (splits_samples, "Unpack the parts into names"),
        (measures, r"Write x.size\(0\) for len\(x\)"),
        (counts, r"Make tensors of x's sizes with x.new_zeros\(.*no loops over sizes"),
        (assigns, r"Write torch.where\(...\)"),
        (floats, r"Keep it a tensor: x.mean\(\) for float"),
        (decides, ""),
    ],
)
def test_error_names_the_line_and_the_rewrite(function, rewrite, nested):
    model = Written(function)
    whole = nn.Sequential(nn.Linear(4, 4), model) if nested else model
    lines, first = inspect.getsourcelines(function)
    with pytest.raises(TraceError, match=f"(?i){rewrite}") as caught:
        LivingModel(whole, noise(3, 4))
    message = str(caught.value)
    (line,) = re.findall(rf"{re.escape(__file__)}:(\d+) \(", message)
    assert first < int(line) < first + len(lines)
    assert ("leaves=('1',)" in message) if nested else ("own forward fails at" in message)
