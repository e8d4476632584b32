"""How a population of networks evolves."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from neuroexapt.evolution.objectives import Limits, Objective
from neuroexapt.evolution.selection import Parents
from neuroexapt.growth import GrowthConfig
from neuroexapt.training import Recipe


class EvolutionConfig(BaseModel):
    """Everything about an evolution but the seed network and the data.

    Attributes:
        objectives: what is to become small: validation error (0 to 1), multiply-accumulates,
            parameters, measured milliseconds. With latency an evolution doesn't repeat exactly.
        limits: what no network of the front may exceed.
        error_ratio: an error above so many times the best member's, when a generation begins,
            counts as passing a limit; None for no bound. It keeps those out that are small for
            having nothing left.
        size: of the population.
        num_children: that are born in a generation.
        founding: epochs that the seed network is trained for first.
        rungs: epochs that children are trained for, one stint after the other.
        kept: share of the children that goes on from one rung to the next, the fittest first
            (successive halving). The others stay as they are, and may survive all the same.
        parents: who may have children: "population", all members; or "front", those of the first
            front only, which suits children that are much like their parents.
        crossover: share of the children that have two parents.
        trained: members that are trained on in a generation, as long as a child is: those of the
            first front that were trained least, dear ones having to be trained less.
        pruning: share of the other children that lose units instead of gaining any.
        num_edits: of a mutation, at most: changes that grow it, or groups that lose units.
        num_samples: training samples that a mutation goes by.
        max_flops: training FLOPs of the whole evolution, sensing included (2 for each
            multiply-accumulate); None to evolve generation by generation only.
        polish: share of them that is for the front at the end, while the learning rate falls to 0.
            A network gets the more of it the more it covers of what may be afforded.
        finalists: members of the front that are polished, at most: of those that cost about the
            same only the most accurate, and of these the ones that make up most of the hypervolume.
        calibration: training batches on which norms' statistics are estimated before a network is
            judged; 0 leaves them as training left them.
        recipe: how networks are trained. The learning rate rises over the founder's first epoch, or
            half of its founding if that is shorter. From then on it falls from its peak in each
            stint of training, so that networks are compared after they have settled; its own
            schedule and warm-up do nothing.
        growth: how they grow; its policy proposes the mutations. What says when and how much a
            network grows in a training of its own does nothing here.
        threads: of the CPU that a birth or a stint of training uses, wherever it runs. Sums depend
            on it, so an evolution repeats exactly only with the same number.
        seed: of every random choice.

    Source: inheritance instead of training from scratch: LEMONADE, Elsken et al. 2019,
    arXiv:1804.09081.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    objectives: tuple[Objective, ...] = Field(default=("error", "macs", "params"), min_length=1)
    limits: Limits = Limits()
    error_ratio: float | None = Field(default=None, gt=1, allow_inf_nan=False)
    size: int = Field(default=12, ge=2)
    num_children: int = Field(default=6, ge=1)
    founding: float = Field(default=1.0, gt=0)
    rungs: tuple[float, ...] = Field(default=(0.5, 0.5), min_length=1)
    kept: float = Field(default=0.5, gt=0, le=1)
    parents: Parents = "population"
    crossover: float = Field(default=0.2, ge=0, le=1)
    trained: int = Field(default=2, ge=0)
    pruning: float = Field(default=0.2, ge=0, le=1)
    num_edits: int = Field(default=2, ge=1)
    num_samples: int = Field(default=128, ge=32)
    max_flops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    polish: float = Field(default=0.4, ge=0, lt=1)
    finalists: int = Field(default=8, ge=1)
    calibration: int = Field(default=8, ge=0)
    recipe: Recipe = Recipe()
    growth: GrowthConfig = GrowthConfig(policy="arbiter", exchange=0.0, min_saving=0.0)
    threads: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _is_possible(self) -> "EvolutionConfig":
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(
                f"the objectives {', '.join(self.objectives)} name one twice; name each once"
            )
        if min(self.rungs) <= 0:
            raise ValueError(f"rungs are {self.rungs}; give a number of epochs above 0 for each")
        return self
