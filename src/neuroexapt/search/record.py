"""What an epoch of a search came to."""

from pydantic import BaseModel, ConfigDict

from neuroexapt.search.config import Phase
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.movement import Movement


class SearchEpoch(BaseModel):
    """What one epoch of a search came to.

    Attributes:
        epoch: counted from 0.
        phase: what it was for.
        explored: whether operations were drawn evenly.
        temperature: of the draws, as it was.
        train_loss: mean over the training samples; with another draw for each batch.
        train_accuracy: 0 to 1.
        val_loss: of the likeliest operations alone, their norms calibrated, on held-out data.
        val_accuracy: likewise, 0 to 1.
        weight_steps: of the weights, in this epoch.
        alpha_steps: of the architecture parameters, in this epoch.
        saturated: share of the draws at alpha's steps whose relaxed sample was above 0.99
            for one operation, so that hardly a gradient got through.
        movement: what happened to alpha.
        choices: decision -> likeliest operation, at the end.
        expansions: how often the network had grown by the end.
        flops: spent since the search began; 2 for each multiply-accumulate, a backward pass counted
            as two forward ones, or as one where weights rest: at alpha's steps that don't
            look ahead.
        seconds: wall time of this epoch, measuring included.
        gap: by how much the network as it was trained was more accurate on held-out data than the
            likeliest operations alone, with the same weights, when it was derived: before the first
            final epoch, or after the last one. None in other epochs.
        measured: what was measured at the end; None where it wasn't time to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    epoch: int
    phase: Phase
    explored: bool
    temperature: float
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    weight_steps: int
    alpha_steps: int
    saturated: float
    movement: Movement
    choices: dict[str, str]
    expansions: int = 0
    flops: int
    seconds: float
    gap: float | None = None
    measured: Measurement | None = None
