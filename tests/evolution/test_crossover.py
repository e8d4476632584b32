"""Crossover: the network keeps its function and gets what applies of the other lineage."""

import pytest
import torch
from grown_nets import grown, net, relative_error

from neuroexapt.edits import Attend, Connect, Deepen, Prune, Split, Widen
from neuroexapt.evolution import structure_key, transplant
from neuroexapt.graph import Cost


def test_transplant_adds_what_the_other_has_and_keeps_the_function() -> None:
    mother = grown(Widen(group="0", count=2)).eval()
    x = torch.randn(4, 3, 8, 8)
    before = mother(x)
    changes = transplant(mother, (Deepen(after="4"), Attend(after="2")), seed=3)
    assert [change.edit for change in changes] == [Deepen(after="4"), Attend(after="2")]
    assert relative_error(mother(x), before) < 1e-5


def test_transplant_both_ways_gives_one_structure() -> None:
    ours, theirs = (Widen(group="0", count=2),), (Deepen(after="4"), Attend(after="2"))
    first, second = grown(*ours), grown(*theirs)
    transplant(first, second.edits)
    transplant(second, ours)
    assert structure_key(first) == structure_key(second)


def test_transplant_leaves_out_what_both_have() -> None:
    common = Deepen(after="2")
    living = grown(common, Widen(group="0", count=1))
    changes = transplant(living, (common, Widen(group="3", count=1)))
    assert [change.edit for change in changes] == [Widen(group="3", count=1)]


def test_transplant_leaves_out_what_came_to_both_apart() -> None:
    living = grown(Widen(group="3", count=1), Widen(group="0", count=1))
    assert not transplant(living, (Widen(group="0", count=1), Widen(group="3", count=1)))


def test_transplant_counts_equal_edits() -> None:
    living = grown(Widen(group="0", count=1))
    twice = (Widen(group="3", count=1), Widen(group="0", count=1), Widen(group="0", count=1))
    changes = transplant(living, twice)
    assert [change.edit for change in changes] == [twice[0], twice[1]]


def test_transplant_makes_weights_that_went_by_gradients_random() -> None:
    by_gradients = Widen(group="3", count=2, init="gradmax")
    living = grown(Widen(group="0", count=1))
    (change,) = transplant(living, (by_gradients,))
    assert change.edit == Widen(group="3", count=2)
    assert not transplant(living, (by_gradients,)), "it has those units already"


def test_transplant_follows_newborn_parts_to_their_new_names() -> None:
    donor = grown(Deepen(after="2"), Widen(group="edit0.first", count=2))
    living = grown(Widen(group="3", count=1), Widen(group="0", count=1))
    changes = transplant(living, donor.edits)
    assert [change.edit for change in changes] == [
        Deepen(after="2"),
        Widen(group="edit2.first", count=2),
    ]


def test_transplant_leaves_out_what_stands_on_an_edit_that_did_not_apply() -> None:
    donor = grown(Widen(group="0", count=3), Deepen(after="4"), Widen(group="edit1.first", count=1))

    def no_deeper(cost: Cost) -> str | None:
        return "too many" if cost.params > limit else None

    living = grown()
    limit = grown(Widen(group="0", count=3)).cost().params
    changes = transplant(living, donor.edits, limit=no_deeper)
    assert [change.edit.kind for change in changes] == ["widen"]


def test_transplant_never_prunes() -> None:
    prune = Prune(group="0", units=(0,), preserving=False)
    assert not transplant(grown(), (prune,))


def test_transplant_skips_what_does_not_fit_and_goes_on() -> None:
    living = grown(Prune(group="0", units=(2, 3), preserving=False))
    edits = (Split(group="0", units=(3,)), Connect(source="2", target="3"), Deepen(after="4"))
    changes = transplant(living, edits)
    assert Deepen(after="4") in [change.edit for change in changes]
    assert Split(group="0", units=(3,)) not in [change.edit for change in changes]


@pytest.mark.parametrize("seed", range(3))
def test_transplant_of_random_lineages_preserves(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    pool = [
        Widen(group="0", count=2),
        Widen(group="3", count=3),
        Deepen(after="2"),
        Deepen(after="4", form="bottleneck"),
        Attend(after="2"),
        Attend(after="4"),
        Prune(group="3", units=(0,), preserving=False),
    ]

    def lineage() -> list[object]:
        order = torch.randperm(len(pool), generator=generator).tolist()
        return [pool[index] for index in order[:4]]

    mother, father = grown(*lineage()).eval(), grown(*lineage())
    x = torch.randn(4, 3, 8, 8, generator=generator)
    before, macs = mother(x), mother.cost().macs
    changes = transplant(mother, father.edits, seed=seed)
    assert relative_error(mother.eval()(x), before) < 1e-5
    assert mother.cost().macs >= macs
    assert len(mother.edits) == 4 + len(changes)
    assert not net().edits


def test_transplant_follows_what_both_have_under_other_names() -> None:
    donor = grown(Deepen(after="2"), Widen(group="edit0.first", count=2))
    living = grown(Widen(group="0", count=1), Deepen(after="2"))
    changes = transplant(living, donor.edits)
    assert [change.edit for change in changes] == [Widen(group="edit1.first", count=2)]
