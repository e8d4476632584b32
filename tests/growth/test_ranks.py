"""Ranks that train a model together grow it alike."""

from typing import Any

import pytest
from ranks import together


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two ranks says."""
    return together(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("init", ["random", "gradmax"])
def test_ranks_grow_alike_by_the_first_ones_decision(told: list[dict[str, Any]], init: str) -> None:
    first, second = (one[init] for one in told)
    assert any(edit.startswith("widen") for edit in first["edits"])
    assert first["edits"] == second["edits"] and first["changes"] == second["changes"]
    assert first["state"] == second["state"] and first["state"]["nursery"]
    assert first["apart"] == second["apart"] == 0.0


def test_a_first_rank_that_fails_ends_all(told: list[dict[str, Any]]) -> None:
    first, second = (one["failing"] for one in told)
    assert first.startswith("DataError: ")
    assert second == "TrainingError: rank 0 failed to grow the model; its own error says why"


def test_norms_that_wait_for_all_ranks_are_refused(told: list[dict[str, Any]]) -> None:
    for one in told:
        assert "'1' is a SyncBatchNorm" in one["synchronised"]


def test_models_that_are_sharded_are_refused(told: list[dict[str, Any]]) -> None:
    for one in told:
        first, second = one["sharded"]
        assert first.startswith("the model is sharded over ranks, and edits need whole parameters")
        assert second.startswith("its part '5' is sharded") and "nothing was changed" in second
