"""Imports point one way: a folder of the package imports only from the folders before it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import neuroexapt

PACKAGE = Path(neuroexapt.__file__).parent
LAYERS = (
    "graph",
    "edits",
    "signals",
    "training",
    "growth",
    "search",
    "evolution",
    "runs",
    "integrations",
    "cli",
)
OPEN_TO_ALL = {"errors"}
ABOVE_ALL = {"__init__", "__main__"}


def imported_modules(source: str, package: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything that `source`, a module in `package`, imports.

    `from a import b` yields `a.b`: only the file system knows whether `b` is a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = (*base, *(node.module.split(".") if node.module else ()))
            yield from ((node.lineno, ".".join((*stem, alias.name))) for alias in node.names)


def violations(source: str, path: str) -> list[str]:
    """What `source`, a file at `path` inside the package, imports against the rule."""
    parts = Path(path).with_suffix("").parts
    here = parts[0]
    if here in ABOVE_ALL:
        return []
    # A single module on the top level stands before every folder.
    allowed = OPEN_TO_ALL | set(LAYERS[: LAYERS.index(here) + 1] if len(parts) > 1 else ())
    found = []
    for line, name in imported_modules(source, ("neuroexapt", *parts[:-1])):
        root, _, rest = name.partition(".")
        if root == "neuroexapt" and rest.split(".")[0] not in allowed:
            found.append(f"{path}:{line} imports {name}; allowed are {sorted(allowed)}")
    return found


@pytest.mark.parametrize(
    "path", [p.relative_to(PACKAGE).as_posix() for p in sorted(PACKAGE.rglob("*.py"))]
)
def test_imports_point_downward(path: str):
    assert violations((PACKAGE / path).read_text("utf-8"), path) == []


def test_layers_names_every_folder():
    assert {init.parent.name for init in PACKAGE.glob("*/__init__.py")} <= set(LAYERS)


@pytest.mark.parametrize(
    "source",
    [
        "import neuroexapt.growth",
        "from neuroexapt.growth import Grower",
        "from neuroexapt.growth.budget import Budget as B",
        "from neuroexapt import growth",
        "from ..growth import Grower",
        "from .. import growth",
        "import torch, neuroexapt.growth.budget",
        "def f():\n    from neuroexapt.growth import Grower",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import neuroexapt.growth",
        "try:\n    from ..growth import Grower\nexcept ImportError:\n    pass",
        "import neuroexapt",
        "from neuroexapt import Grower",
        "from neuroexapt.surprise import thing",
    ],
)
def test_violations_upward_import_is_found(source: str):
    assert len(violations(source, "training/loop.py")) == 1


def test_violations_names_file_line_and_import():
    (found,) = violations("import torch\n\nfrom .. import growth\n", "training/loop.py")
    assert found.startswith("training/loop.py:3 imports neuroexapt.growth; allowed are ['edits', ")


@pytest.mark.parametrize(
    "source",
    [
        "import torch",
        "from neuroexapt.graph import LivingModel",
        "from ..graph import LivingModel",
        "from .data import load",
        "from neuroexapt.training.data import load",
        "from neuroexapt.errors import DataError",
        "from neuroexapt_extras import growth",
    ],
)
def test_violations_downward_import_passes(source: str):
    assert violations(source, "training/loop.py") == []


@pytest.mark.parametrize("path", ["graph/__init__.py", "graph/rules/linear.py", "errors.py"])
def test_violations_first_layers_may_import_nothing_later(path: str):
    assert len(violations("from neuroexapt.edits import Split", path)) == 1


@pytest.mark.parametrize("path", ["__init__.py", "__main__.py"])
def test_violations_package_may_import_everything(path: str):
    assert violations("from neuroexapt.cli import main", path) == []
