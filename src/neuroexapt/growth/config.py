"""How a network grows."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuroexapt.growth.newborns import Newborns

PolicyName: TypeAlias = Literal[
    "arbiter", "papers", "entropy", "correlation", "random", "uniform", "breakthrough"
]
Kind: TypeAlias = Literal["split", "widen", "deepen", "connect", "attend", "activate", "prune"]


class GrowthConfig(BaseModel):
    """When growth happens, where, and how much of it.

    Attributes:
        policy: what decides where. "arbiter": of `kinds`, whatever is predicted to save most of the
            loss for its cost, as long as that is worth it; of blocks it considers residual and
            inverted ones, of connections the eight between the most correlated layers.
            "papers", as the framework's papers have it: units of high entropy divide by chance, and
            layers whose gradients correlate are connected. "entropy", "correlation": the one or the
            other alone, strongest first. "random": of `kinds`, any edit anywhere. "uniform": every
            group is widened by the same share, as far as the pace and the budget allow, and by more
            if it has fallen behind.
            "breakthrough": see `PerformanceBreakthroughSystem`.
        timing: what decides when. "periodic": every few epochs. "plateau": when the metric has
            stopped rising. "gain": as soon as something is worth its cost; with the arbiter only.
        every: epochs between growths, at least.
        until: share of the training after which nothing grows any more, so that the last newborns
            are trained; the share is given to `Grower.step` as `progress`.
        max_edits: edits at a time, at most (not with "uniform", nor with "papers", which has limits
            of its own).
        pace: at most by so many times may the MACs grow at a time (not with "papers"; about so many
            with "uniform", which adds whole units to every group).
        share: by how much of its size a group grows or shrinks in one edit (not with "papers").
        kinds: of edits that "arbiter" and "random" consider. Splits aren't among them by default:
            in three of four groups where both were tried, new units saved more than twins. The
            arbiter prunes dead units at any time, others only when no growth pays and their compute
            is worth more than what they save; "random" never prunes.
        min_saving: share of the loss that an edit has to be predicted to save (arbiter).
        exchange: share of the loss that an edit has to save, if that is more than `min_saving`, for
            making the network e times as dear to train; or what training on is seen to save, if
            that is less and the held-out loss is told: where it falls no more, compute is worth
            nothing. With the timing "gain" if that is more. Pruning goes by it on plateaus, too
            (arbiter).
        entropy_threshold: normalised activation entropy from which a unit may divide, 0 to 1
            ("papers", "breakthrough").
        split_probability: chance that such a unit does ("papers").
        max_splits_per_layer: units of one group that divide at a time, at most ("papers").
        max_connections: connections at a time, at most ("papers").
        plateau_window: epochs of which a plateau consists, at least 5.
        num_batches: batches that sensing looks at, at most.
        sensing_share: share of the training FLOPs that sensing and the checks of edits may take, of
            the whole training's where `progress` tells its length, more of it early. To keep within
            it, fewer samples and additions are looked at, fewer edits made at a time, or growth
            waits.
        bins: of the entropy's histogram.
        patience: growths in a row that find nothing to do before growth ends.
        newborns: how new weights are trained at first.

    Example:
        >>> config = GrowthConfig(every=2, kinds=("widen", "deepen"))
        >>> config.every, config.until
        (2, 0.75)
        >>> GrowthConfig.model_validate_json(config.model_dump_json()) == config
        True
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: PolicyName = "arbiter"
    timing: Literal["periodic", "plateau", "gain"] = "periodic"
    every: int = Field(default=5, ge=1)
    until: float = Field(default=0.75, gt=0, le=1)
    max_edits: int = Field(default=8, ge=1)
    pace: float = Field(default=2.0, gt=1)
    share: float = Field(default=0.5, gt=0, le=1)
    kinds: tuple[Kind, ...] = ("widen", "deepen", "connect", "attend", "activate", "prune")
    min_saving: float = Field(default=0.001, ge=0)
    exchange: float = Field(default=0.02, ge=0)
    entropy_threshold: float = Field(default=0.6, ge=0, le=1)
    split_probability: float = Field(default=0.3, ge=0, le=1)
    max_splits_per_layer: int = Field(default=3, ge=0)
    max_connections: int = Field(default=1, ge=0)
    plateau_window: int = Field(default=8, ge=5)
    num_batches: int = Field(default=8, ge=1)
    sensing_share: float = Field(default=0.05, gt=0, le=1)
    bins: int = Field(default=32, ge=2)
    patience: int = Field(default=3, ge=1)
    newborns: Newborns = Newborns()

    @model_validator(mode="after")
    def _has_gains(self) -> "GrowthConfig":
        if self.timing == "gain" and self.policy != "arbiter":
            raise ValueError(
                f"timing is 'gain', but the policy {self.policy!r} predicts no gains; give "
                "policy='arbiter', or another timing"
            )
        return self
