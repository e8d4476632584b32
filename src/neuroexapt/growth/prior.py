"""What an edit is expected to save of the loss, by what was measured on other networks."""

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from neuroexapt.edits import AnyEdit, Attend, Deepen
from neuroexapt.graph import Cost
from neuroexapt.signals import Gain

OUTSTANDING = 3.0
"""A gain of fewer standard errors may be one of many that noise made large."""
SMALLEST = 1e-9
"""Below this, a gain counts as this: logarithms are taken."""


class Features(BaseModel):
    """What is known of an edit before it is made; all relative, so that models can be compared.

    Attributes:
        kind: of edit, as in `kind_of`.
        values: name -> value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    values: Mapping[str, float]


class Prior(BaseModel):
    """A log-linear law for the share of the held-out loss that an edit saves.

    For growth, the share is exp(kind + sum of exponent x feature); for pruning, the share that is
    lost is the same with a sign of its own.

    Attributes:
        horizon: training steps after which savings were measured.
        kinds: kind -> the law's constant.
        exponents: kind of law ("grow" or "prune") -> feature -> exponent.
        source: what it was fitted on.

    Example:
        >>> prior = Prior(
        ...     horizon=300,
        ...     kinds={"widen": math.log(0.02)},
        ...     exponents={"grow": {"gain": 0.5}},
        ...     source="nothing",
        ... )
        >>> round(prior.saving(Features(kind="widen", values={"gain": math.log(0.25)})), 6)
        0.01
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    horizon: int
    kinds: Mapping[str, float]
    exponents: Mapping[str, Mapping[str, float]]
    source: str

    def saving(self, features: Features) -> float:
        """Share of the held-out loss that an edit is expected to save, negative for a loss.

        At most all of it.

        Raises:
            KeyError: if the law doesn't know the kind of edit.
        """
        sign, law = (-1, "prune") if features.kind == "prune" else (1, "grow")
        exponents = self.exponents[law]
        total = sum(exponents[name] * features.values[name] for name in exponents)
        return sign * min(math.exp(self.kinds[features.kind] + total), 1.0)


def kind_of(edit: AnyEdit) -> str:
    """The kind that an edit is judged with: blocks and attention by their form, else the class.

    Example:
        >>> kind_of(Attend(after="0", form="positions"))
        'attend-positions'
        >>> kind_of(Attend(after="3", source="0")), kind_of(Deepen(after="0", form="bottleneck"))
        ('attend-source', 'deepen-bottleneck')
    """
    if isinstance(edit, Attend):
        return f"attend-{edit.form if edit.source is None else 'source'}"
    if isinstance(edit, Deepen) and edit.form in ("bottleneck", "inverted"):
        return f"deepen-{edit.form}"
    return edit.kind


def growing_features(gain: Gain, largest: float, loss: float, cost: Cost) -> Features:
    """The features of an edit that adds something.

    Args:
        gain: of the edit.
        largest: what any of the edits in question can do that the last layer can't
            (`Gain.beyond`).
        loss: of the model, where the gain was measured.
        cost: of the model.
    """
    return Features(
        kind=kind_of(gain.edit),  # type: ignore[arg-type]
        values=MappingProxyType(
            {
                "gain": assured_log(gain.gain, gain.error, loss),
                "beyond": assured_log(gain.beyond, gain.beyond_error, loss),
                "standing": standing_log(gain.beyond, gain.beyond_error, largest),
                "dual": math.log(max(gain.dual, SMALLEST) / loss),
                "share": gain.share,
                "params": math.log(max(gain.params, 1) / cost.params),
                "macs": math.log(gain.macs / max(cost.macs, 1) + 0.01),
            }
        ),
    )


def assured_log(gain: float, error: float, loss: float) -> float:
    """The logarithm of a gain relative to the loss; noise counts as a tenth of its error."""
    least = error / 10 if math.isfinite(error) else 0.0
    return math.log(max(gain, least, SMALLEST) / loss)


def standing_log(gain: float, error: float, largest: float) -> float:
    """The logarithm of how far a gain stands out, of noise and among others; 0 if it doesn't.

    It is what exceeds `OUTSTANDING` in the gain's standard errors, times its share of the largest
    gain. Only what a network is plainly unable to do gives so clear a gain, and then far more
    follows than the size of the gain tells.
    """
    if not (0 < error < math.inf and gain > 0):
        return 0.0
    return math.log(max(gain / error / OUTSTANDING * min(gain / largest, 1.0), 1.0))


def pruning_features(saliency: float, share: float, loss: float) -> Features:
    """The features of removing units.

    Args:
        saliency: by how much the loss is estimated to rise at once.
        share: of their group.
        loss: of the model.
    """
    return Features(
        kind="prune",
        values=MappingProxyType(
            {
                "saliency": math.log(max(saliency, 0) / loss + 1e-4),
                "removed": math.log(share),
            }
        ),
    )


@cache
def shipped_prior() -> Prior:
    """The prior that comes with the package; benchmarks/arbiter fitted it."""
    text = files("neuroexapt.growth").joinpath("prior.json").read_text("utf-8")
    return Prior.model_validate(json.loads(text))
