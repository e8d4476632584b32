"""Contenders by name: each takes a job and a place, and gives what its run came to."""

from collections.abc import Callable, Mapping
from typing import Any

from rival import gromo
from searched import aso_se_search
from settings import REGIMES, Job, Place
from tracked import dnm, random_growth, static_final, static_seed, static_width
from variants import VARIANTS

Contender = Callable[[Job, Place], dict[str, Any]]

CONTENDERS: Mapping[str, Contender] = {
    "dnm": dnm,
    "static-final": static_final,
    "random-growth": random_growth,
    "static-seed": static_seed,
    "aso-se-original": aso_se_search,
    "aso-se-improved": aso_se_search,
    "gromo": gromo,
}
VARYING = ("dnm", "static-final")
"""Contenders of which there are variants."""
SWEEP = "static-tuned"
"""Stands for all widths of the sweep; the best is known when all were run."""


def measured(job: Job, place: Place) -> dict[str, Any]:
    """Run a job to its end.

    Raises:
        SystemExit: if there is no such contender or variant.
    """
    name, _, variant = job.contender.partition("@")
    if variant and (name not in VARYING or variant not in VARIANTS):
        raise SystemExit(f"there is no {job.contender}; variants of dnm are {', '.join(VARIANTS)}")
    if name.startswith("static-w") and name.removeprefix("static-w").isdecimal():
        return static_width(job, place)
    if name not in CONTENDERS:
        raise SystemExit(
            f"there is no contender {name!r}; there are {', '.join((*CONTENDERS, SWEEP))}, "
            "static-wWIDTH, dnm@VARIANT and static-final@VARIANT"
        )
    return CONTENDERS[name](job, place)


def expanded(names: tuple[str, ...], regime: str, budget: float) -> list[str]:
    """Contenders with the sweep as its widths; the seed's is run under the name static-seed."""
    widths = sorted(REGIMES[regime].widths(budget))
    widths.pop(REGIMES[regime].chosen.width)
    found: list[str] = []
    for name in names:
        own = [f"static-w{width}" for width in widths] if name == SWEEP else [name]
        found += [one for one in own if one not in found]
        if name == SWEEP and "static-seed" not in found:
            found.append("static-seed")
    return found
