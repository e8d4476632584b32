"""How far a network may grow."""

from math import inf

from pydantic import BaseModel, ConfigDict, Field

from neuroexapt.graph import Cost


class Budget(BaseModel):
    """Limits that growth never passes; None for no limit.

    Attributes:
        params: parameters.
        macs: multiply-accumulates of one sample's forward pass.
        latency_ms: milliseconds of a forward pass of one sample in eval mode, measured with each
            edit that would make the model larger: it depends on the machine and its load, and
            growth that goes by it doesn't repeat exactly.
        train_flops: FLOPs of the whole training, sensing and edits included (2 for each
            multiply-accumulate); growth stops when they are spent.

    Example:
        >>> Budget(params=1000).exceeded(Cost(params=1200, macs=1))
        '1,200 parameters, budget 1,000'
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    params: int | None = Field(default=None, gt=0)
    macs: int | None = Field(default=None, gt=0)
    latency_ms: float | None = Field(default=None, gt=0)
    train_flops: float | None = Field(default=None, gt=0)

    def exceeded(self, cost: Cost) -> str | None:
        """What a network of this cost would exceed, in words; None if it fits; latency aside."""
        if self.params is not None and cost.params > self.params:
            return f"{cost.params:,} parameters, budget {self.params:,}"
        if self.macs is not None and cost.macs > self.macs:
            return f"{cost.macs:,} MACs, budget {self.macs:,}"
        return None

    def room(self, cost: Cost) -> float:
        """By what factor a network of this cost may grow in parameters and in MACs.

        Example:
            >>> Budget(params=1000, macs=6000).room(Cost(params=500, macs=2000))
            2.0
        """
        limits = ((self.params, cost.params), (self.macs, cost.macs))
        return min((most / max(now, 1) for most, now in limits if most is not None), default=inf)

    def spent(self, flops: float) -> bool:
        """Whether the training FLOPs are used up."""
        return self.train_flops is not None and flops >= self.train_flops
