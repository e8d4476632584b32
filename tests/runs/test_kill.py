import os
import subprocess
import sys
from pathlib import Path

from runs.quick import comparable_events, comparable_summary, final_weights

from neuroexapt.runs import read_events

# One process is prepared and forks runs, which are killed later and later until one ends by itself.
KILLING = """
import os, signal, sys, time
from pathlib import Path
from runs.quick import quick
from neuroexapt.runs import grow, resume
from neuroexapt.runs.session import build

build(quick())  # imports what is imported late
out = Path(sys.argv[1])
kills = 0
while True:
    child = os.fork()
    if child == 0:
        try:
            resume(out) if (out / "config.json").exists() else grow(quick(), out)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    deadline = time.monotonic() + 0.2 + 0.06 * kills
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            sys.exit(status if status else print(kills, flush=True))
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            break
        time.sleep(0.001)
    kills += 1
"""


def test_resume_after_sigkill_at_any_moment_ends_as_if_unbroken(unbroken: Path, tmp_path: Path):
    out = tmp_path / "run"
    paths = [str(Path(__file__).parents[1]), *sys.path]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    found = subprocess.run(
        [sys.executable, "-c", KILLING, str(out)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) >= 1
    assert any(event["event"] == "resume" for event in read_events(out / "events.jsonl"))
    assert final_weights(out) == final_weights(unbroken)
    assert comparable_summary(out) == comparable_summary(unbroken)
    assert comparable_events(out) == comparable_events(unbroken)
    names = {path.name for path in (out / "checkpoints").iterdir()}
    assert not [name for name in names if name.startswith(".")]
