"""Picking one network of a front."""

import pytest

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution import Individual, pick

NAMES = ("error", "macs")


def member(name: str, error: float, macs: float, params: float, **more: float) -> Individual[None]:
    scores = {"error": error, "macs": macs, "params": params} | more
    return Individual(name, None, name).scored(scores)


FRONT = [
    member("large", 0.1, 100.0, 90.0),
    member("middle", 0.15, 30.0, 40.0),
    member("lean", 0.3, 20.0, 10.0),
    member("quick", 0.5, 10.0, 20.0),
]


@pytest.mark.parametrize(
    ("choice", "name"),
    [("accurate", "large"), ("small", "lean"), ("fast", "quick"), ("knee", "middle")],
)
def test_pick_by_what_counts(choice: str, name: str) -> None:
    assert pick(FRONT, choice, NAMES).name == name


def test_pick_fast_goes_by_latency_where_all_were_timed() -> None:
    timed = [
        member("a", 0.1, 10.0, 1.0, latency_ms=2.0),
        member("b", 0.2, 20.0, 1.0, latency_ms=1.0),
    ]
    assert pick(timed, "fast", NAMES).name == "b"
    assert pick([timed[1], member("c", 0.3, 5.0, 1.0)], "fast", NAMES).name == "c"


def test_pick_knee_of_equal_distances_by_the_composite() -> None:
    """Both are 1 from the ideal; accuracy weighs 0.7, and what is small 0.3."""
    ends = [member("small", 1.0, 0.0, 0.0), member("accurate", 0.0, 1.0, 1.0)]
    assert pick(ends, "knee", NAMES).name == "accurate"
    assert pick(ends[::-1], "knee", NAMES).name == "accurate"


def test_pick_knee_does_not_count_one_cost_twice() -> None:
    """Multiply-accumulates and parameters rise together; the error isn't to be outvoted."""
    ends = [member("small", 0.9, 1000.0, 1000.0), member("accurate", 0.06, 1106.0, 1106.0)]
    assert pick(ends, "knee", ("error", "macs", "params")).name == "accurate"


def test_pick_of_one() -> None:
    assert pick(FRONT[:1], "knee", NAMES) is FRONT[0]


def test_pick_of_none_or_by_an_unknown_choice_is_told() -> None:
    with pytest.raises(EvolutionError, match="the front is empty"):
        pick([], "knee", NAMES)
    with pytest.raises(EvolutionError, match="'best' is no choice; give knee, accurate"):
        pick(FRONT, "best", NAMES)  # type: ignore[arg-type]
