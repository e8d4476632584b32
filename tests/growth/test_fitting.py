"""What an edit is tried as when the whole of it doesn't fit."""

import math

import pytest
import torch
from torch import nn

from neuroexapt import Budget, Cost, Deepen, LivingModel, Split, Widen
from neuroexapt.growth.fitting import Room, scaled_down, shrinking
from neuroexapt.growth.proposal import Proposal


def test_shrinking_halves_units_down_to_one():
    split = Split(group="0", units=(5, 3, 1, 2, 0))
    assert [edit.units for edit in shrinking(split)] == [(5, 3, 1, 2, 0), (5, 3), (5,)]
    assert [edit.count for edit in shrinking(Widen(group="0", count=6))] == [6, 3, 1]
    assert list(shrinking(Deepen(after="0"))) == [Deepen(after="0")]


def test_room_tells_the_budget_from_the_pace():
    room = Room(Budget(params=100), most_macs=1000, present=Cost(params=99, macs=999))
    assert room(Cost(params=100, macs=1000)) is None
    assert room(Cost(params=100, macs=1001)) == "1,001 MACs, 1,000 at this time"
    assert room.only_pace
    assert room(Cost(params=101, macs=2000)) == "101 parameters, budget 100"
    assert not room.only_pace


def test_what_is_expected_of_a_part_is_its_part():
    living = LivingModel(
        nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.zeros(2, 4)
    )
    proposal = Proposal(
        Widen(group="0", count=8), {"gain": 0.4, "error": None, "compute": 0.7}, predicted=0.08
    )
    change = living.apply(Widen(group="0", count=2))
    part = scaled_down(proposal, change)
    assert part.predicted == pytest.approx(0.02)
    assert part.evidence["gain"] == pytest.approx(0.1)
    assert part.evidence["error"] is None
    assert part.evidence["compute"] == pytest.approx(math.log(10 / 8))
