"""A search that was recorded, and what its epochs tell of what is wrong with it."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from neuroexapt.search.bottleneck import not_learning, skip_dominance
from neuroexapt.search.config import SearchConfig
from neuroexapt.search.finding import Check, Finding, not_measured
from neuroexapt.search.record import SearchEpoch
from neuroexapt.search.separation import alpha_steps, leakage
from neuroexapt.search.stagnation import alpha_stagnation, gumbel_saturation, temperature_at_floor

WINDOW = 10
"""Epochs that are looked back on."""
_OF_ALPHA: tuple[Check, ...] = (
    "too few alpha steps",
    "alpha stagnation",
    "Gumbel saturation",
    "temperature at its floor",
)
_SEARCHING = ("search", "growth")
_MIXED = "operations are weighted by softmax(alpha), so that nothing is drawn"


class SearchHistory(BaseModel):
    """How a search was to go, and how it has gone so far.

    Attributes:
        config: how it is run.
        epochs: one record for each that is through.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: SearchConfig
    epochs: tuple[SearchEpoch, ...]

    @property
    def searched(self) -> tuple[SearchEpoch, ...]:
        """The epochs in which alpha was trained."""
        return tuple(epoch for epoch in self.epochs if epoch.phase in _SEARCHING)

    @property
    def planned(self) -> int:
        """Epochs in which alpha is trained, in the whole search."""
        return sum(self.config.phase(epoch) in _SEARCHING for epoch in range(self.config.epochs))

    @property
    def turn(self) -> int:
        """Epochs after which alpha has had its turn for certain."""
        return self.config.alpha.every if self.config.alpha.unit == "epochs" else 1

    def recent_turns(self, window: int) -> tuple[SearchEpoch, ...]:
        """The last epochs in which alpha was trained, about `window` of them, in whole turns."""
        through = self.searched[: len(self.searched) // self.turn * self.turn]
        return through[-self.whole_turns(window) :]

    def whole_turns(self, epochs: int) -> int:
        """So many epochs, cut to whole turns of alpha, of which there is one at least.

        Example:
            >>> every_third = {"alpha": {"every": 3, "unit": "epochs"}}
            >>> history = SearchHistory(config=every_third, epochs=())
            >>> history.whole_turns(10), history.whole_turns(2)
            (9, 3)
        """
        return max(epochs // self.turn, 1) * self.turn


def findings_of_history(
    history: SearchHistory,
    *,
    window: int = WINDOW,
    majority: float | None = None,
    operations: int | None = None,
) -> list[Finding]:
    """What the records of a search tell.

    Args:
        history: of a search that is over or goes on.
        window: epochs to look back on.
        majority: share of the most frequent class; None if it isn't known.
        operations: of a decision; None if it isn't known.
    """
    config = history.config
    steps = sum(epoch.alpha_steps for epoch in history.epochs)
    found = [leakage(config, steps)]
    if not history.epochs:
        return found
    last = history.epochs[-1]
    if majority is not None:
        found.append(_learning(last, majority, config))
    choices = tuple(last.choices.values())
    found.append(skip_dominance(choices, last.movement.entropy, config.recipe.weight_decay))
    return found + _of_alpha(history, window, operations)


def _learning(last: SearchEpoch, majority: float, config: SearchConfig) -> Finding:
    """Of the likeliest operations alone, the only ones whose held-out accuracy is recorded."""
    found = not_learning(last.val_accuracy, majority, config.recipe.lr)
    if found.severity == "ok" or last.train_accuracy <= majority:
        return found
    reason = (
        f"held-out accuracy is recorded of the likeliest operations only, {last.val_accuracy:.1%}, "
        f"while what is trained gets {last.train_accuracy:.1%} in training; diagnose it live"
    )
    return not_measured("not learning", reason)


def _of_alpha(history: SearchHistory, window: int, operations: int | None) -> list[Finding]:
    """How alpha was trained."""
    config, turns = history.config, history.recent_turns(window)
    if not turns:
        rest = f"alpha has its first turn by the end of epoch {config.warmup + history.turn}"
        return [not_measured(check, rest) for check in _OF_ALPHA]
    alpha = sum(epoch.alpha_steps for epoch in turns)
    weights = sum(epoch.weight_steps for epoch in turns)
    found = [
        alpha_steps(
            alpha, max(weights, 1), alpha / len(turns) * history.planned, config, operations
        ),
        _stagnation(history, turns, window),
    ]
    if config.relaxation == "softmax":
        return found + [not_measured(check, _MIXED) for check in _OF_ALPHA[2:]]
    return found + _of_draws(history, turns)


def _stagnation(history: SearchHistory, turns: Sequence[SearchEpoch], window: int) -> Finding:
    needed = history.whole_turns(min(window, history.planned))
    if len(turns) < needed:
        reason = f"alpha was trained for {len(turns)} epochs, and {needed} are looked back on"
        return not_measured("alpha stagnation", reason)
    return alpha_stagnation([epoch.movement for epoch in turns], history.config.alpha.lr)


def _of_draws(history: SearchHistory, turns: Sequence[SearchEpoch]) -> list[Finding]:
    """How soft draws were at alpha's last turn, and whether they get any softer."""
    turn, last = turns[-history.turn :], history.epochs[-1]
    steps = max(sum(epoch.alpha_steps for epoch in turn), 1)
    share = sum(epoch.saturated * epoch.alpha_steps for epoch in turn) / steps
    entropy = last.movement.entropy
    return [
        gumbel_saturation(share, entropy, turn[-1].temperature),
        temperature_at_floor(last.temperature, history.config.annealing, share, entropy),
    ]
