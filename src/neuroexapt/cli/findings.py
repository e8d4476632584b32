"""Diagnoses on a terminal: tables, and what to do."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from neuroexapt.search import HEADINGS, Diagnosis, Finding
from neuroexapt.search.finding import Severity

STYLES: Mapping[Severity, str] = MappingProxyType(
    {
        "critical": "bold red",
        "warning": "yellow",
        "notice": "cyan",
        "ok": "green",
        "not measured": "dim",
    }
)
"""Of each severity, the worst first."""


def diagnosis_page(diagnosis: Diagnosis) -> RenderableType:
    """What was measured, then what it means and what to do, the worst first."""
    title = Text.assemble(
        ("  neuroexapt  ", "bold green"),
        "diagnosis of ",
        (diagnosis.subject, "bold"),
        f", after epoch {diagnosis.epoch} of {diagnosis.epochs}",
    )
    parts: list[RenderableType] = ["", title, "", _measured(diagnosis)]
    for severity in ("critical", "warning", "notice"):
        for finding in diagnosis.with_severity(severity):
            parts += [Padding(_explained(finding), (0, 2)), ""]
    parts += [Padding(text, (0, 2)) for text in _not_measured(diagnosis)]
    return Group(*parts, Padding(_summary([diagnosis]), (0, 2)))


def _measured(diagnosis: Diagnosis) -> Table:
    table = Table(box=box.SIMPLE, header_style="dim", show_edge=False, pad_edge=True)
    table.add_column("check")
    table.add_column("measured", justify="right", no_wrap=True)
    table.add_column("flagged")
    table.add_column("", no_wrap=True)
    measured = diagnosis.with_severity("critical", "warning", "notice", "ok")
    for heading in HEADINGS:
        below = [finding for finding in measured if finding.heading == heading]
        if below:
            table.add_row(Text(heading, "bold"))
        for finding in below:
            table.add_row(
                f"  {finding.check}",
                figure(finding.value),
                Text(finding.threshold, "dim"),
                Text(finding.severity, STYLES[finding.severity]),
            )
        if below:
            table.add_row()
    return table


def _explained(finding: Finding) -> Group:
    head = Text.assemble((finding.severity, STYLES[finding.severity]), f": {finding.check}")
    lines: list[RenderableType] = [head, Padding(Text(finding.meaning), (0, 0, 0, 2))]
    if finding.remedy:
        remedy = finding.remedy.replace("\n", "\n    ")
        lines.append(Padding(Text.assemble("try ", (remedy, "bold")), (0, 0, 0, 2)))
    return Group(*lines)


def _not_measured(diagnosis: Diagnosis) -> Iterator[Text]:
    """The checks that weren't made, by their reasons."""
    by_reason: dict[str, list[str]] = {}
    for finding in diagnosis.with_severity("not measured"):
        by_reason.setdefault(finding.meaning, []).append(finding.check)
    for reason, checks in by_reason.items():
        yield Text(f"not measured: {', '.join(checks)}: {reason}.\n", "dim")


def diagnoses_table(found: Sequence[Diagnosis]) -> RenderableType:
    """Several diagnoses, a row each."""
    table = Table(box=box.SIMPLE, header_style="dim", show_edge=False)
    table.add_column("run", justify="right")
    table.add_column("name")
    table.add_column("epoch", justify="right")
    table.add_column("skips", justify="right")
    table.add_column("curvature", justify="right")
    table.add_column("worst", no_wrap=True)
    for index, diagnosis in enumerate(found):
        severity = worst(diagnosis)
        table.add_row(
            str(index),
            diagnosis.subject,
            f"{diagnosis.epoch}/{diagnosis.epochs}",
            figure(diagnosis["skip dominance"].value),
            figure(diagnosis["curvature"].value),
            Text(severity, STYLES[severity]),
        )
    return Group("", table, "", Padding(_summary(found), (0, 2)))


def _summary(found: Sequence[Diagnosis]) -> Text:
    if len(found) == 1:
        counts = {s: len(found[0].with_severity(s)) for s in STYLES}
        told = [f"{number} {severity}" for severity, number in counts.items() if number]
        return Text(", ".join(told))
    critical = sum(diagnosis.is_critical for diagnosis in found)
    return Text(f"{critical} of {len(found)} searches have a critical finding")


def worst(diagnosis: Diagnosis) -> Severity:
    """The worst severity of any finding."""
    severities = {finding.severity for finding in diagnosis.findings}
    return next(severity for severity in STYLES if severity in severities)


def by_severity(finding: Finding) -> int:
    """Where a finding stands, the worst first."""
    return list(STYLES).index(finding.severity)


def figure(value: float | None) -> str:
    """A measured value in three digits.

    Example:
        >>> figure(0.33333), figure(0.0), figure(None)
        ('0.333', '0', '')
    """
    return "" if value is None else f"{value:.3g}"
