"""Settings of `dnm` that were tried against each other, and the ones that are raced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """Other settings of `dnm`.

    Attributes:
        growth: settings that differ from the regime's.
        width: which of the sweep's widths the seed network has, the narrowest first.
        steps: after so many a network is validated and may grow; None for the recipe's.
    """

    growth: dict[str, Any]
    width: int = 0
    steps: int | None = None


UNCHANGED = Variant({})
"""The regime's own settings."""

EARLY: dict[str, Any] = {"until": 0.15, "pace": 1.6, "max_edits": 8}
CONNECT: dict[str, Any] = {"kinds": ("connect",), "until": 0.3}
SOON: dict[str, Any] = CONNECT | {"max_edits": 12, "until": 0.1}
PRICED: dict[str, Any] = SOON | {"kinds": ("widen", "connect"), "until": 0.15, "exchange": 0.1}
BOTH: dict[str, Any] = EARLY | {"kinds": ("widen", "connect"), "max_edits": 12}
ONCE: dict[str, Any] = {"until": 0.06, "pace": 3.5, "max_edits": 16}
SPREAD: dict[str, Any] = {"every": 4, "until": 0.6}
UNIFORM: dict[str, Any] = {
    "policy": "uniform",
    "kinds": ("widen",),
    "every": 30,
    "until": 0.6,
    "pace": 2.25,
}
AT_ONCE: dict[str, Any] = {"lr": 1.0, "steps": 0}
GRADMAX: dict[str, Any] = AT_ONCE | {"init": "gradmax"}
RESET: dict[str, Any] = AT_ONCE | {"momentum": "reset"}

VARIANTS: Mapping[str, Variant] = {
    "early": Variant({"until": 0.3}),
    "second-early": Variant({"until": 0.3}, width=1),
    "late": Variant({"until": 0.9}),
    "few": Variant({"max_edits": 2, "pace": 1.15}),
    "many": Variant({"max_edits": 8, "pace": 1.6}),
    "newborns-warmed-up": Variant({"newborns": {"lr": 0.1, "steps": 100}}),
    "random": Variant({"policy": "random"}),
    "split-only": Variant({"kinds": ("split",)}),
    "widen-only": Variant({"kinds": ("widen",)}),
    "entropy": Variant({"policy": "entropy"}),
    "early-widen": Variant(EARLY | {"kinds": ("widen",)}),
    "early-split": Variant(EARLY | {"kinds": ("split",)}),
    "early-random": Variant(EARLY | {"kinds": ("widen",), "policy": "random"}),
    "early-shallow": Variant(EARLY | {"kinds": ("widen", "connect", "attend", "activate")}),
    "once-widen": Variant(ONCE | {"kinds": ("widen",)}),
    "once-split": Variant(ONCE | {"kinds": ("split",)}),
    "second-widen": Variant({"kinds": ("widen",), "pace": 1.25, "until": 0.6}, width=1),
    "second-deepen": Variant({"kinds": ("deepen",), "until": 0.2}, width=1),
    "third-attend": Variant({"kinds": ("attend",), "until": 0.3}, width=2),
    "third-connect": Variant(CONNECT, width=2),
    "third-connect-many": Variant(CONNECT | {"max_edits": 12}, width=2),
    "third-connect-long": Variant(CONNECT | {"until": 0.6}, width=2),
    "third-connect-soon": Variant(SOON, width=2, steps=10),
    "third-connect-random": Variant(CONNECT | {"policy": "random"}, width=2),
    "third-correlation": Variant(CONNECT | {"policy": "correlation"}, width=2),
    "third-connect-fast": Variant(CONNECT | {"newborns": {"lr": 3.0, "steps": 100}}, width=2),
    "first-connect": Variant(CONNECT, width=0),
    "first-connect-soon": Variant(SOON, width=0, steps=10),
    "second-connect": Variant(CONNECT, width=1),
    "fourth-connect": Variant(CONNECT, width=3),
    "second-connect-soon": Variant(SOON, width=1, steps=10),
    "second-priced": Variant(PRICED | {"pace": 1.25}, width=1, steps=10),
    "first-priced": Variant(PRICED | {"pace": 1.5}, width=0, steps=10),
    "first-widen-connect": Variant(BOTH, width=0),
    "second-widen-connect": Variant(BOTH, width=1),
    "third-widen-connect": Variant(BOTH | {"pace": 1.2, "until": 0.3}, width=2),
    "third-deepen-connect": Variant(BOTH | {"kinds": ("deepen", "connect")}, width=2),
    "once-widen-connect": Variant(ONCE | {"kinds": ("widen", "connect"), "max_edits": 24}),
    "second-widen-gradmax": Variant(
        {"kinds": ("widen",), "pace": 1.25, "until": 0.6, "newborns": GRADMAX}, width=1
    ),
    "second-widen-reset": Variant(
        {"kinds": ("widen",), "pace": 1.25, "until": 0.6, "newborns": RESET}, width=1
    ),
    "early-widen-gradmax": Variant(EARLY | {"kinds": ("widen",), "newborns": GRADMAX}),
    "early-widen-reset": Variant(EARLY | {"kinds": ("widen",), "newborns": RESET}),
    "second-connect-reset": Variant(SOON | {"newborns": RESET}, width=1, steps=10),
    "third-activate": Variant({"kinds": ("activate",), "until": 0.3}, width=2),
    "long": Variant(SPREAD, width=1),
    "long-soon": Variant(SPREAD | {"every": 2}, width=1),
    "long-widen": Variant(SPREAD | {"kinds": ("widen",)}, width=1),
    "long-narrow": Variant(SPREAD, width=0),
    "long-narrow-widen": Variant(SPREAD | {"kinds": ("widen",)}, width=0),
    "longer-uniform": Variant(UNIFORM),
    "longer-widen": Variant(UNIFORM | {"policy": "arbiter"}),
    "fourth-prune": Variant({"kinds": ("prune",), "until": 0.8}, width=3),
}
"""Name -> what is tuned and taken apart. Raced only when asked for, as `--only dnm@early`."""


CHOSEN = VARIANTS["third-connect-soon"]
"""Raced as `dnm` by the airbench recipe."""
CHOSEN_LONG = VARIANTS["long"]
"""Raced as `dnm` in the long regime."""
CHOSEN_LONGER = VARIANTS["longer-uniform"]
"""Raced as `dnm` in the longer regime."""
