"""Figures and errors in words."""

import logging
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from neuroexapt.growth import Growth

_NOUNS = {
    "split": "split",
    "widen": "widening",
    "deepen": "block",
    "connect": "connection",
    "attend": "attention",
    "activate": "activation",
    "settle": "settling",
    "prune": "pruning",
}
_PREFIXES = ("", "K", "M", "G", "T", "P", "E")


def complain(message: str) -> None:
    """Print an error: one line, on stderr."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def warnings_printed() -> Iterator[None]:
    """Print what the package warns of inside: one line each, on stderr."""
    logger, handler = logging.getLogger("neuroexapt"), _Warnings(logging.WARNING)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        print(f"warning: {' '.join(record.getMessage().split())}", file=sys.stderr)


def short(number: float) -> str:
    """A number in three digits and a prefix.

    Example:
        >>> short(514), short(14_623), short(2e13)
        ('514', '14.6K', '20.0T')
    """
    power = 0
    while abs(number) >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    digits = 0 if power == 0 or abs(number) >= 99.95 else 2 if abs(number) < 9.995 else 1
    return f"{number:.{digits}f}{_PREFIXES[power]}"


def percent(share: float | None) -> str:
    """A share in percent, or a dash for none.

    Example:
        >>> percent(0.9749)
        '97.5%'
        >>> percent(None)
        '-'
    """
    return "-" if share is None else f"{100 * share:.1f}%"


def counted(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "split"), counted(3, "split")
        ('1 split', '3 splits')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """A time as people say it.

    Example:
        >>> duration(0.034), duration(75), duration(3720)
        ('0.03 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 10:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def reasons(evidence: Mapping[str, Any]) -> str:
    """The evidence for a growth; of many numbers, their range.

    Example:
        >>> reasons({"entropy": [0.911, 0.973], "num_samples": 128})
        'entropy 0.91 to 0.97, num samples 128'
    """
    return ", ".join(
        f"{name.replace('_', ' ')} {_figure(value)}"
        for name, value in evidence.items()
        if value is not None
    )


def why(growth: Growth) -> str:
    """Why a network grew there: what that is to save and to cost, or else what was sensed.

    Example:
        >>> from neuroexapt import Widen
        >>> grown = Growth(
        ...     epoch=5,
        ...     edit=Widen(group="conv1", count=4),
        ...     seed=0,
        ...     evidence={"gain": 0.03, "error": 0.01, "compute": 0.08, "price": 0.004},
        ...     predicted=0.012,
        ...     scale=1.0,
        ...     metric_before=0.5,
        ...     max_error=0.0,
        ...     checked_in="float32",
        ...     params_before=100,
        ...     params_after=120,
        ...     macs_before=1000,
        ...     macs_after=1083,
        ...     seconds=0.1,
        ... )
        >>> why(grown)
        'to save 1.2% of the loss, for 8.3% more compute; gain 0.03'
    """
    evidence = dict(growth.evidence)
    if growth.predicted is None:
        return reasons(evidence)
    compute = math.expm1(evidence.pop("compute"))
    for name in ("price", "error", "beyond_error", "num_samples"):
        evidence.pop(name, None)
    kind = "more" if compute >= 0 else "less"
    sign = "to save" if growth.predicted >= 0 else "at a loss of"
    told = (
        f"{sign} {percent(abs(growth.predicted))} of the loss, for {percent(abs(compute))} {kind}"
    )
    return f"{told} compute" + (f"; {reasons(evidence)}" if evidence else "")


def kinds_counted(kinds: Mapping[str, int]) -> str:
    """How many edits of each kind.

    Example:
        >>> kinds_counted({"split": 2, "deepen": 1})
        '2 splits, 1 block'
    """
    return ", ".join(counted(number, _NOUNS[kind]) for kind, number in kinds.items())


def _figure(value: Any) -> str:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        figures = [v for v in value if isinstance(v, (int, float))]
        if not value or len(figures) < len(value):
            return ", ".join(map(_figure, value))
        low, high = _figure(min(figures)), _figure(max(figures))
        return low if low == high else f"{low} to {high}"
    if isinstance(value, float):
        tiny = value and math.isfinite(value) and abs(value) < 0.005
        return f"{value:.0e}" if tiny else f"{value:.2f}"
    return str(value)
