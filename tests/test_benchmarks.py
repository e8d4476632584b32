"""The benchmarks say what they do before they do it."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
SCRIPTS = [path for path in sorted(BENCHMARKS.glob("*.py")) if "__main__" in path.read_text()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_benchmark_helps_and_measures_nothing(script: Path, tmp_path: Path) -> None:
    results = {path: path.stat().st_mtime_ns for path in (BENCHMARKS / "results").iterdir()}
    found = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith(f"usage: {script.name} [-h] ")
    assert results == {p: p.stat().st_mtime_ns for p in (BENCHMARKS / "results").iterdir()}
    assert list(tmp_path.iterdir()) == []
