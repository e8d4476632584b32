from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from runs.quick import StopAt, comparable_events, comparable_summary, final_weights, quick

from neuroexapt.errors import RunError
from neuroexapt.runs import grow, load_model, resume

resource = pytest.importorskip("resource", reason="this system limits no file's size")


@contextmanager
def limits_restored() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def no_file_larger_than(size: int) -> None:
    """From now on the system refuses to write beyond a size, as a full disk does."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.parametrize(
    ("size", "epoch", "refused"),
    [(1500, 4, "events.jsonl"), (12_000, 3, "checkpoints/epoch-0003")],
)
def test_grow_full_disk_keeps_the_run_and_resumes(
    unbroken: Path, tmp_path: Path, size: int, epoch: int, refused: str
):
    folder = tmp_path / "run"
    fill = StopAt("trained", epoch, lambda: no_file_larger_than(size))
    with limits_restored(), pytest.raises(RunError, match=rf"{refused} cannot be written \(File"):
        grow(quick(), folder, fill)
    assert len(load_model(folder).edits) > 0
    resume(folder)
    assert final_weights(folder) == final_weights(unbroken)
    assert comparable_summary(folder) == comparable_summary(unbroken)
    assert comparable_events(folder) == comparable_events(unbroken)
