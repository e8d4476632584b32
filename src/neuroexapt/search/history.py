"""A search that was recorded, and what its epochs tell of what is wrong with it."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from neuroexapt.search.bottleneck import broken, not_learning, skip_dominance
from neuroexapt.search.config import SEARCHING, SearchConfig
from neuroexapt.search.finding import Check, Finding, not_measured
from neuroexapt.search.measured import findings_of_measurement, rise_of_curvature
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.record import SearchEpoch
from neuroexapt.search.separation import alpha_steps, leakage, never_stepped
from neuroexapt.search.stagnation import alpha_stagnation, gumbel_saturation, temperature_at_floor

YOUNG = 0.25
"""Share of a search in which a network isn't blamed yet for knowing nothing."""
WINDOW = 10
"""Epochs that are looked back on."""
_OF_ALPHA: tuple[Check, ...] = (
    "too few alpha steps",
    "alpha stagnation",
    "Gumbel saturation",
    "temperature at its floor",
)
_NO_TURN = "alpha had no turn"
_MIXED = "operations are weighted by softmax(alpha), so that nothing is drawn"


class SearchHistory(BaseModel):
    """How a search was to go, and how it has gone so far.

    Attributes:
        config: how it is run.
        epochs: one record for each that is through.
        is_over: whether it has come to its end.
        failure: why it couldn't go on; empty if it can.
        majority: share of the most frequent class of the held-out data; None if it wasn't counted.
        num_held_out: samples of these data; None likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: SearchConfig
    epochs: tuple[SearchEpoch, ...]
    is_over: bool = False
    failure: str = ""
    majority: float | None = None
    num_held_out: int | None = None

    @property
    def searched(self) -> tuple[SearchEpoch, ...]:
        """The epochs in which alpha was trained."""
        return tuple(epoch for epoch in self.epochs if epoch.phase in SEARCHING)

    @property
    def measured(self) -> tuple[Measurement, ...]:
        """What was measured on the way, earliest first."""
        return tuple(epoch.measured for epoch in self.epochs if epoch.measured is not None)

    @property
    def is_final(self) -> bool:
        """Whether the likeliest operations alone were trained last."""
        return bool(self.epochs) and self.epochs[-1].phase == "final"

    @property
    def is_young(self) -> bool:
        """Whether less than a quarter of the search is through, by its FLOPs if these end it."""
        if not self.epochs:
            return True
        limit, through = self.config.max_flops, len(self.epochs) / self.config.epochs
        return (self.epochs[-1].flops / limit if limit else through) < YOUNG

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
        majority: share of the most frequent class; None for what was counted, if it was.
        operations: of a decision; None for what was measured, if it was.
    """
    config = history.config
    steps = sum(epoch.alpha_steps for epoch in history.epochs)
    found = [leakage(config, steps)]
    if not history.epochs:
        return found + _broken(history)
    last = history.epochs[-1]
    if history.measured:
        newest = history.measured[-1]
        found += findings_of_measurement(newest, config)
        found.append(rise_of_curvature(history.measured, config))
        operations = newest.operations if operations is None else operations
    learning = _learning(history, majority)
    if learning is not None:
        found.append(learning)
    choices = tuple(last.choices.values())
    found.append(skip_dominance(choices, last.movement.entropy, config.recipe.weight_decay))
    return found + _of_alpha(history, window, operations) + _broken(history)


def _broken(history: SearchHistory) -> list[Finding]:
    """What is to be said where it couldn't go on."""
    return [broken(history.failure, history.config.recipe.lr)] if history.failure else []


def _learning(history: SearchHistory, majority: float | None) -> Finding | None:
    """Whether the network is any good; None if the share of the most frequent class isn't known.

    Of every epoch the held-out accuracy of the likeliest operations alone is recorded. While alpha
    is even these are chance, and say nothing of a network that is trained with other ones.
    """
    last, config, newest = history.epochs[-1], history.config, (None, *history.measured)[-1]
    if majority is None:
        majority = history.majority
    if majority is None:
        return None
    found = not_learning(last.val_accuracy, majority, config.recipe.lr, history.num_held_out)
    if found.severity == "ok" or history.is_final or history.is_young:
        return spared(found, history)
    if newest is not None and newest.supernet is not None:
        return not_learning(newest.supernet, majority, config.recipe.lr, newest.num_samples)
    if last.train_accuracy <= majority:
        return found
    reason = (
        f"held-out accuracy is recorded of the likeliest operations only, {last.val_accuracy:.1%}, "
        f"while what is trained gets {last.train_accuracy:.1%} in training; diagnose it live"
    )
    return not_measured("not learning", reason)


def spared(found: Finding, history: SearchHistory) -> Finding:
    """A finding as it is, but that no network is blamed yet for knowing nothing while it is young.

    Args:
        found: of any check.
        history: of the search.
    """
    unlearnt = found.check == "not learning" and found.severity == "critical"
    if not (unlearnt and history.is_young) or found.value is None:
        return found
    so_far = f"{found.meaning} So far: it has only begun."
    return found.model_copy(update={"severity": "notice", "meaning": so_far, "remedy": ""})


def _of_alpha(history: SearchHistory, window: int, operations: int | None) -> list[Finding]:
    """How alpha was trained."""
    config, turns = history.config, history.recent_turns(window)
    if not turns and history.is_over:
        return [never_stepped(config), *(not_measured(check, _NO_TURN) for check in _OF_ALPHA[1:])]
    if not turns:
        rest = f"alpha has its first turn by the end of epoch {config.warmup + history.turn}"
        return [not_measured(check, rest) for check in _OF_ALPHA]
    alpha = sum(epoch.alpha_steps for epoch in turns)
    weights = sum(epoch.weight_steps for epoch in turns)
    found = [
        alpha_steps(
            alpha, max(weights, 1), alpha / len(turns) * config.planned, config, operations
        ),
        _stagnation(history, turns, window),
    ]
    if config.relaxation == "softmax":
        return found + [not_measured(check, _MIXED) for check in _OF_ALPHA[2:]]
    return found + _of_draws(history, turns)


def _stagnation(history: SearchHistory, turns: Sequence[SearchEpoch], window: int) -> Finding:
    needed = history.whole_turns(min(window, history.config.planned))
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
    drawn = history.measured[-1].saturation if history.measured else None
    jacobian = None if drawn is None else drawn.jacobian
    return [
        gumbel_saturation(share, entropy, turn[-1].temperature, jacobian),
        temperature_at_floor(last.temperature, history.config.annealing, share, entropy),
    ]
