"""What keeps a search from finding anything good, as far as it can be told."""

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from neuroexapt.errors import SearchError
from neuroexapt.search.bottleneck import MANY, SUSPICIOUS, curvature, not_learning
from neuroexapt.search.collapse import COLLAPSED, CollapseRule, is_collapsed
from neuroexapt.search.finding import Diagnosis, Finding, Severity, not_measured
from neuroexapt.search.history import WINDOW, SearchHistory, findings_of_history
from neuroexapt.search.live import findings_of_search
from neuroexapt.search.logs import SearchRun
from neuroexapt.search.measured import rise_of_curvature
from neuroexapt.search.measurement import Measurement
from neuroexapt.search.searching import Searching

_RECORDED = (
    "nothing was measured on the way; search with SearchConfig(measure={}), as the command "
    "line does, or diagnose the live search with its loaders, "
    "ASOSEDiagnostics().diagnose(search, train_loader, val_loader)"
)
_NOT_YET = "the search is measured first after epoch {}"
_LOGGED = "a log of skips and errors doesn't tell"
_UNKNOWN = (
    "the share of the most frequent class isn't known; give it, as --majority 0.1 for ten even ones"
)

_LR = 0.025
"""At which DARTS trains its weights, which no log tells."""


class ASOSEDiagnostics:
    """Looks for what is known to go wrong in differentiable architecture search.

    A search that goes is diagnosed best after every epoch, with one object: how the curvature rises
    is known only from several measurements, which this remembers.

    Args:
        samples: from the start of each loader, to take gradients of; the more, the less noise and
            the longer it takes: about as long as three epochs of so many samples in which all
            operations run.
        window: epochs to look back on.
        seed: of the draws.

    Raises:
        ValueError: if a number is under 1.

    Example:
        >>> run = SearchRun(skips_normal=[6] * 50, n_epochs=50)
        >>> found = ASOSEDiagnostics().diagnose(run)
        >>> found.is_critical, found["skip dominance"].severity
        (True, 'critical')
    """

    def __init__(self, *, samples: int = 512, window: int = WINDOW, seed: int = 0) -> None:
        if samples < 1 or window < 1:
            raise ValueError(
                f"samples and window are {samples} and {window}; give whole numbers from 1 on"
            )
        self.samples, self.window, self.seed = samples, window, seed
        self._measured: WeakKeyDictionary[Searching, dict[int, Measurement]] = WeakKeyDictionary()

    def diagnose(
        self,
        subject: object,
        train_loader: Iterable[Any] | None = None,
        val_loader: Iterable[Any] | None = None,
        *,
        majority: float | None = None,
    ) -> Diagnosis:
        """Make every check that the subject allows.

        Args:
            subject: a `Searching`, or what has one as `.searching`; or a `SearchHistory`, of a
                search that is over or was stored; or a `SearchRun`, of another tool's log.
            train_loader: of a `Searching`: the data of the weights.
            val_loader: of a `Searching`: held-out data.
            majority: share of the most frequent class, of a history or a log; a `Searching`'s is
                counted.

        Raises:
            SearchError: if the subject is nothing of this kind, or loaders are missing.
            DataError: if a loader yields nothing usable.
        """
        if isinstance(subject, SearchHistory):
            return diagnose_history(subject, window=self.window, majority=majority)
        if isinstance(subject, SearchRun):
            return diagnose_log(subject, majority=majority)
        search = getattr(subject, "searching", subject)
        if search is None and subject is not None:
            raise SearchError(
                f"the {type(subject).__name__} hasn't searched anything yet; diagnose it once its "
                "search has begun, or a Searching after each of its epochs"
            )
        if not isinstance(search, Searching):
            raise SearchError(
                f"a {type(subject).__name__} can't be diagnosed; give a Searching, a SearchHistory "
                "of one, or a SearchRun as read_runs gives them"
            )
        if train_loader is None or val_loader is None:
            raise SearchError(
                "a search that goes is diagnosed on its data; give train_loader and val_loader"
            )
        return self._of_search(search, train_loader, val_loader)

    def _of_search(
        self, search: Searching, train_loader: Iterable[Any], val_loader: Iterable[Any]
    ) -> Diagnosis:
        found = findings_of_search(
            search,
            train_loader,
            val_loader,
            samples=self.samples,
            window=self.window,
            seed=self.seed,
        )
        known = self._measured.setdefault(search, {})
        known[search.epoch] = found.measurement
        rise = rise_of_curvature([known[epoch] for epoch in sorted(known)], search.config)
        earlier = [told for told in found.findings if told.check == "curvature"]
        if rise.severity == "not measured" and not earlier:
            meaning = f"{rise.meaning}; diagnose with this object after every epoch"
            earlier = [rise.model_copy(update={"meaning": meaning})]
        return Diagnosis.of(
            "a live search",
            search.epoch,
            search.config.epochs,
            [*found.findings, *(earlier if rise.severity == "not measured" else [rise])],
            "the loss isn't finite",
            found.measurement.eigenvalue,
        )


def diagnose_history(
    history: SearchHistory, *, window: int = WINDOW, majority: float | None = None
) -> Diagnosis:
    """Make the checks that need no network.

    Args:
        history: of a search that is over or goes on.
        window: epochs to look back on.
        majority: share of the most frequent class; None for what was counted, if it was.
    """
    found = findings_of_history(history, window=window, majority=majority)
    if not history.epochs:
        return Diagnosis.of("a search", 0, history.config.epochs, found, "no epoch is through yet")
    return Diagnosis.of(
        "a search",
        len(history.epochs),
        history.config.epochs,
        [not_measured("not learning", _UNKNOWN), *found],
        _why_not_measured(history),
        history.measured[-1].eigenvalue if history.measured else None,
    )


def _why_not_measured(history: SearchHistory) -> str:
    """What to say of checks for which the records have nothing."""
    if history.measured:
        return history.measured[-1].failure or "the loss isn't finite"
    through, config = len(history.epochs), history.config
    later = [epoch for epoch in range(through, config.epochs) if config.measures(epoch)]
    return _NOT_YET.format(later[0] + 1) if later else _RECORDED


def diagnose_log(run: SearchRun, *, majority: float | None = None) -> Diagnosis:
    """Make the checks that another tool's log allows.

    Args:
        run: as `read_runs` gives it.
        majority: share of the most frequent class; None if it isn't known.
    """
    found = [_collapse(run), _curvature(run)]
    errors = run.errors()
    if not errors:
        found.append(not_measured("not learning", "no errors were logged"))
    elif majority is None:
        found.append(not_measured("not learning", _UNKNOWN))
    else:
        learning = not_learning(1 - errors[-1][1] / 100, majority, _LR)
        remedy = f"--learning_rate {_LR / 5:g}" if learning.remedy else ""
        found.append(learning.model_copy(update={"remedy": remedy}))
    subject = f"search {run.name}" if run.name else "a search"
    return Diagnosis.of(subject, len(run.skips_normal), run.num_epochs, found, _LOGGED)


def _collapse(run: SearchRun) -> Finding:
    """What the early rule says, and how many skips there are now."""
    verdict, share = CollapseRule().judge(run), run.skip_shares[-1]
    severity: Severity = "warning" if share >= MANY else "notice" if share >= SUSPICIOUS else "ok"
    collapsed = is_collapsed(run)
    if collapsed or (verdict.fires and not run.is_whole):
        severity = "critical"
    now = f"{share:.0%} of the normal cell's edges are skips at epoch {len(run.skips_normal)}"
    if collapsed:
        said = f"it has collapsed, which the early rule {'saw' if verdict.fires else 'did not see'}"
    elif run.is_whole and verdict.fires:
        said = "it is over and hasn't collapsed, although the early rule fired"
    else:
        said = "it is going to collapse" if verdict.fires else "the early rule is silent"
    return Finding(
        check="skip dominance",
        severity=severity,
        value=share,
        threshold=f"from {SUSPICIOUS:g}; {COLLAPSED:g} is collapsed; or the early rule fires",
        meaning=f"{now}; {said}: {verdict.reason}.",
        remedy="" if severity == "ok" else _regularised(run),
    )


def _curvature(run: SearchRun) -> Finding:
    found = curvature(run.ev_max, run.weight_decay or 0.0)
    if found.severity == "not measured":
        reason = f"the log has {len(run.ev_max)} eigenvalues, and their rise takes 9"
        return not_measured("curvature", reason)
    return found.model_copy(update={"remedy": _regularised(run)}) if found.remedy else found


def _regularised(run: SearchRun) -> str:
    """The options of DARTS's own script by which its weights are regularised more."""
    return f"--weight_decay {3 * (run.weight_decay or 0.0) or 3e-4:.1g} --drop_path_prob 0.2"
