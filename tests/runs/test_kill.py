import shutil
from pathlib import Path

from runs.forks import forking
from runs.quick import StopAt, comparable_events, comparable_summary, final_weights, quick

from neuroexapt.runs import grow, read_events, read_summary, resume

KILLING = """
import sys
from pathlib import Path
from runs.forks import killed_until_it_ends
from runs.quick import quick
from neuroexapt.runs import grow, resume
from neuroexapt.runs.session import build

build(quick())  # imports what is imported late
out = Path(sys.argv[1])

def run():
    return resume(out) if (out / "config.json").exists() else grow(quick(), out)

print(killed_until_it_ends(run, 0.25, 1.35))
"""


def test_resume_after_sigkill_at_any_moment_ends_as_if_unbroken(unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    assert int(forking(KILLING, out)) >= 1
    assert any(event["event"] == "resume" for event in read_events(out / "events.jsonl"))
    assert_same_end(out, unbroken)


# Forks processes that go back to a checkpoint, killed just before the first, second, ... change.
REWINDING = """
import os, shutil, signal, sys
from itertools import count
from pathlib import Path
from runs.quick import quick
from neuroexapt.runs import reopen
from neuroexapt.runs.events import EventLog
from neuroexapt.runs.session import build

original, out = Path(sys.argv[1]), Path(sys.argv[2])
build(quick())  # imports what is imported late

def rewind(folder, changes):
    def change():
        nonlocal changes
        if changes == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        changes -= 1

    def counted(method):
        def changing(*args):
            change()
            return method(*args)
        return changing

    sys.addaudithook(
        lambda event, args: event in ("os.remove", "os.rename", "os.rmdir") and change()
    )
    EventLog.cut, EventLog.append = counted(EventLog.cut), counted(EventLog.append)
    reopen(folder / "checkpoints" / "epoch-0004")

for changes in count():
    folder = out / str(changes)
    shutil.copytree(original, folder)
    child = os.fork()
    if child == 0:
        try:
            rewind(folder, changes)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        sys.exit(status)
"""


def files(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_rewind_killed_before_any_of_its_changes_ends_as_if_unbroken(tmp_path: Path):
    original, aside = tmp_path / "original", tmp_path / "aside"
    fourth = original / "checkpoints" / "epoch-0004"
    # With this seed the fifth epoch is the best, which has to stay as long as the sixth does.
    keep = StopAt("trained", 5, lambda: shutil.copytree(fourth, aside))
    summary = grow(quick(seed=21, recipe={"batch_size": 256}), original, keep)
    assert summary.best_checkpoint == "checkpoints/epoch-0005"
    shutil.copytree(aside, fourth)
    forking(REWINDING, original, tmp_path / "killed")

    killed = sorted((tmp_path / "killed").iterdir(), key=lambda path: int(path.name))
    assert len(killed) > 15  # the summary, two checkpoints of five files, the events, and the end
    assert files(killed[0]) == files(original)
    for folder in killed[1::2]:
        assert not (folder / "summary.json").exists()
        if int(folder.name) % 6 == 1 and (folder / fourth.relative_to(original)).exists():
            again = folder.with_suffix(".again")
            shutil.copytree(folder, again)
            resume(again / fourth.relative_to(original))
            assert_same_end(again, original)
        resume(folder)
        assert_same_end(folder, original)


def assert_same_end(folder: Path, unbroken: Path) -> None:
    assert final_weights(folder) == final_weights(unbroken)
    assert comparable_summary(folder) == comparable_summary(unbroken)
    assert comparable_events(folder) == comparable_events(unbroken)
    assert (folder / read_summary(folder / "summary.json").best_checkpoint).is_dir()
    names = {path.name for path in (folder / "checkpoints").iterdir()}
    assert not [name for name in names if name.startswith(".")]
