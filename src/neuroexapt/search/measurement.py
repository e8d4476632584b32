"""What was measured on a search as it stood, in numbers."""

from pydantic import BaseModel, ConfigDict

from neuroexapt.search.agreement import Agreements
from neuroexapt.search.balance import Rate
from neuroexapt.search.overlap import Overlap
from neuroexapt.search.saturation import Saturation


class Measurement(BaseModel):
    """What records of training don't tell of a search; see `measure`.

    Attributes:
        operations: of the decision that has the fewest.
        temperature: of the draws.
        batch_size: of the training batches whose gradients were compared.
        overlap: what the loaders share; None where that can't be seen.
        failure: why the network computes nothing of use; empty if it does. All below is None then.
        supernet: accuracy of the network as it is trained, 0 to 1, on held-out data.
        derived: of the likeliest operations alone, with the same weights.
        majority: share of the most frequent class of these data.
        num_samples: of these data.
        saturation: of the draws; None where nothing is drawn.
        alpha: how fast the architecture parameters would be moved; None if that isn't finite.
        weights: likewise, at the peak of their learning rate.
        agreements: of training and held-out gradients; None where there was nothing to compare.
        eigenvalue: the largest of the held-out loss's Hessian in alpha; None if it isn't finite.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    operations: int
    temperature: float
    batch_size: int
    overlap: Overlap | None = None
    failure: str = ""
    supernet: float | None = None
    derived: float | None = None
    majority: float | None = None
    num_samples: int = 0
    saturation: Saturation | None = None
    alpha: Rate | None = None
    weights: Rate | None = None
    agreements: Agreements | None = None
    eigenvalue: float | None = None
