"""What a check of a search finds, and what all of them come to."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, computed_field

Heading: TypeAlias = Literal[
    "separation of parameters", "stagnation of mutation", "performance bottleneck"
]
Severity: TypeAlias = Literal["ok", "notice", "warning", "critical", "not measured"]
Check: TypeAlias = Literal[
    "not learning",
    "leakage",
    "shared samples",
    "too few alpha steps",
    "alpha stagnation",
    "Gumbel saturation",
    "temperature at its floor",
    "skip dominance",
    "curvature",
    "operation overfit",
    "discretisation gap",
    "gradient imbalance",
]

CHECKS: Mapping[Check, Heading] = MappingProxyType(
    {
        "not learning": "performance bottleneck",
        "leakage": "separation of parameters",
        "shared samples": "separation of parameters",
        "too few alpha steps": "separation of parameters",
        "alpha stagnation": "stagnation of mutation",
        "Gumbel saturation": "stagnation of mutation",
        "temperature at its floor": "stagnation of mutation",
        "skip dominance": "performance bottleneck",
        "curvature": "performance bottleneck",
        "operation overfit": "performance bottleneck",
        "discretisation gap": "performance bottleneck",
        "gradient imbalance": "separation of parameters",
    }
)
"""Every check and what it is about, in the order in which to believe them."""
HEADINGS: tuple[Heading, ...] = (
    "separation of parameters",
    "stagnation of mutation",
    "performance bottleneck",
)
OF_COLLAPSE = frozenset({"skip dominance", "curvature", "operation overfit", "discretisation gap"})
"""Checks that mislead on a network that doesn't learn."""
_DEMOTED = " The network doesn't learn, so this says little; mend that first."


class Finding(BaseModel):
    """What one check found.

    Attributes:
        heading: what the check is about.
        check: its name.
        severity: how bad it is; "critical" where the search is stuck or its outcome can't be
            trusted, "warning" where it is likely to be worse for it, "notice" where that may be.
        value: what was measured; None if nothing was.
        threshold: from where on it counts, in words.
        meaning: in a sentence; where nothing was measured, why.
        remedy: something to type; empty where nothing has to be done.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    check: Check
    severity: Severity
    value: float | None = None
    threshold: str = ""
    meaning: str
    remedy: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def heading(self) -> Heading:
        """What the check is about."""
        return CHECKS[self.check]


class Diagnosis(BaseModel):
    """What all checks found.

    Attributes:
        subject: what was looked at, in words.
        epoch: how many epochs of it are through.
        epochs: how many there will be.
        eigenvalue: the largest of the held-out loss's Hessian in alpha, now; None if it wasn't
            measured.
        findings: one a check, in the order in which to believe them.
        is_critical: whether any of them is critical.

    Example:
        >>> slow = Finding(check="too few alpha steps", severity="warning", meaning="Too few.")
        >>> found = Diagnosis.of("a search", 3, 60, [slow], "it wasn't looked for")
        >>> found.is_critical, found["curvature"].meaning
        (False, "it wasn't looked for")
    """

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings")

    subject: str
    epoch: int
    epochs: int
    eigenvalue: float | None = None
    findings: tuple[Finding, ...]

    @classmethod
    def of(
        cls,
        subject: str,
        epoch: int,
        epochs: int,
        findings: Iterable[Finding],
        otherwise: str,
        eigenvalue: float | None = None,
    ) -> "Diagnosis":
        """All checks in their order; on a network that doesn't learn, collapse counts for less.

        Args:
            subject: what was looked at.
            epoch: how many epochs of it are through.
            epochs: how many there will be.
            findings: of some checks; the last of each counts.
            otherwise: why the other checks found nothing.
            eigenvalue: that was measured.
        """
        found = {finding.check: finding for finding in findings}
        told = [found.get(check, not_measured(check, otherwise)) for check in CHECKS]
        if told[0].severity == "critical":
            told = [_demoted(finding) for finding in told]
        return cls(
            subject=subject,
            epoch=epoch,
            epochs=epochs,
            eigenvalue=eigenvalue,
            findings=tuple(told),
        )

    def __getitem__(self, check: Check) -> Finding:
        """What a check found."""
        return next(finding for finding in self.findings if finding.check == check)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def is_critical(self) -> bool:
        """Whether anything critical was found."""
        return any(finding.severity == "critical" for finding in self.findings)

    def with_severity(self, *severities: Severity) -> tuple[Finding, ...]:
        """The findings of some severities."""
        return tuple(finding for finding in self.findings if finding.severity in severities)


def not_measured(check: Check, reason: str) -> Finding:
    """A check that could not be made."""
    return Finding(check=check, severity="not measured", meaning=reason)


def _demoted(finding: Finding) -> Finding:
    if finding.check not in OF_COLLAPSE or finding.severity not in ("warning", "critical"):
        return finding
    return finding.model_copy(update={"severity": "notice", "meaning": finding.meaning + _DEMOTED})
