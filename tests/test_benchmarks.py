"""The benchmarks say what they do before they do it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text()]

# One process imports what takes long and forks one for each script.
HELPING = """
import os, runpy, sys
from pathlib import Path
import neuroexapt.evolution, neuroexapt.runs, neuroexapt.search

for script in map(Path, sys.argv[1:]):
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        folder = Path(script.stem)
        folder.mkdir()
        os.chdir(folder)
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"../{script.stem}.{name}", os.O_CREAT | os.O_WRONLY), number)
        sys.argv = [str(script), "--help"]
        sys.path.insert(0, str(script.parent))
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as ended:
            sys.stdout.flush()
            os._exit(ended.code or 0)
        except BaseException:
            import traceback
            traceback.print_exc()
        os._exit(1)
    print(script.name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def changed() -> dict[Path, int]:
    """When each result was written."""
    return {path: path.stat().st_mtime_ns for path in (BENCHMARKS / "results").rglob("*")}


@pytest.fixture(scope="module")
def helped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """Where each script's output lies, and its exit code."""
    folder, before = tmp_path_factory.mktemp("help"), changed()
    found = subprocess.run(
        [sys.executable, "-c", HELPING, *map(str, SCRIPTS)],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert found.returncode == 0, found.stderr
    assert changed() == before
    lines = (line.split() for line in found.stdout.splitlines())
    return folder, {name: int(code) for name, code in lines}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_benchmark_helps_and_measures_nothing(
    helped: tuple[Path, dict[str, int]], script: Path
) -> None:
    folder, codes = helped
    assert codes[script.name] == 0, (folder / f"{script.stem}.err").read_text()
    usage = (folder / f"{script.stem}.out").read_text()
    assert usage.startswith(f"usage: {script.name} [-h] ")
    assert list((folder / script.stem).iterdir()) == []


def pooled(folder: Path, jobs: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What the pool tells of jobs; scripts `good.py` and `bad.py` note that they ran."""
    (folder / "good.py").write_text("import sys\nprint('good', *sys.argv[1:])\n")
    (folder / "bad.py").write_text("raise ValueError('no good')\n")
    (folder / "slow.py").write_text("import time\ntime.sleep(600)\n")
    return subprocess.run(
        [sys.executable, BENCHMARKS / "pool.py", "--logs", "logs", *options],
        cwd=folder,
        input=jobs,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_pool_keeps_the_order_and_tells_what_failed(tmp_path: Path) -> None:
    jobs = "last\tfirst\tgood.py two\nfirst\t\tgood.py one\nbad\t\tbad.py\nvain\tbad\tgood.py\n"
    found = pooled(tmp_path, jobs, "--slots", "1")
    assert found.returncode == 1
    told = [line.partition("s  ")[2] for line in found.stdout.splitlines()]
    assert [line.split(",")[0] for line in told] == [
        "first: done",
        "last: done",
        "bad: FAILED",
        "vain: left out",
    ]
    assert (tmp_path / "logs" / "last.log").read_text() == "good two\n"
    assert "ValueError: no good" in (tmp_path / "logs" / "bad.log").read_text()
    assert not (tmp_path / "logs" / "vain.log").exists()


def test_pool_stops_in_time(tmp_path: Path) -> None:
    found = pooled(tmp_path, "a\t\tslow.py\nb\t\tslow.py\n", "--slots", "1", "--seconds", "0.5")
    assert found.returncode == 1
    assert "a: stopped" in found.stdout and "b: not begun" in found.stdout


@pytest.mark.parametrize("jobs", ["a good.py\n", "a\t\t\n", "a\tb\tgood.py\n", "a\t\tx\na\t\tx\n"])
def test_pool_refuses_what_is_no_list_of_jobs(tmp_path: Path, jobs: str) -> None:
    found = pooled(tmp_path, jobs)
    assert found.returncode == 1 and found.stderr
    assert "Traceback" not in found.stderr and not (tmp_path / "logs").exists()
