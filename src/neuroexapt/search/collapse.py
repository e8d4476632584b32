"""Whether a differentiable search is about to collapse into skip connections.

A skip has no weights, so that it can't overfit. Once the supernet memorises its training data, the
held-out loss, which alpha descends, prefers skips to operations whose weights have gone astray:
regularisation (weight decay, drop-path) prevents collapse, and its lack brings it about. So the
rule here looks at the cause: does overfitting get worse, beyond the noise of single epochs, while
there are skips to choose? Skips that are counted early tell less: they are as often left over from
the start.

Sources: RobustDARTS, Zela et al. 2020, arXiv:1909.09656 (eigenvalues, and overfitting as the
cause); DARTS+, Liang et al. 2019, arXiv:1909.06035 (counted skips).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

from pydantic import BaseModel, ConfigDict

from neuroexapt.search.logs import SearchRun

COLLAPSED = 5 / 8
"""Share of skips among the normal cell's edges from which a derived network is of no use."""
FEWEST = 4
"""Epochs from which a trend can be read at all."""
WINDOW, LAG = 5, 4
"""Eigenvalues in an average, and how many measurements before it the other was taken."""


def is_collapsed(run: SearchRun) -> bool:
    """Whether at least 5 of 8 edges of the normal cell are skips, at the last epoch logged."""
    return run.skip_shares[-1] >= COLLAPSED


class Verdict(BaseModel):
    """What a rule says of a search.

    Attributes:
        fires: whether the search is expected to collapse.
        epoch: after how many epochs this could first be said; None if it can't.
        decided: whether more epochs can't change it.
        reason: in words.
    """

    model_config = ConfigDict(frozen=True)

    fires: bool
    epoch: int | None = None
    decided: bool
    reason: str


@dataclass(frozen=True)
class CollapseRule:
    """An early sign of collapse: overfitting grows beyond doubt while there are skips to choose.

    It asks at each epoch between `earliest` and `latest` and stays with the first yes. Where errors
    weren't logged, skips must have climbed from their lowest number instead, which tells less. A
    cell that has as many skips as a collapsed one speaks for itself. All spans are shares of the
    search's epochs, all numbers of skips are shares of the cell's edges.

    Attributes:
        share: of skips, from which growing overfitting makes them win; 2 of 8 is the least that is
            published as suspicious.
        confidence: with which overfitting must be known to grow (two-sided).
        climb: of skips from their lowest, where there are no errors: one edge of 8.
        earliest: when it first asks.
        latest: when it last asks.
        warm_up: epochs at the start, of which no trend is read: all errors fall steeply there.
        recent: epochs whose mean number of skips stands for the present.
    """

    share: float = 2 / 8
    confidence: float = 0.95
    climb: float = 1 / 8
    earliest: float = 0.3
    latest: float = 0.5
    warm_up: float = 0.1
    recent: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence is {self.confidence}; it must lie between 0 and 1")
        if not 0 <= self.warm_up < self.earliest <= self.latest <= 1:
            raise ValueError(
                f"warm_up, earliest and latest are {self.warm_up}, {self.earliest} and "
                f"{self.latest}; they must be shares of the search in this order, the first two "
                "different"
            )

    def judge(self, run: SearchRun) -> Verdict:
        """Whether a search is expected to collapse, from its epochs up to the rule's latest.

        Example:
            >>> train, valid = range(60, 10, -1), [50 - 0.6 * n for n in range(50)]
            >>> run = SearchRun(skips_normal=[3] * 50, train_err=train, valid_err=valid)
            >>> CollapseRule().judge(run.until(15)).epoch
            15
        """
        first = max(math.ceil(round(self.earliest * run.num_epochs, 6)), 1)
        last = max(math.floor(round(self.latest * run.num_epochs, 6)), first)
        seen = min(len(run.skips_normal), last)
        for epoch in range(first, seen + 1):
            if reason := self._sign(run.until(epoch)):
                reason = f"after epoch {epoch} of {run.num_epochs}, {reason}"
                return Verdict(fires=True, epoch=epoch, decided=True, reason=reason)
        return Verdict(
            fires=False, decided=seen == last, reason=self._silence(run.until(seen), first, last)
        )

    def _sign(self, run: SearchRun) -> str:
        """What a log shows at its last epoch, in words; empty for nothing."""
        share = self.present(run)
        skips = f"{share:.0%} of the normal cell's edges are skips"
        if share >= COLLAPSED:
            return f"{skips}, as many as in a collapsed one"
        if share < self.share:
            return ""
        if not run.train_err:
            climb = self.climbed(run)
            up = f"and they have climbed by {climb:.0%} of the edges (no errors were logged)"
            return f"{skips} {up}" if climb >= self.climb else ""
        widening = self.widening(run)
        if widening is None or widening <= 0:
            return ""
        return (
            f"{skips} and overfitting grows: the part of the held-out error that training doesn't "
            f"have widens by at least {widening:.2f} a search"
        )

    def _silence(self, run: SearchRun, first: int, last: int) -> str:
        """Why nothing was said of a log."""
        seen = len(run.skips_normal)
        if seen < first:
            return f"{seen} of {run.num_epochs} epochs are too few; the rule asks from {first} on"
        skips = f"at epoch {seen}, {self.present(run):.0%} of the normal cell's edges are skips"
        if self.present(run) < self.share:
            found = f"under {self.share:.0%}"
        elif run.train_err:
            found = "but overfitting doesn't grow beyond doubt"
        else:
            found = "but they haven't climbed (no errors were logged)"
        return f"{skips}, {found}" + ("" if seen == last else f"; the rule asks up to epoch {last}")

    def present(self, run: SearchRun) -> float:
        """Mean share of skips in the last epochs logged."""
        return fmean(run.skip_shares[-self._span(run) :])

    def climbed(self, run: SearchRun) -> float:
        """How far the share of skips is above its lowest, each as a mean of some epochs."""
        span, shares = self._span(run), run.skip_shares
        means = [fmean(shares[i : i + span]) for i in range(max(len(shares) - span, 0) + 1)]
        return means[-1] - min(means)

    def widening(self, run: SearchRun) -> float | None:
        """By how much the gap of overfitting widens at least over a whole search, as its trend is.

        The gap is 1 - training error / held-out error: 0 if what was learnt is as true of held-out
        data, 1 if all was memorised. It has no units, so that hard and easy data compare. Its trend
        is the median of all pairs' slopes (Theil and Sen); the lower end of its confidence interval
        counts, so that noise calls for more epochs rather than for an alarm.

        Returns:
            None if errors weren't logged, or in too few epochs.
        """
        gaps = [_gap(*pair) for pair in run.errors()][round(self.warm_up * run.num_epochs) :]
        if len(gaps) < FEWEST:
            return None
        from scipy.stats import theilslopes  # takes a second to import

        return float(theilslopes(gaps, alpha=self.confidence)[2]) * run.num_epochs

    def _span(self, run: SearchRun) -> int:
        return max(round(self.recent * run.num_epochs), 1)


def _gap(train: float, valid: float) -> float:
    """Bounded below, since a held-out error may be next to nothing."""
    return max(1 - train / valid, -1.0) if valid > 0 else -float(train > 0)


def rises(values: Sequence[float], window: int = WINDOW, lag: int = LAG) -> list[float]:
    """How each average of `window` measurements compares with the one `lag` measurements before.

    Args:
        values: earliest first.
        window: measurements in an average.
        lag: how many measurements before the other average was taken.

    Returns:
        Ratios, earliest first; without those to averages that aren't above 0.

    Example:
        >>> rises([1, 1, 3], window=1, lag=2)
        [3.0]

    Source: RobustDARTS, Zela et al. 2020, arXiv:1909.09656, section 4.3.
    """
    means = [fmean(values[i : i + window]) for i in range(len(values) - window + 1)]
    return [now / before for before, now in zip(means, means[lag:], strict=False) if before > 0]


def eigenvalue_ratio(run: SearchRun) -> float | None:
    """How far the largest eigenvalue has risen at most; None with too few measurements."""
    return max(rises(run.ev_max), default=None)


def eigenvalue_over(ratio: float) -> Callable[[SearchRun], bool | None]:
    """The rule that the eigenvalue's largest ratio is over `ratio`; None where that isn't known."""

    def fires(run: SearchRun) -> bool | None:
        found = eigenvalue_ratio(run)
        return None if found is None else found > ratio

    return fires


def skips_at(share: float, when: float) -> Callable[[SearchRun], bool | None]:
    """The rule that at least `share` of the edges are skips after `when` of the search.

    It says None of a search that hasn't come so far.
    """

    def fires(run: SearchRun) -> bool | None:
        epoch = max(round(when * run.num_epochs), 1)
        return run.skip_shares[epoch - 1] >= share if epoch <= len(run.skip_shares) else None

    return fires


PUBLISHED: Mapping[str, Callable[[SearchRun], bool | None]] = MappingProxyType(
    {
        "eigenvalue ratio over 1.3": eigenvalue_over(1.3),
        "eigenvalue ratio over 1.5": eigenvalue_over(1.5),
        "3 of 8 skips at epoch 20 of 50": skips_at(3 / 8, 20 / 50),
        "3 of 8 skips at epoch 25 of 50": skips_at(3 / 8, 25 / 50),
    }
)
"""The rules of others: each says whether it fires, or None where a log doesn't tell."""
