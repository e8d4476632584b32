"""Logs of differentiable architecture searches, as records.

The schema is a JSON list with one object a run: `skips_normal` and `skips_reduce` (skip connections
among the chosen edges of each cell, one number an epoch), and where they were measured `train_err`
and `valid_err` (% an epoch), `ev_epochs` with `ev_max` and `alpha_grad_norm` (at some epochs only),
`run`, `seed`, `weight_decay`, `drop_path` and `final_genotype`.
"""

import json
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from neuroexapt.errors import DataError

Percent = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

EDGES = 8
"""Edges that the cell of DARTS keeps: two for each of its four nodes."""
FEW = 3
"""Epochs whose median stands for the present."""
RISEN = 1.2
"""By which factor a curve must have risen to be called risen: held-out errors are noisy."""


class SearchRun(BaseModel):
    """What was logged of one search, from its first epoch up to the last one there.

    Attributes:
        name: of the run; `run` in the log.
        seed: of the run.
        weight_decay: of the network's weights.
        drop_path: largest probability of dropping a path.
        num_epochs: that the search has, or will have when it is through; `n_epochs` in the log.
        num_edges: chosen edges of a cell, among which skips are counted.
        skips_normal: skips among the normal cell's edges, one number an epoch.
        skips_reduce: likewise of the reduction cell; may be empty.
        train_err: of the supernet, in %, one number an epoch; empty if it wasn't logged.
        valid_err: likewise on held-out data.
        ev_epochs: epochs, counted from 0, after which the curvature was measured.
        ev_max: the largest eigenvalue of the held-out loss's Hessian in alpha at each of these.
        alpha_grad_norm: length of the held-out loss's gradient in alpha at each; may be empty.
        final_genotype: the cells that were chosen, in the words of the log; empty if there is none.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    name: str = Field("", alias="run")
    seed: int | None = None
    weight_decay: float | None = None
    drop_path: float | None = None
    num_epochs: int = Field(0, alias="n_epochs", ge=0)
    num_edges: int = Field(EDGES, ge=1)
    skips_normal: tuple[Count, ...]
    skips_reduce: tuple[Count, ...] = ()
    train_err: tuple[Percent, ...] = ()
    valid_err: tuple[Percent, ...] = ()
    ev_epochs: tuple[Count, ...] = ()
    ev_max: tuple[Finite, ...] = ()
    alpha_grad_norm: tuple[Finite, ...] = ()
    final_genotype: str = ""

    @model_validator(mode="before")
    @classmethod
    def _as_long_as_its_epochs(cls, fields: Any) -> Any:
        """A log that doesn't tell how long its search is to be is taken for a whole one."""
        if isinstance(fields, dict) and not fields.keys() & {"n_epochs", "num_epochs"}:
            skips = fields.get("skips_normal")
            return {**fields, "n_epochs": len(skips) if isinstance(skips, (list, tuple)) else 0}
        return fields

    @model_validator(mode="after")
    def _fits_together(self) -> "SearchRun":
        seen = len(self.skips_normal)
        if not seen:
            raise ValueError("skips_normal is empty; log at least one epoch before reading it")
        if self.num_epochs < seen:
            raise ValueError(
                f"n_epochs is {self.num_epochs}, but skips_normal has {seen} epochs; it is the "
                "length of the whole search, so at least as many"
            )
        for field in ("skips_reduce", "train_err", "valid_err"):
            _same_length(field, len(getattr(self, field)), "skips_normal", seen)
        for field in ("ev_max", "alpha_grad_norm"):
            if field == "ev_max" or self.alpha_grad_norm:
                _same_length(field, len(getattr(self, field)), "ev_epochs", len(self.ev_epochs))
        if (
            any(b <= a for a, b in pairwise(self.ev_epochs))
            or max(self.ev_epochs, default=0) >= seen
        ):
            raise ValueError(
                f"ev_epochs must rise and stay under the {seen} epochs logged, counted from 0, got "
                f"{list(self.ev_epochs)}"
            )
        most = max(*self.skips_normal, *self.skips_reduce, 0)
        if most > self.num_edges:
            raise ValueError(
                f"{most} skips among {self.num_edges} edges; set num_edges to the number of edges "
                "that a cell keeps"
            )
        if bool(self.train_err) != bool(self.valid_err):
            raise ValueError(
                "train_err and valid_err are compared with each other, got one without the other; "
                "log both or neither"
            )
        if self.train_err and max(self.train_err[0], *self.valid_err) <= 1:
            raise ValueError("errors are at most 1; give them in %, from 0 to 100")
        return self

    @property
    def setting(self) -> tuple[float | None, float | None]:
        """Drop-path and weight decay: what repeated runs with other seeds have in common."""
        return self.drop_path, self.weight_decay

    @property
    def is_whole(self) -> bool:
        """Whether the search is through."""
        return len(self.skips_normal) == self.num_epochs

    @property
    def skip_shares(self) -> tuple[float, ...]:
        """Skips among the normal cell's edges as a share of these, one an epoch."""
        return tuple(count / self.num_edges for count in self.skips_normal)

    @property
    def holds_accuracies(self) -> bool:
        """Whether what the log calls errors must be accuracies, as in part of published logs.

        In its first epoch a supernet knows next to nothing, so that its training error is large. So
        what starts under 50 % and never falls to half of that is no error, nor is what rises.
        """
        if not self.valid_err:
            return False
        start, risen = self.train_err[0], median(self.valid_err[-FEW:]) / max(self.valid_err[0], 1)
        return risen > RISEN or (start < 50 and min(self.train_err) > start / 2)

    def errors(self) -> tuple[tuple[float, float], ...]:
        """Training and held-out error in % of every epoch; empty if they weren't logged."""
        pairs = tuple(zip(self.train_err, self.valid_err, strict=True))
        if self.holds_accuracies:
            return tuple((100 - train, 100 - valid) for train, valid in pairs)
        return pairs

    def until(self, epochs: int) -> "SearchRun":
        """The same search when only its first `epochs` epochs had been logged.

        Raises:
            ValueError: if that is less than one.

        Example:
            >>> run = SearchRun(skips_normal=[1, 2, 4], ev_epochs=[0, 2], ev_max=[0.1, 0.2])
            >>> cut = run.until(2)
            >>> cut.skips_normal, cut.ev_max, cut.num_epochs
            ((1, 2), (0.1,), 3)
        """
        if epochs < 1:
            raise ValueError(f"a log has at least 1 epoch, can't cut it to {epochs}")
        if epochs >= len(self.skips_normal):
            return self
        measured = sum(epoch < epochs for epoch in self.ev_epochs)
        cut = {
            **{f: getattr(self, f)[:epochs] for f in _BY_EPOCH},
            **{f: getattr(self, f)[:measured] for f in _BY_MEASUREMENT},
            "final_genotype": "",
        }
        return self.model_copy(update=cut)


_BY_EPOCH = ("skips_normal", "skips_reduce", "train_err", "valid_err")
_BY_MEASUREMENT = ("ev_epochs", "ev_max", "alpha_grad_norm")


def _same_length(field: str, length: int, other: str, needed: int) -> None:
    optional = field in _BY_EPOCH[1:] and not length
    if length != needed and not optional:
        raise ValueError(
            f"{field} has {length} values and {other} {needed}; they belong together one by one, "
            f"so cut the longer one or leave {field} out"
        )


def read_runs(path: str | Path, num_epochs: int | None = None) -> tuple[SearchRun, ...]:
    """Read the searches of a log, whether they are through or still running.

    Args:
        path: of a JSON file in the schema above.
        num_epochs: that searches have when they are through, where it isn't `n_epochs`, as in logs
            of searches that were broken off.

    Returns:
        One record a run, in the order of the file; at least one.

    Raises:
        DataError: if the file is missing, isn't JSON, or doesn't keep to the schema.
    """
    source = Path(path)
    try:
        content = json.loads(source.read_text("utf-8"))
    except OSError as error:
        raise DataError(
            f"{source} can't be read ({error.strerror}); give the folder of a search, "
            "or the path of a log of searches"
        ) from error
    except ValueError as error:
        raise DataError(
            f"{source} isn't JSON ({error}); a search log is a JSON list with an object a run"
        ) from error
    runs = [content] if isinstance(content, dict) else content
    if not isinstance(runs, list) or not runs:
        raise DataError(
            f"{source} holds {_kind(content)}; a search log is a JSON list with an object a run, "
            "at least one"
        )
    return tuple(_read(source, index, run, num_epochs) for index, run in enumerate(runs))


def _read(source: Path, index: int, fields: object, num_epochs: int | None) -> SearchRun:
    if not isinstance(fields, dict):
        raise DataError(f"run {index} of {source} is {_kind(fields)}; it must be an object")
    known = {key: value for key, value in fields.items() if value is not None}
    try:
        return SearchRun.model_validate(
            known if num_epochs is None else {**known, "n_epochs": num_epochs}
        )
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise DataError(
            f"run {index} of {source} ({known.get('run', 'no name')}) can't be read: "
            f"{f'{place}: ' if place else ''}{message}. Every run needs skips_normal, one whole "
            "number an epoch; errors are in % and as long as that"
        ) from error


def _kind(value: object) -> str:
    return f"an empty {type(value).__name__}" if value in ([], {}) else f"a {type(value).__name__}"
