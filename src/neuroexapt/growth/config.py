"""How a network grows."""

from pydantic import BaseModel, ConfigDict, Field


class GrowthConfig(BaseModel):
    """When growth happens, and how much of it.

    Attributes:
        every: epochs between growths.
        until: share of the training after which nothing grows any more, so that the last newborns
            are trained; the share is given to `Grower.step` as `progress`.
        entropy_threshold: normalised activation entropy from which a unit may divide, 0 to 1.
        split_probability: chance that such a unit does.
        max_splits_per_layer: units of one group that divide at a time, at most.
        max_connections: connections at a time, at most.
        num_batches: batches that sensing looks at.
        bins: of the entropy's histogram.
        patience: growths in a row that propose nothing before growth ends.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every: int = Field(default=5, ge=1)
    until: float = Field(default=0.75, gt=0, le=1)
    entropy_threshold: float = Field(default=0.6, ge=0, le=1)
    split_probability: float = Field(default=0.3, ge=0, le=1)
    max_splits_per_layer: int = Field(default=3, ge=0)
    max_connections: int = Field(default=1, ge=0)
    num_batches: int = Field(default=2, ge=1)
    bins: int = Field(default=32, ge=2)
    patience: int = Field(default=3, ge=1)
