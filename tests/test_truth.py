"""What the arbiter is judged by: every trial begins where the checkpoint ended."""

import copy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from neuroexapt import LivingModel
from neuroexapt.training import build_optimizer

ARBITER = Path(__file__).parent.parent / "benchmarks" / "arbiter"


@pytest.fixture
def truth(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The benchmark's modules, for as long as a test needs them."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(ARBITER))
    import truth

    yield truth
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ARBITER)):
            del sys.modules[name]


def test_a_trial_leaves_the_checkpoint_as_it_was(truth: ModuleType) -> None:
    """The optimiser's memory, too: the next trial would else begin with this one's momentum."""
    checkpoint = truth.Checkpoint("bare", "clutter", "early", "fit", seed=3)
    torch.manual_seed(0)
    living = LivingModel(sys.modules["checkpoints"].build("bare", 1), torch.zeros(2, 1, 16, 16))
    optimizer = build_optimizer(living, checkpoint.recipe)
    inputs, targets = next(truth.batches(checkpoint, Path(), 3))
    truth.CRITERION(living(inputs), targets).backward()
    optimizer.step()
    start = (living, optimizer)
    before = copy.deepcopy((living.state_dict(), optimizer.state_dict()["state"]))
    first, again = (truth.outcome(checkpoint, start, None, 0, Path(), steps=3) for _ in range(2))
    assert {k: v for k, v in first.items() if k != "seconds"} == {
        k: v for k, v in again.items() if k != "seconds"
    }
    torch.testing.assert_close((living.state_dict(), optimizer.state_dict()["state"]), before)
