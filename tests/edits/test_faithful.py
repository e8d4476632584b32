"""Models out of the ordinary: what edits must not lose, couple or silence."""

import copy
import operator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroexapt import (
    Activate,
    Connect,
    Deepen,
    EditError,
    LivingModel,
    Split,
    Widen,
)
from neuroexapt.graph import as_inputs
from neuroexapt.graph.latency import latency_ms


def rows(count: int = 8, width: int = 4) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(1))


class Function(nn.Module):
    """Parts, and what is done with them."""

    def __init__(self, forward: Any, **parts: Any) -> None:
        super().__init__()
        self.function = forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.function(self, x) if mask is None else self.function(self, x, mask)


def mlp(*widths: int) -> nn.Sequential:
    torch.manual_seed(0)
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*parts[:-1])


def test_split_of_a_deep_network_is_exact_in_float32() -> None:
    """Its rounding is amplified beyond the tolerance, so that float64 decides."""
    torch.manual_seed(0)
    parts: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1)]
    for _ in range(32):
        parts += [nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
    model = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
    living = LivingModel(model, torch.randn(2, 3, 6, 6))
    change = living.apply(Split(group="0", units=(0, 3)))
    assert change.max_error is not None
    assert change.max_error <= (1e-5 if change.checked_in == "float32" else 1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_shares_of_twins_add_up_exactly(dtype: torch.dtype) -> None:
    living = LivingModel(mlp(4, 6, 64).to(dtype), rows().to(dtype))
    before = living.get_parameter("2.weight").detach().clone()
    living.apply(Split(group="0", units=(1, 4)), check=False)
    after = living.get_parameter("2.weight").detach().double()
    assert torch.equal(after[:, [1, 4]] + after[:, [6, 7]], before[:, [1, 4]].double())
    assert bool((after[:, [1, 4]] != after[:, [6, 7]]).any())


@pytest.mark.parametrize("units", [(0,), (0, 1, 2, 3, 4, 5)])
def test_split_before_a_head_that_starts_at_zero(units: tuple[int, ...]) -> None:
    model = mlp(4, 6, 2)
    nn.init.zeros_(model[2].weight)
    nn.init.zeros_(model[2].bias)
    assert LivingModel(model, rows()).apply(Split(group="0", units=units)).max_error <= 1e-5


class Bound(nn.Linear):
    """Keeps its own method, and a list of parts, beside its parameters."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.call = self.multiply
        self.later = partial(Bound.multiply, self)

    def multiply(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


class Pair(nn.Module):
    """Calls its parts by a list that isn't a ModuleList."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.parts = [first, (second, {"again": second})]

    def forward(self, x: Tensor) -> Tensor:
        return self.parts[1][0](F.relu(self.parts[0](x)))


def test_what_a_layer_keeps_of_itself_follows_it() -> None:
    model = nn.Sequential(Bound(4, 6), nn.ReLU(), nn.Linear(6, 2))
    living = LivingModel(model, rows(), leaves=("0",))
    living.apply(Widen(group="0", count=2))
    made = living.get_submodule("0")
    assert made.call.__self__ is made
    assert made.later.args == (made,)
    torch.testing.assert_close(made.call(rows()), made(rows()))


def test_parts_in_a_plain_list_follow_their_module() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Pair(nn.Linear(6, 5), nn.Linear(5, 2)))
    living = LivingModel(model, rows())
    living.apply(Split(group="0", units=(1,)))
    living(rows()).sum().backward()
    assert all(parameter.grad is not None for parameter in living.parameters())


def test_layer_with_a_forward_of_its_own_is_frozen() -> None:
    model = mlp(4, 6, 2)
    model[0].forward = partial(lambda layer, x: F.linear(x, layer.weight).softmax(1), model[0])
    (first, *_) = LivingModel(model, rows()).groups
    assert first.frozen is not None
    assert "no rule" in first.frozen


def test_weights_that_are_tied_to_the_outside_are_frozen() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 6))
    parent = Function(lambda net, x: net.head(net.body(x)), body=body, head=nn.Linear(6, 10))
    parent.head.weight = body[0].weight
    living = LivingModel.within(parent, "body", torch.randint(10, (4, 3)))
    reasons = {group.name: group.frozen for group in living.groups}
    assert reasons["0"] == "a weight of it is tied to one outside of the part that is living"
    living.apply(Widen(group="1", count=1))
    assert parent.head.weight is living.get_parameter("0.weight")
    assert copy.deepcopy(living).group("0").frozen == reasons["0"]


def test_notes_on_parameters_stay_and_lost_hooks_are_told() -> None:
    model = mlp(4, 6, 2)
    model[0].weight.no_decay = True
    model[2].weight.register_hook(lambda gradient: gradient * 0)
    living = LivingModel(model, rows())
    with pytest.warns(UserWarning, match=r"the hooks on 2\.weight were for the old shape"):
        living.apply(Widen(group="0", count=1))
    assert living.get_parameter("0.weight").no_decay


def test_what_a_user_adds_to_a_living_model_stays() -> None:
    living = LivingModel(mlp(4, 6, 2), rows())
    living.log_sigma = nn.Parameter(torch.ones(3))
    living.aux = nn.Linear(2, 2)
    living.register_buffer("count", torch.zeros(1), persistent=False)
    names = set(living.state_dict())
    living.apply(Widen(group="0", count=1))
    living.apply(Deepen(after="1"))
    assert names <= set(living.state_dict())
    assert living.log_sigma.sum() == 3
    assert "count" in dict(living.named_buffers())
    assert "count" not in living.state_dict()


def test_dropout_can_stay_on_in_eval_mode() -> None:
    living = LivingModel(
        nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.ReLU(), nn.Linear(6, 2)), rows()
    )
    living.apply(Split(group="0", units=(0,)))
    living.eval()
    assert torch.equal(living(rows()), living(rows()))
    for module in living.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    assert not torch.equal(living(rows()), living(rows()))


def test_candidate_sees_what_was_written_into_the_activations_input() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        z = net.a(x)
        z.add_(net.b(x))
        return net.last(net.act(z))

    torch.manual_seed(0)
    parts = {"a": nn.Linear(4, 6), "b": nn.Linear(4, 6), "act": nn.ReLU(), "last": nn.Linear(6, 2)}
    model = Function(forward, **parts)
    living = LivingModel(model, rows())
    living.apply(Activate(node="act", to="tanh"))
    with torch.no_grad():
        living.graph_module.edit0.blend.amount.fill_(1.0)
    expected = model.last(torch.tanh(model.a(rows()) + model.b(rows())))
    torch.testing.assert_close(living(rows()), expected)


def scaled(scale: nn.Module | nn.Parameter) -> nn.Module:
    """A residual branch that starts as nothing."""

    def forward(net: Any, x: Tensor) -> Tensor:
        x = net.stem(x)
        branch = net.second(F.relu(net.first(x)))
        branch = scale(branch) if isinstance(scale, nn.Module) else branch * net.scale
        return net.last(x + branch)

    torch.manual_seed(0)
    layers = {"stem": (4, 6), "first": (6, 5), "second": (5, 6), "last": (6, 2)}
    parts = {name: nn.Linear(*sizes) for name, sizes in layers.items()}
    if isinstance(scale, nn.Module):
        nn.init.zeros_(scale.weight)
        return Function(lambda net, x: forward_with(net, x), norm=scale, **parts)
    return Function(forward, scale=scale, **parts)


def forward_with(net: Any, x: Tensor) -> Tensor:
    x = net.stem(x)
    return net.last(x + net.norm(net.second(F.relu(net.first(x)))))


@pytest.mark.parametrize("scale", [nn.BatchNorm1d(6), nn.Parameter(torch.zeros(1))])
@pytest.mark.parametrize("edit", [Deepen(after="relu"), Connect(source="stem", target="second")])
def test_branch_with_a_zero_scale_is_silent(scale: Any, edit: Any) -> None:
    living = LivingModel(scaled(copy.deepcopy(scale)), rows())
    with pytest.raises(EditError, match="silenced by a layer whose weights are all zero"):
        living.apply(edit)


def test_widening_what_only_frozen_layers_read_is_refused() -> None:
    model = mlp(4, 6, 2)
    model[2].requires_grad_(False)
    living = LivingModel(model, rows())
    with pytest.raises(EditError, match=r"what reads '0' is frozen \(2\.weight\)"):
        living.apply(Widen(group="0", count=2))
    living.apply(Widen(group="0", count=2, init="paired"))
    assert living.group("0").size == 8


def test_newborn_channels_of_a_fixed_filter_have_it_too() -> None:
    torch.manual_seed(0)
    blur = nn.Conv2d(4, 4, 2, groups=4, bias=False)
    del blur.weight
    blur.register_buffer("weight", torch.full((4, 1, 2, 2), 0.25))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    living = LivingModel(nn.Sequential(nn.Conv2d(1, 4, 3), blur, *head), torch.randn(2, 1, 6, 6))
    living.apply(Widen(group="0", count=2))
    assert torch.equal(living.get_submodule("1").weight, torch.full((6, 1, 2, 2), 0.25))


@pytest.mark.parametrize(
    "cast",
    [
        lambda net, x: net.last(net.a(x).type_as(net.scale)) + net.b(x).to(x),
        lambda net, x: net.last(net.a(x).to(net.b(x))) + net.b(x),
        lambda net, x: net.last(net.a(x) + net.scale.type_as(x)) + net.b(x),
    ],
)
def test_casts_couple_nothing(cast: Any) -> None:
    torch.manual_seed(0)
    parts = {"a": nn.Linear(4, 6), "b": nn.Linear(4, 6), "last": nn.Linear(6, 6)}
    living = LivingModel(Function(cast, scale=nn.Parameter(torch.ones(1)), **parts), rows())
    assert living.group("a").frozen is None
    living.apply(Widen(group="a", count=1))
    assert living.get_submodule("b").out_features == 6


def test_size_of_an_untracked_tensor_that_would_follow_freezes() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        h = net.a(x)
        b, t, c = h.shape
        mixed = torch.bmm(h.transpose(1, 2), h).bmm(net.b(x).transpose(1, 2))
        return net.last(mixed.transpose(1, 2).reshape(b, t, c))

    torch.manual_seed(0)
    model = Function(forward, a=nn.Linear(4, 6), b=nn.Linear(4, 6), last=nn.Linear(6, 2))
    living = LivingModel(model, torch.randn(2, 5, 4))
    for group in living.groups:
        if group.frozen is None:
            copy.deepcopy(living).apply(Widen(group=group.name, count=1))


def test_new_parts_are_of_the_type_that_they_read() -> None:
    def forward(net: Any, x: Tensor) -> Tensor:
        return net.last(net.body(net.stem(x).to(torch.bfloat16)).relu().float())

    torch.manual_seed(0)
    body = nn.Linear(6, 6).to(torch.bfloat16)
    model = Function(forward, stem=nn.Linear(4, 6), body=body, last=nn.Linear(6, 2))
    living = LivingModel(model, rows())
    living.apply(Deepen(after="body"), check=False)
    dtypes = {n: p.dtype for n, p in living.named_parameters() if n.startswith("edit0")}
    assert set(dtypes.values()) == {torch.bfloat16}
    living(rows()).sum().backward()


def test_latency_takes_one_sample_of_what_has_samples() -> None:
    def forward(net: Any, x: Tensor, mask: Tensor) -> Tensor:
        return net.last(F.scaled_dot_product_attention(x, x, x, attn_mask=mask).mean(1))

    model = Function(forward, last=nn.Linear(4, 2))
    assert latency_ms(model, as_inputs((torch.randn(3, 5, 4), torch.zeros(5, 5)))) > 0


def test_muon_gets_no_filters() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    model[0].requires_grad_(False)
    living = LivingModel(model, torch.randn(2, 1, 6, 6))
    matrices = [living.get_parameter("4.weight")]
    muon = torch.optim.Muon(matrices, lr=0.1)
    with pytest.warns(UserWarning, match="no given optimiser trains"):
        living.apply(Deepen(after="1"), muon)
    living(torch.randn(2, 1, 6, 6)).sum().backward()
    muon.step()
    assert all(parameter.ndim == 2 for parameter in muon.param_groups[0]["params"])


@pytest.mark.parametrize(
    ("kind", "key", "first"), [("Rprop", "step_size", 0.1), ("Adagrad", "sum", 0.3)]
)
def test_state_of_newborn_positions_begins_as_the_optimisers_own(
    kind: str, key: str, first: float
) -> None:
    settings = {"lr": 0.1} | ({"initial_accumulator_value": 0.3} if kind == "Adagrad" else {})
    living = LivingModel(mlp(4, 6, 2), rows())
    optimizer = getattr(torch.optim, kind)(living.parameters(), **settings)
    for _ in range(3):
        optimizer.zero_grad()
        living(rows()).square().sum().backward()
        optimizer.step()
    before = optimizer.state[living.get_parameter("0.weight")][key].clone()
    living.apply(Widen(group="0", count=2), optimizer)
    after = optimizer.state[living.get_parameter("0.weight")][key]
    assert torch.equal(after[:6], before)
    assert torch.equal(after[6:], torch.full((2, 4), first))


def test_small_weights_in_half_precision_have_small_newborns() -> None:
    model = mlp(4, 6, 2)
    nn.init.normal_(model[0].weight, std=1e-4)
    living = LivingModel(model.half(), rows().half())
    living.apply(Widen(group="0", count=4), check=False)
    assert living.get_parameter("0.weight")[6:].abs().max() < 1e-3


def test_products_are_told_from_sums() -> None:
    """A parameter that is zero silences what it is multiplied by, not what it is added to."""
    torch.manual_seed(0)
    for combine, is_refused in ((operator.add, False), (operator.mul, True)):
        model = Function(
            lambda net, x, combine=combine: net.last(combine(net.a(x).relu(), net.shift)),
            a=nn.Linear(4, 6),
            shift=nn.Parameter(torch.zeros(6)),
            last=nn.Linear(6, 2),
        )
        living = LivingModel(model, rows())
        if is_refused:
            with pytest.raises(EditError, match="silenced"):
                living.apply(Deepen(after="a"))
        else:
            living.apply(Deepen(after="a"))
