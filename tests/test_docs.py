"""What the documents show is what happens."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import neuroexapt

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "docs/guide.md")


def python_blocks(page: str) -> str:
    """All Python of a page, as one program."""
    text = (ROOT / page).read_text("utf-8")
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_page_code_runs(page: str) -> None:
    code = python_blocks(page)
    assert "import neuroexapt as nx" in code
    exec(compile(code, page, "exec"), {})


def test_both_readmes_show_the_same_code() -> None:
    one, other = (ast.dump(ast.parse(python_blocks(p))) for p in ("README.md", "README.zh.md"))
    assert one == other


def test_families_table_is_what_coupling_finds() -> None:
    namespace: dict[str, object] = {"__file__": str(ROOT / "docs" / "families_table.py")}
    code = (ROOT / "docs" / "families_table.py").read_text("utf-8")
    exec(compile(code, "families_table.py", "exec"), namespace)
    table = namespace["table"]
    assert callable(table)
    assert table() == (ROOT / "docs" / "families.md").read_text("utf-8")


def test_public_names_are_these() -> None:
    assert sorted(neuroexapt.__all__) == sorted(set(neuroexapt.__all__))
    assert set(neuroexapt.__all__) <= set(dir(neuroexapt))
    for name in neuroexapt.__all__:
        assert getattr(neuroexapt, name).__doc__, f"{name} has no docstring"
    # A type checker sees imports that are not run: they have to name what is really there.
    source = Path(neuroexapt.__file__).read_text("utf-8")
    seen = {
        alias.name: getattr(importlib.import_module(node.module), alias.name)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("neuroexapt.")
        for alias in node.names
    }
    assert {name: getattr(neuroexapt, name) for name in neuroexapt.__all__} == seen


def test_package_is_imported_without_torch() -> None:
    code = """if True:
        import sys, neuroexapt, neuroexapt.cli
        assert "torch" not in sys.modules
        assert neuroexapt.graph.LivingModel is neuroexapt.LivingModel
        assert "torch" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)


def test_package_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="module 'neuroexapt' has no attribute 'LivingModle'"):
        neuroexapt.LivingModle  # noqa: B018 - looking is what fails
