"""What the documents show is what happens."""

import re
from pathlib import Path

import pytest

import neuroexapt

ROOT = Path(__file__).parent.parent
PAGES = ("README.md", "README.zh.md", "docs/guide.md")


def python_blocks(page: str) -> str:
    """All Python of a page, as one program."""
    text = (ROOT / page).read_text("utf-8")
    return "\n".join(re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL))


@pytest.mark.parametrize("page", PAGES)
def test_page_code_runs(page: str) -> None:
    code = python_blocks(page)
    assert "import neuroexapt as nx" in code
    exec(compile(code, page, "exec"), {})


def test_families_table_is_what_coupling_finds() -> None:
    namespace: dict[str, object] = {"__file__": str(ROOT / "docs" / "families_table.py")}
    code = (ROOT / "docs" / "families_table.py").read_text("utf-8")
    exec(compile(code, "families_table.py", "exec"), namespace)
    table = namespace["table"]
    assert callable(table)
    assert table() == (ROOT / "docs" / "families.md").read_text("utf-8")


def test_public_names_are_these() -> None:
    assert sorted(neuroexapt.__all__) == sorted(set(neuroexapt.__all__))
    for name in neuroexapt.__all__:
        assert getattr(neuroexapt, name).__doc__, f"{name} has no docstring"
    assert set(neuroexapt.__all__) == {
        name
        for name in vars(neuroexapt)
        if not name.startswith("_") and not isinstance(vars(neuroexapt)[name], type(re))
    }
