"""Remedies as they are typed into the file of a search's settings."""

import ast
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from neuroexapt.search import Diagnosis

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "SearchConfig": "search",
        "AlphaConfig": "search.alpha",
        "Annealing": "search.annealing",
        "Recipe": "search.recipe",
        "DataLoader": "search.recipe",
    }
)
"""What a remedy makes in Python -> where its settings stand in the file."""


def as_settings(remedy: str) -> str:
    """A remedy in TOML, for the file that `--config` takes; what is no setting stays as it is.

    Example:
        >>> as_settings("AlphaConfig(lr=0.03)")
        'search.alpha.lr = 0.03'
        >>> print(as_settings('Annealing(start=2, each="epoch")'))
        search.annealing.start = 2
        search.annealing.each = "epoch"
        >>> as_settings("torch.utils.data.random_split(data, [0.7, 0.3])")
        'validation = 0.3'
    """
    if not remedy:
        return remedy
    call = ast.parse(remedy, mode="eval").body
    assert isinstance(call, ast.Call), f"{remedy} makes nothing"
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
    named = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg}
    if name == "random_split":
        return f"validation = {ast.literal_eval(call.args[1])[1]}"
    if name == "model_copy":
        return _assigned("search", named["update"])
    return _assigned(PARTS[name], named) if name in PARTS else remedy


def with_settings(diagnosis: Diagnosis, subject: str) -> Diagnosis:
    """A diagnosis of a search that was started by its settings.

    Args:
        diagnosis: whose remedies are Python.
        subject: what to call the search.
    """
    findings = [
        finding.model_copy(update={"remedy": as_settings(finding.remedy)})
        for finding in diagnosis.findings
    ]
    return diagnosis.model_copy(update={"findings": tuple(findings), "subject": subject})


def _assigned(part: str, values: Mapping[str, object]) -> str:
    return "\n".join(f"{part}.{name} = {json.dumps(value)}" for name, value in values.items())


def merged(remedies: Iterable[str]) -> str:
    """Remedies in TOML as one file takes them: of a setting that several name, the first's value.

    Args:
        remedies: as `as_settings` gives them, the most important first.

    Example:
        >>> print(merged(["search.alpha.lr = 0.03", "search.alpha.lr = 0.3", "validation = 0.3"]))
        validation = 0.3
        search.alpha.lr = 0.03
    """
    lines: dict[str, str] = {}
    for line in "\n".join(remedies).splitlines():
        name, equals, _ = line.partition(" = ")
        if equals:
            lines.setdefault(name, line)
    return "\n".join(lines[name] for name in sorted(lines, key=lambda name: "." in name))
