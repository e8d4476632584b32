"""What an edit adds is known before it is made, and too much of it is refused."""

import pytest
import torch
from families import FAMILIES
from tolerance import built, example_of
from torch import nn

from neuroexapt import (
    Connect,
    Cost,
    Deepen,
    Edit,
    EditError,
    LimitError,
    LivingModel,
    Prune,
    Split,
    Widen,
)

FAMILY = {family.name: family for family in FAMILIES}


@pytest.mark.parametrize("name", ["mlp", "resnext", "densenet", "gated", "called_twice", "vit"])
def test_num_added_is_what_growing_adds(name: str):
    inputs = example_of(FAMILY[name])
    living = LivingModel(built(FAMILY[name]), inputs)
    growable = [group.name for group in living.groups if group.frozen is None]
    for group in growable[:4]:
        size = living.group(group).size
        for edit in (
            Widen(group=group, count=3),
            Split(group=group, units=(size - 1, 0)),
            Split(group=group, units=(size,)),
        ):
            num_added = edit.num_added(living)
            change = living.apply(edit, check=False)
            assert num_added == change.params_after - change.params_before > 0


@pytest.mark.parametrize(
    ("edit", "rest"),
    [
        # Two norm vectors of the block's 9 channels, and the last layer's bias.
        (Deepen(after="2", hidden=9, kernel_size=5), 2 * 9 + 4),
        (Deepen(after="2", form="identity"), 4),
        (Connect(source="2", target="3"), 4 * 5),
        (Prune(group="0", units=(1,), preserving=False), -(3 * 9 + 1 + 2 + 5 * 9)),
    ],
)
def test_num_added_is_never_more_than_what_an_edit_adds(edit: Edit, rest: int):
    living = LivingModel(net(), torch.zeros(2, 3, 9, 9))
    num_added = edit.num_added(living)
    change = living.apply(edit)
    assert change.params_after - change.params_before - num_added == rest


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Tanh()
    )


def subject() -> tuple[LivingModel, torch.optim.Optimizer]:
    living = LivingModel(net(), torch.randn(4, 3, 9, 9))
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1, momentum=0.9)
    living(torch.randn(4, 3, 9, 9)).square().sum().backward()
    optimizer.step()
    return living, optimizer


def snapshot(living: LivingModel, optimizer: torch.optim.Optimizer) -> object:
    state = {id(p): {k: id(v) for k, v in s.items()} for p, s in optimizer.state.items()}
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    return id(living.graph_module), living.edits, [id(p) for p in living.parameters()], state, held


HUGE = [
    *(Widen(group="0", count=count) for count in (10**11, 10**13, 10**19)),
    *(Deepen(after="2", hidden=hidden) for hidden in (10**11, 10**13, 10**19)),
    *(Deepen(after="2", kernel_size=size) for size in (10**6 + 1, 10**13 + 1)),
    Deepen(after="2", form="identity", kernel_size=10**6 + 1),
]


@pytest.mark.parametrize("edit", HUGE, ids=str)
def test_absurd_sizes_are_refused(edit: Edit):
    living, optimizer = subject()
    before = snapshot(living, optimizer)
    with pytest.raises(EditError, match=r"parameters, .* GiB, and the cpu has \d+ GiB; add less"):
        living.apply(edit, optimizer)
    assert snapshot(living, optimizer) == before


@pytest.mark.parametrize("edit", HUGE, ids=str)
def test_limit_is_asked_before_anything_is_built(edit: Edit):
    living, optimizer = subject()
    before = snapshot(living, optimizer)
    asked: list[Cost] = []

    def limit(cost: Cost) -> str | None:
        asked.append(cost)
        return f"{cost.params:,} parameters, budget 1,000" if cost.params > 1000 else None

    with pytest.raises(LimitError, match=r"exceed the limit: [\d,]+ parameters, budget 1,000"):
        living.apply(edit, optimizer, limit=limit)
    assert len(asked) == 1
    assert snapshot(living, optimizer) == before


def test_pruning_below_a_limit_that_is_passed_already_is_allowed():
    living, _ = subject()
    most = living.cost().params - 5
    prune = Prune(group="0", units=(1,), preserving=False)
    living.apply(prune, limit=lambda cost: "too many" if cost.params > most else None)
    assert living.cost().params <= most


class Unmeasured(Widen):
    """Doesn't tell beforehand how much it adds."""

    def num_added(self, living: LivingModel) -> int:
        return 0


class Greedy(Widen):
    """Asks torch for memory, not numpy."""

    def rewrite(self, living, context):
        torch.empty(10**14)
        return super().rewrite(living, context)


@pytest.mark.parametrize("edit", [Unmeasured(group="0", count=10**13), Greedy(group="0", count=1)])
def test_running_out_of_memory_is_a_refusal(edit: Edit):
    living, optimizer = subject()
    before = snapshot(living, optimizer)
    with pytest.raises(
        EditError, match=r"there is no memory for .* add less.* Nothing was changed"
    ):
        living.apply(edit, optimizer)
    assert snapshot(living, optimizer) == before


def test_state_that_can_not_be_carried_leaves_everything_as_it_was():
    """The optimiser changes only when all of its new state is there."""
    living, optimizer = subject()
    last = optimizer.state[living.get_parameter("3.weight")]
    last["momentum_buffer"] = last["momentum_buffer"].to_sparse()
    before = snapshot(living, optimizer)
    with pytest.raises(NotImplementedError):
        living.apply(Split(group="0", units=(0,)), optimizer)
    assert snapshot(living, optimizer) == before
