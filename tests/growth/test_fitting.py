"""What an edit is tried as when the whole of it doesn't fit."""

from neuroexapt import Budget, Cost, Deepen, Split, Widen
from neuroexapt.growth.fitting import Room, shrinking


def test_shrinking_halves_units_down_to_one():
    split = Split(group="0", units=(5, 3, 1, 2, 0))
    assert [edit.units for edit in shrinking(split)] == [(5, 3, 1, 2, 0), (5, 3), (5,)]
    assert [edit.count for edit in shrinking(Widen(group="0", count=6))] == [6, 3, 1]
    assert list(shrinking(Deepen(after="0"))) == [Deepen(after="0")]


def test_room_tells_the_budget_from_the_pace():
    room = Room(Budget(params=100), most_macs=1000)
    assert room(Cost(params=100, macs=1000)) is None
    assert room(Cost(params=100, macs=1001)) == "1,001 MACs, 1,000 at this time"
    assert room.only_pace
    assert room(Cost(params=101, macs=2000)) == "101 parameters, budget 100"
    assert not room.only_pace
