"""The law that every edit must keep, on every growable group of every family.

Preservation is measured here, by forward passes of the test's own in train and in eval mode with
dropout from one seed, and never taken from `change.max_error`.
"""

import copy
import json
import random
from collections.abc import Iterable, Iterator

import pytest
import torch
from families import Family, tensors
from sampled import families
from seeding import seed_
from tolerance import (
    Inputs,
    Outputs,
    assert_same_outputs,
    built,
    example_of,
    outputs,
    relative_error,
)
from torch import Tensor, nn

from neuroexapt import (
    Activate,
    Attend,
    Change,
    Connect,
    Deepen,
    Edit,
    EditError,
    LivingModel,
    Prune,
    Settle,
    Split,
    Widen,
    replay,
)
from neuroexapt.edits import dump_edits, load_edits
from neuroexapt.edits.activate import CANDIDATES, activations
from neuroexapt.graph import Inputs as Probe
from neuroexapt.graph import Role


class Subject:
    """A family's living model, and what it must go on computing."""

    def __init__(self, family: Family, dtype: torch.dtype = torch.float64) -> None:
        self.inputs: Inputs = example_of(family, dtype)
        model = built(family, dtype)
        self.expected: Outputs = outputs(model, self.inputs)
        self.living = LivingModel(model, self.inputs)
        self.random = random.Random(family.name)

    @property
    def growable(self) -> list[str]:
        return [group.name for group in self.living.groups if group.frozen is None]

    def some_growable(self, count: int) -> list[str]:
        """A sample of the growable groups."""
        return self.random.sample(self.growable, min(count, len(self.growable)))

    def apply(self, edit: Edit, **options) -> Change:
        """Apply an edit and check everything that holds for any edit."""
        old = self.living.graph_module
        before = num_parameters(old)
        change = self.living.apply(edit, seed=self.random.randrange(10**6), **options)
        assert self.living.edits[-1] == edit
        assert (change.params_before, change.params_after) == (before, num_parameters(self.living))
        assert num_parameters(old) == before
        self.living.graph_module.graph.lint()
        assert_counts_agree(self.living)
        return change

    def preserve(self, edit: Edit, **options) -> Change:
        """Apply an edit that must keep the function, and check that it does."""
        change = self.apply(edit, **options)
        assert_same_outputs(outputs(self.living, self.inputs), self.expected)
        return change


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())


def assert_counts_agree(model: nn.Module) -> None:
    """The numbers that layers keep about themselves are those of their tensors."""
    for name, module in model.named_modules():
        match module:
            case nn.Linear():
                counts = (module.out_features, module.in_features)
                assert counts == tuple(module.weight.shape), name
            case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
                counts = (module.out_channels, module.in_channels // module.groups)
                assert counts == tuple(module.weight.shape[:2]), name
            case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
                counts = (module.in_channels, module.out_channels // module.groups)
                assert counts == tuple(module.weight.shape[:2]), name
            case nn.modules.batchnorm._NormBase():
                tensors = [t for t in (module.weight, module.running_mean) if t is not None]
                assert all(len(t) == module.num_features for t in tensors), name
            case nn.GroupNorm():
                assert module.weight is None or len(module.weight) == module.num_channels, name
                assert module.num_channels % module.num_groups == 0, name
            case nn.Embedding():
                counts = (module.num_embeddings, module.embedding_dim)
                assert counts == tuple(module.weight.shape), name
            case nn.PReLU():
                assert module.num_parameters == len(module.weight), name


def gradients(subject: Subject) -> dict[int, Tensor]:
    """Absolute gradients by the parameter's identity, over some losses and dropout masks.

    In train mode; the losses are random combinations of all outputs.
    """
    twin = copy.deepcopy(subject.living).train()
    for seed in range(3):
        seed_(seed)
        found = tensors(twin(*(x.clone() for x in subject.inputs)))
        sum((t * torch.randn_like(t)).sum() for t in found).backward()
    names = dict(subject.living.named_parameters())
    return {id(p): twin.get_parameter(name).grad.abs() for name, p in names.items()}


def share_of_learners(subject: Subject, name: str, newborns: range) -> float:
    """The share of newborn units with a gradient in what makes them or in what reads them."""
    grads = gradients(subject)
    parameters = dict(subject.living.named_parameters())
    learners: set[int] = set()
    for member in subject.living.group(name).members:
        if member.role is not Role.PASSENGER and member.tensor in parameters:
            grad = grads[id(parameters[member.tensor])].movedim(member.dim, 0).flatten(1)
            learners |= set(member.units[(grad != 0).any(1).cpu().numpy()].tolist())
    return len(learners & set(newborns)) / len(newborns)


@families(0, 2)
def test_group_edits_preserve_in_float64(family):
    """Split, widen in two ways and prune what is still silent: on every growable group in turn."""
    subject = Subject(family)
    for name in subject.growable:
        size = subject.living.group(name).size
        units = tuple(subject.random.sample(range(size), min(size, 2)))
        subject.preserve(Split(group=name, units=units), check=False)
        size += len(units)
        subject.preserve(Widen(group=name, count=1), check=False)
        subject.preserve(Prune(group=name, units=(size,)), check=False)
        subject.preserve(Widen(group=name, count=2, init="paired"), check=False)
        group = subject.living.group(name)
        assert group.frozen is None
        assert group.size == size + 2


@families(5, 8)
def test_group_edits_preserve_in_float32(family):
    """Likewise in float32, each edit against the outputs just before it: rounding adds up."""
    subject = Subject(family, torch.float32)
    for name in subject.some_growable(2):
        for edit in (
            Split(group=name, units=(0,)),
            Widen(group=name, count=1),
            Prune(group=name, units=(subject.living.group(name).size + 1,)),
            Widen(group=name, count=2, init="paired"),
        ):
            subject.expected = outputs(subject.living, subject.inputs)
            subject.preserve(edit, check=False)


@families(3, 8)
def test_newborn_units_learn_at_the_first_step(family):
    """Random units may be born behind a rectifier that is shut, but not all four of them."""
    subject = Subject(family)
    for name in subject.some_growable(2):
        for edit in (Split(group=name, units=(0,)), Widen(group=name, count=4)):
            size = subject.living.group(name).size
            subject.living.apply(edit, check=False)
            newborns = range(size, subject.living.group(name).size)
            assert share_of_learners(subject, name, newborns) > 0, edit


@families(1, 4)
def test_edit_reports_the_error_that_it_makes(family):
    """Pruning live units with consent: the report is what the outputs of both models say."""
    subject = Subject(family)
    for name in subject.some_growable(2):
        if subject.living.group(name).size > 1:
            expected = outputs(subject.living, subject.inputs, seed=0)
            edit = Prune(group=name, units=(0,), preserving=False)
            change = subject.apply(edit, probe=Probe(subject.inputs, {}))
            actual = outputs(subject.living, subject.inputs, seed=0)
            error = max(relative_error(actual[mode], expected[mode]) for mode in (True, False))
            assert change.max_error == pytest.approx(error, rel=1e-6)


def places(subject: Subject, count: int) -> list[str]:
    """A sample of the model's own nodes."""
    names = [name for name in dict.fromkeys(subject.living.nodes) if not name.startswith("edit")]
    return subject.random.sample(names, min(count, len(names)))


@families(1, 8)
def test_deepen_preserves_wherever_it_is_accepted(family):
    """What it refuses, it refuses for a reason, and not because the function would change."""
    subject, changes = Subject(family), []
    for form in ("residual", "bottleneck", "inverted", "identity"):
        for name in places(subject, 3):
            try:
                changes.append(subject.preserve(Deepen(after=name, form=form), check=False))
            except EditError as error:
                assert "would change" not in str(error)
    grads = gradients(subject)
    for change in changes:
        assert any(grads[id(item.new)].any() for item in change.ancestry)


@families(2, 4)
def test_connect_preserves_wherever_it_is_accepted(family):
    subject, changes = Subject(family), []
    for _ in range(6):
        (source,), (target,) = places(subject, 1), places(subject, 1)
        try:
            edit = Connect(source=source, target=target)
            changes.append(subject.preserve(edit, check=False))
        except EditError as error:
            assert "would change" not in str(error)
    grads = gradients(subject)
    for change in changes:
        (item,) = change.ancestry
        assert grads[id(item.new)].any()


@families(4, 8)
def test_attend_preserves_wherever_it_is_accepted(family):
    subject, changes = Subject(family), []
    for name in places(subject, 3):
        (source,) = places(subject, 1)
        for edit in (
            Attend(after=name, form="channels"),
            Attend(after=name, source=source),
            Attend(after=name, form="positions"),
        ):
            try:
                changes.append(subject.preserve(edit, check=False))
            except EditError as error:
                assert "would change" not in str(error)
    grads = gradients(subject)
    for change in changes:
        assert any(grads[id(item.new)].any() for item in change.ancestry)


@families(3, 4)
def test_activate_preserves_and_settles(family):
    """Activations towards every candidate in turn; back again is exact, forth is not."""
    subject = Subject(family)
    names = activations(subject.living)
    accepted = []
    for index, name in enumerate(subject.random.sample(names, min(len(names), 6))):
        to = list(CANDIDATES)[index % len(CANDIDATES)]
        try:
            accepted.append(subject.preserve(Activate(node=name, to=to), check=False))
        except EditError as error:
            assert "would change" not in str(error)
    grads = gradients(subject)
    assert not accepted or any(grads[id(c.ancestry[0].new)].any() for c in accepted)
    for change in reversed(accepted):
        blend = change.ancestry[0].name.removesuffix(".amount")
        with pytest.raises(EditError, match="not every channel's amount is 1"):
            subject.living.apply(Settle(blend=blend, keep="second"))
        subject.preserve(Settle(blend=blend, keep="first"), check=False)
    assert activations(subject.living) == names
    assert not [name for name in subject.living.nodes if name.startswith("edit")]


def loss_of(subject: Subject):
    """A loss for the gradients of `Widen(init="gradmax")`, in eval mode."""

    def loss(model: nn.Module) -> Tensor:
        found = model.eval()(*subject.inputs)
        return sum((t.square() * torch.arange(1.0, 1 + t.shape[-1])).sum() for t in tensors(found))

    return loss


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@families(6, 8)
def test_gradmax_preserves(family, dtype):
    subject = Subject(family, dtype)
    for name in subject.some_growable(3):
        subject.expected = outputs(subject.living, subject.inputs)
        widen = Widen(group=name, count=1, init="gradmax")
        subject.preserve(widen, check=False, loss=loss_of(subject))


def first_accepted(subject: Subject, edits: Iterable[Edit]) -> None:
    """Apply the first of the edits that fits the model; some models have no place for any."""
    for edit in edits:
        try:
            subject.preserve(edit)
            return
        except EditError as error:
            assert "would change" not in str(error)


def grow(subject: Subject) -> Iterator[None]:
    """One edit of each kind in random places and forms, each with its own check as well."""

    def group() -> str:
        return subject.random.choice(subject.growable)

    if subject.growable:
        yield subject.preserve(Split(group=group(), units=(0,)))
        init = subject.random.choice(("random", "paired", "gradmax"))
        widen = Widen(group=(name := group()), count=2, init=init)
        yield subject.preserve(widen, loss=loss_of(subject))
        if init != "paired":
            last = subject.living.group(name).size - 1
            yield subject.preserve(Prune(group=name, units=(last,)))
    form = subject.random.choice(("residual", "bottleneck", "inverted", "identity"))
    yield first_accepted(subject, [Deepen(after=name, form=form) for name in places(subject, 4)])
    pairs = [(places(subject, 1)[0], places(subject, 1)[0]) for _ in range(4)]
    yield first_accepted(subject, [Connect(source=a, target=b) for a, b in pairs])
    form = subject.random.choice(("channels", "positions"))
    yield first_accepted(subject, [Attend(after=name, form=form) for name in places(subject, 3)])
    yield first_accepted(
        subject, [Activate(node=name, to="gelu") for name in activations(subject.living)]
    )
    if subject.living.edits and (last := subject.living.edits[-1]).kind == "activate":
        blend = f"edit{len(subject.living.edits) - 1}.blend"
        yield subject.preserve(Settle(blend=blend, keep="first"))
        yield subject.preserve(last)
    if subject.growable:
        yield subject.preserve(Split(group=group(), units=(0,)))


@families(7, 8)
def test_lineage_persists_and_replays(family):
    """Old graphs go on computing what they did, and the edits rebuild what they led to."""
    subject = Subject(family)
    olds = [subject.living.graph_module]
    for _ in grow(subject):
        olds.append(subject.living.graph_module)
    for old in olds[::4]:
        assert_same_outputs(outputs(old, subject.inputs), subject.expected)

    edits = load_edits(json.loads(json.dumps(dump_edits(subject.living.edits))))
    assert edits == subject.living.edits
    twin = replay(built(family, seed=1), subject.inputs, edits)
    twin.load_state_dict(subject.living.state_dict())
    assert_same_outputs(
        outputs(twin, subject.inputs), outputs(subject.living, subject.inputs), tolerance=0.0
    )
    assert [(g.name, g.size, g.frozen) for g in twin.groups] == [
        (g.name, g.size, g.frozen) for g in subject.living.groups
    ]
    assert twin.cost() == subject.living.cost()
    assert twin.edits == subject.living.edits
