"""What a network is judged by, and what it must not exceed."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from neuroexapt.graph import Cost, LivingModel
from neuroexapt.graph.latency import latency_ms

Objective: TypeAlias = Literal["error", "macs", "params", "latency_ms"]


class Limits(BaseModel):
    """What no network of the front may exceed; None for no limit.

    Attributes:
        params: parameters.
        macs: multiply-accumulates of one sample's forward pass.
        latency_ms: milliseconds of a forward pass of one sample, in eval mode.

    Example:
        >>> Limits(params=1000, macs=500).excess({"params": 1500.0, "macs": 400.0})
        0.5
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: int | None = Field(default=None, gt=0)
    macs: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)

    @property
    def given(self) -> dict[str, float]:
        """Those that are."""
        return self.model_dump(exclude_none=True)

    def excess(self, scores: Mapping[str, float]) -> float:
        """By how much scores pass the limits, relative to each limit, summed; 0 if they don't."""
        return float(sum(max(scores[name] / most - 1, 0.0) for name, most in self.given.items()))

    def exceeded(self, cost: Cost) -> str | None:
        """What a network of this cost would exceed, in words; None if it fits. Latency isn't known.

        Example:
            >>> Limits(macs=500).exceeded(Cost(params=10, macs=700))
            '700 MACs, at most 500 are allowed'
        """
        if self.params is not None and cost.params > self.params:
            return f"{cost.params:,} parameters, at most {self.params:,} are allowed"
        if self.macs is not None and cost.macs > self.macs:
            return f"{cost.macs:,} MACs, at most {self.macs:,} are allowed"
        return None

    def passed_by(self, living: LivingModel) -> str | None:
        """What a network passes, in words; None if it keeps them. Latency is measured for it."""
        excess = self.exceeded(living.cost())
        if excess is None and self.latency_ms is not None:
            now = latency_ms(living.graph_module, living.example_inputs)
            if now > self.latency_ms:
                return f"{now:.3g} ms a sample, at most {self.latency_ms:g} ms are allowed"
        return excess
