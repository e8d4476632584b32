"""Every refused edit says why and what to do; model and optimiser are exactly as they were."""

import copy
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from tolerance import outputs
from torch import Tensor, nn

from neuroexapt import (
    Connect,
    Deepen,
    Edit,
    EditError,
    LimitError,
    LivingModel,
    Prune,
    Split,
    TraceError,
    Widen,
    replay,
)
from neuroexapt.edits import load_edits


class Net(nn.Module):
    """A residual convolution net with a head that is frozen, and places of many shapes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.mix = nn.Conv2d(6, 6, 3, padding=1)
        self.down = nn.Conv2d(6, 8, 3, stride=2, padding=1)
        self.gelu = nn.GELU()
        self.softmax = nn.Softmax(dim=1)
        self.drop = nn.Dropout(0.3)
        self.hidden = nn.Linear(8, 10)
        self.head = nn.Linear(10, 4)

    def forward(self, x):
        x = self.relu(self.norm(self.stem(x)))
        x = x + self.mix(x)
        x = self.gelu(self.down(x))
        x = self.softmax(x.mean((2, 3)))
        return self.head(self.drop(self.hidden(x)))


INPUTS = (torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)),)


def subject() -> tuple[LivingModel, torch.optim.Optimizer]:
    """A model that has been edited and trained, and its optimiser."""
    living = LivingModel(Net(), INPUTS)
    vectors = [p for p in living.parameters() if p.ndim < 2]
    matrices = [p for p in living.parameters() if p.ndim >= 2]
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0}])
    living.apply(Split(group="hidden", units=(0,)), optimizer)
    for _ in range(2):
        living(*INPUTS).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    return living, optimizer


def snapshot(living: LivingModel, optimizer: torch.optim.Optimizer) -> object:
    """Everything that could have changed, by identity and by value."""
    parts = [(name, id(part), part.training) for name, part in living.named_modules()]
    tensors = [
        (name, id(t), t.requires_grad, t.tolist())
        for name, t in (*living.named_parameters(), *living.named_buffers())
    ]
    groups = [(g.name, g.size, g.frozen, len(g.members)) for g in living.groups]
    state = [
        (id(p), {k: v.tolist() if isinstance(v, Tensor) else v for k, v in s.items()})
        for p, s in optimizer.state.items()
    ]
    settings = [
        {k: [id(p) for p in v] if k == "params" else v for k, v in group.items()}
        for group in optimizer.param_groups
    ]
    graph = (id(living.graph_module), str(living.graph_module.graph), living.edits, living.nodes)
    given = {mode: [t.tolist() for t in ts] for mode, ts in outputs(living, INPUTS).items()}
    return parts, tensors, groups, state, settings, graph, living.cost(), given


REFUSED: dict[str, tuple[Edit, str]] = {
    "unknown group": (
        Split(group="steam", units=(0,)),
        r"no channel group 'steam'; the nearest are 'stem'",
    ),
    "unknown group of another kind": (
        Widen(group="layer9", count=1),
        r"no channel group 'layer9'; the nearest are 'stem', ",
    ),
    "name of a coupled layer": (
        Widen(group="mix", count=1),
        "no channel group 'mix'; it is coupled to the group 'stem'",
    ),
    "unit too large": (
        Split(group="stem", units=(0, 6)),
        r"unit 6 is out of range: the group 'stem' has 6 units, 0\.\.5",
    ),
    "negative unit": (Prune(group="stem", units=(-1,)), "unit -1 is out of range"),
    "unit twice": (Split(group="stem", units=(2, 3, 2)), "name one twice"),
    "no unit": (Split(group="stem", units=()), "no units given for the group 'stem'"),
    "frozen group": (Split(group="down", units=(0,)), "can't change its width: .*softmax"),
    "frozen output": (Widen(group="head", count=2), "can't change its width: an output"),
    "odd pairs": (Widen(group="stem", count=3, init="paired"), "count is 3, give an even one"),
    "gradmax without a loss": (Widen(group="stem", count=2, init="gradmax"), "pass loss="),
    "everything pruned": (Prune(group="stem", units=tuple(range(6))), "keep at least one"),
    "live unit pruned": (
        Prune(group="hidden", units=(1,)),
        r"outgoing weights of these units aren't zero; nothing was changed",
    ),
    "unknown node": (Deepen(after="relv"), r"no node 'relv'; the nearest are 'relu'"),
    "identity after a smooth activation": (
        Deepen(after="gelu", form="identity"),
        r"exact only after an idempotent activation \(ReLU\), and 'gelu' is none",
    ),
    "even kernel": (Deepen(after="relu", kernel_size=4), "kernel_size 4 is even; give an odd one"),
    "node without channels": (Deepen(after="x"), "can't be followed; attach to"),
    "cycle": (Connect(source="down", target="stem"), "would make a cycle: .* exchange them"),
    "onto itself": (Connect(source="stem", target="stem"), "are the same place; connect two"),
    "activation onto what it activates": (
        Connect(source="down", target="gelu"),
        "'down' and 'gelu' are the same place",
    ),
    "from a vector to a map": (Connect(source="hidden", target="down"), "cycle"),
    "to an unknown node": (Connect(source="stem", target="heads"), "the nearest are 'head'"),
}


@pytest.mark.parametrize(("edit", "message"), list(REFUSED.values()), ids=list(REFUSED))
def test_refused_edit_says_why_and_changes_nothing(edit, message):
    living, optimizer = subject()
    before, random = snapshot(living, optimizer), torch.get_rng_state()
    with pytest.raises(EditError, match=message):
        living.apply(edit, optimizer, seed=1)
    assert snapshot(living, optimizer) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_refused_model_goes_on():
    """After a refusal, training and a fitting edit work as if it hadn't been asked."""
    living, optimizer = subject()
    torch.manual_seed(0)
    twin, its_optimizer = subject()
    for edit, _ in REFUSED.values():
        with pytest.raises(EditError):
            living.apply(edit, optimizer)
    for model, optim in ((living, optimizer), (twin, its_optimizer)):
        torch.manual_seed(1)
        model.apply(Split(group="stem", units=(0,)), optim)
        model(*INPUTS).square().sum().backward()
        optim.step()
    for one, other in zip(living.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_incompatible_shapes_are_refused():
    """A map has positions that a vector lacks, and two sequences may differ in length."""

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.vector = nn.Linear(4, 6)
            self.short = nn.Linear(4, 6)
            self.long = nn.Linear(4, 6)
            self.map = nn.Conv2d(1, 6, 1)

        def forward(self, x):
            a = self.vector(x.mean(1))
            b = self.short(x[:, :3])
            c = self.long(x)
            d = self.map(x.unsqueeze(1))
            return a, b, c, d

    living = LivingModel(Both(), torch.randn(8, 5, 4))
    before = living.graph_module
    for source, target, message in (
        ("vector", "map", r"from shape \(8, 6\) to \(8, 6, 5, 4\) has no meaning"),
        ("short", "long", r"positions differ: \(8, 3\) and \(8, 5\)"),
        ("long", "short", "is computed after 'short'; exchange source and target"),
    ):
        with pytest.raises(EditError, match=message):
            living.apply(Connect(source=source, target=target))
    assert living.graph_module is before


def test_foreign_optimizer_is_refused():
    living, optimizer = subject()
    foreign = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)
    before = snapshot(living, optimizer)
    with pytest.raises(EditError, match="the SGD holds none of this model's parameters"):
        living.apply(Split(group="stem", units=(0,)), [optimizer, foreign])
    assert snapshot(living, optimizer) == before


def test_limit_refuses_before_anything_changes():
    living, optimizer = subject()
    before = snapshot(living, optimizer)

    def limit(cost) -> str | None:
        return f"{cost.params} parameters" if cost.params > living.cost().params else None

    with pytest.raises(LimitError, match=r"would exceed the limit: \d+ parameters") as caught:
        living.apply(Widen(group="stem", count=1), optimizer, limit=limit)
    assert caught.value.excess in str(caught.value)
    assert issubclass(LimitError, EditError)
    assert snapshot(living, optimizer) == before


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ("split", r"'split' is no edit; give one such as Split\(group"),
        (None, "None is no edit"),
        (Split, r"Split'> is no edit"),
        ({"kind": "split", "group": "stem", "units": (0,)}, "is no edit; give one such"),
    ],
)
def test_apply_of_no_edit_is_refused(edit: object, message: str):
    living, optimizer = subject()
    with pytest.raises(EditError, match=message):
        living.apply(edit, optimizer)


def test_apply_of_a_function_calls_it_with_every_module():
    living, _ = subject()
    seen: list[nn.Module] = []
    assert living.apply(seen.append) is living
    assert set(living.modules()) == set(seen)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda _: "adam", "'adam' is no optimizer; pass the torch.optim.Optimizer that trains"),
        (lambda _: 0, "0 is no optimizer; pass the torch.optim.Optimizer"),
        (lambda o: torch.optim.lr_scheduler.StepLR(o, 3), "a StepLR is no .*pass its .optimizer"),
        (lambda o: [o, "adam"], "'adam' is no optimizer"),
        (lambda o: o.param_groups, "a dict is no optimizer"),
    ],
)
def test_what_is_no_optimizer_is_refused(given: Callable, message: str):
    living, optimizer = subject()
    wrong = given(optimizer)
    before = snapshot(living, optimizer)
    with pytest.raises(EditError, match=message):
        living.apply(Split(group="stem", units=(0,)), wrong)
    assert snapshot(living, optimizer) == before


@pytest.mark.parametrize(
    "give", [lambda x: x, lambda x: (x,), lambda x: [x], lambda x: {"input": x}]
)
def test_probe_is_given_as_an_example_input_is(give: Callable):
    """It is what the check looks at: zeros, which every weight maps alike, hide what is pruned."""
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Tanh(), nn.Linear(6, 2))
    living = LivingModel(model, torch.randn(4, 4))
    twin = copy.deepcopy(living)
    prune = Prune(group="0", units=(0,), preserving=False)
    assert living.apply(prune, probe=give(torch.zeros(2, 4))).max_error == 0
    assert twin.apply(prune, probe=give(torch.ones(2, 4))).max_error > 0


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (3, "probe is a int; give one batch as the model gets it: a tensor"),
        (torch.zeros(2, 5, 8, 8), r"doesn't run on the probe of shapes \[\(2, 5, 8, 8\)\]"),
        ({"y": torch.zeros(2, 3, 8, 8)}, "doesn't run on the probe"),
        (torch.full((2, 3, 8, 8), torch.nan), "can't be checked: .* the probe is NaN; give probe="),
    ],
)
def test_probe_that_the_model_does_not_take_is_refused(probe: object, message: str):
    living, optimizer = subject()
    before = snapshot(living, optimizer)
    with pytest.raises(EditError, match=message):
        living.apply(Split(group="stem", units=(0,)), optimizer, probe=probe)
    assert snapshot(living, optimizer) == before


def test_consent_lets_a_live_unit_go():
    living, optimizer = subject()
    change = living.apply(Prune(group="hidden", units=(1,), preserving=False), optimizer)
    assert change.max_error > 1e-3
    assert living.group("hidden").size == 10


def test_failing_loss_is_the_callers_own():
    """An error in what the caller passed is shown as it is, and nothing has changed."""
    living, optimizer = subject()
    before = snapshot(living, optimizer)

    def loss(_: nn.Module) -> Tensor:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        living.apply(Widen(group="stem", count=1, init="gradmax"), optimizer, loss=loss)
    assert snapshot(living, optimizer) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: Widen(group="stem", count=0),
        lambda: Widen(group="stem", count=1, init="largest"),
        lambda: Split(group="stem", units=(0,), variation=0.0),
        lambda: Split(group="stem", units=("first",)),
        lambda: Split(group="stem"),
        lambda: Deepen(after="stem", hidden=0),
        lambda: Deepen(after="stem", width=3),
    ],
)
def test_record_that_no_model_fits_is_refused(make: Callable[[], Edit]):
    with pytest.raises(ValidationError):
        make()


@pytest.mark.parametrize(
    "records", [[{"kind": "shrink"}], [{"group": "stem"}], [{"kind": "split", "group": "stem"}], 3]
)
def test_saved_edits_that_are_none_are_refused(records):
    with pytest.raises(EditError, match="no edits of this version"):
        load_edits(records)


def test_replay_on_another_seed_model_is_refused():
    living, _ = subject()
    other = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU())
    with pytest.raises(EditError, match="no channel group 'hidden'"):
        replay(other, INPUTS, living.edits)


def test_errors_are_value_errors():
    assert issubclass(EditError, ValueError)
    assert issubclass(TraceError, ValueError)


@pytest.mark.parametrize(
    ("source", "target"), [("edit0.project", "6"), ("0", "edit0_pool"), ("edit1.last", "6")]
)
def test_connection_where_a_zero_layer_silences_it_is_refused(source, target):
    """Its projection is zero; with zero on the other side too it would never learn."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Conv2d(4, 5, 1),
    )
    living = LivingModel(model, torch.randn(2, 3, 8, 8))
    living.apply(Connect(source="1", target="3"))
    living.apply(Deepen(after="4"))
    before = living.graph_module
    with pytest.raises(EditError, match="silenced"):
        living.apply(Connect(source=source, target=target))
    assert living.graph_module is before
    with torch.no_grad():
        for name in ("edit0.project", "edit1.last"):
            living.get_submodule(name).weight.normal_()
    change = living.apply(Connect(source=source, target=target))
    living(torch.randn(2, 3, 8, 8)).square().sum().backward()
    assert all(bool(item.new.grad.any()) for item in change.ancestry)
    twin = replay(model, torch.randn(2, 3, 8, 8), living.edits)
    twin.load_state_dict(living.state_dict())


def test_pruning_units_that_are_only_dead_on_the_probe_is_refused():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight[2], model[0].bias[2], model[2].weight[:, 2] = 1.0, -3.5, 5.0
    living = LivingModel(model, torch.rand(4, 4))
    with pytest.raises(EditError, match="outgoing weights"):
        living.apply(Prune(group="0", units=(2,)))
    assert living.edits == ()
