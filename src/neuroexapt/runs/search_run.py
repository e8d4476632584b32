"""A search from its start, or from where it stopped, to its end, and what it left on disk."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError

from neuroexapt.errors import RunError, SearchError, TrainingError
from neuroexapt.graph import LivingModel
from neuroexapt.runs.config import moved
from neuroexapt.runs.durable import replace_file, to_json
from neuroexapt.runs.events import EventLog, open_log, read_events
from neuroexapt.runs.folder import (
    RunFolder,
    command_again,
    find_run,
    forget_after,
    load_checkpoint,
    new_folder,
    new_log,
    read_record,
    save_checkpoint,
)
from neuroexapt.runs.kind import check_kind
from neuroexapt.runs.search_config import SearchRunConfig, read_search_config
from neuroexapt.runs.search_reporter import SearchReporter, SilentSearch
from neuroexapt.runs.search_session import (
    SearchProgress,
    SearchSession,
    build_search,
    check_reach,
    fresh,
    take_down_search,
)
from neuroexapt.runs.search_summary import SearchSummary, summarise_search
from neuroexapt.runs.session import EXAMPLES, load_weights, num_threads
from neuroexapt.runs.summary import where
from neuroexapt.search import SearchEpoch, SearchHistory, Searching, derive


@dataclass(frozen=True, eq=False)
class TrackedSearch:
    """A search that is ready to go on, in a folder.

    Attributes:
        folder: where it is kept.
        session: what searches.
        log: its events.
        command: what started it; None if a program did.
    """

    folder: RunFolder
    session: SearchSession
    log: EventLog
    command: str | None

    def finish(self, reporter: SearchReporter | None = None) -> SearchSummary:
        """Search to the end, keeping everything on disk as it happens.

        Raises:
            TrainingError: if the loss is no longer finite.
            SearchError: if alpha has no part in what is computed.
            RunError: if the disk refuses. In any case the last checkpoint can be resumed from.
        """
        try:
            with num_threads(self.session.config.threads):
                return self._finish(reporter or SilentSearch())
        except (TrainingError, SearchError, KeyboardInterrupt) as error:
            told = {"reason": str(error) or "interrupted"}
            if isinstance(error, TrainingError):
                told["failure"] = str(error)
            self.log.append("stop", told)
            raise
        finally:
            self.log.close()

    def _finish(self, reporter: SearchReporter) -> SearchSummary:
        session, searching = self.session, self.session.searching
        reporter.begun(session.config, self.folder.path, searching.epoch)
        saved, grown = time.monotonic(), len(searching.expansions)
        for record in searching.run(session.train, session.held_out):
            self.log.append("epoch", _json(record))
            reporter.searched(record)
            for expansion in searching.expansions[grown:]:
                self.log.append("expansion", _json(expansion))
                reporter.expanded(expansion)
            grown = len(searching.expansions)
            due = time.monotonic() - saved >= session.config.checkpoint_seconds
            if due or searching.finished:
                self._save()
                saved = time.monotonic()
        summary = summarise_search(session, self.command)
        told = {"stopped": summary.stopped, "test_accuracy": summary.test_accuracy}
        self.log.append("end", told)
        replace_file(self.folder.summary, to_json(summary.model_dump(mode="json")))
        reporter.ended(summary, self.folder.path)
        return summary

    def _save(self) -> None:
        checkpoint = take_down_search(self.session, self.log.position)
        save_checkpoint(self.folder, checkpoint, best=checkpoint.progress.epochs)


def start_search(config: SearchRunConfig, out: Path, command: str | None = None) -> TrackedSearch:
    """Make a new search ready.

    Args:
        config: what defines it; see `configure_search`.
        out: its folder, new or empty.
        command: what to write down as having started it.

    Raises:
        RunError: if `out` is in use or can't be written, or the device can't be used.
        DataError: if the data can't be read.
        TraceError: if a model of one's own can't be built or traced.
        SearchError: if there is nothing to decide, or the FLOPs end before anything is.
    """
    folder = new_folder(Path(out))
    with num_threads(config.threads):
        session = build_search(config)
        check_reach(session.searching, session.train)
    with new_log(folder, to_json(config.model_dump(mode="json"))) as log:
        return _begin(folder, session, log, command)


def reopen_search(
    path: Path, device: str | None = None, threads: int | None = None
) -> TrackedSearch | SearchSummary:
    """Make a search ready to go on from its newest checkpoint, or from one of its checkpoints.

    Args:
        path: its folder, or `checkpoints/epoch-...` in it.
        device: where to train from now on; None for where it was.
        threads: of the CPU from now on; None for as many as before.

    Returns:
        The search; or, if it is over, its summary.

    Raises:
        RunError: naming the file, if one is missing or damaged; or if the search is going on.
        DataError: if the data can't be read any more.
        TraceError: if a model of one's own can't be built any more.
    """
    folder, asked = _find(Path(path))
    if asked is None and folder.summary.exists():
        return read_search_summary(folder.summary)
    config = moved(read_search_config(folder.config), device=device, threads=threads)
    with num_threads(config.threads), open_log(folder.events) as log:
        newest = asked or folder.latest
        if newest is None:
            return _begin_again(folder, config, log)
        checkpoint = load_checkpoint(folder, newest, SearchProgress)
        session = build_search(config, checkpoint)
        # As where a network grows: a kill in between leaves what can be resumed.
        log.check(checkpoint.progress.events)
        folder.summary.unlink(missing_ok=True)
        forget_after(folder, checkpoint.progress.epochs)
        log.cut(checkpoint.progress.events)
        command = read_events(folder.events)[0].get("command")
        told = {"epochs": checkpoint.progress.epochs} | where(config.device, config.threads)
        log.append("resume", told)
        return TrackedSearch(folder, session, log, command)


def read_search(path: str | Path) -> SearchHistory:
    """How a search has gone so far, by its folder; also one that is going on.

    Raises:
        RunError: if the folder holds none, or naming the file, if one is damaged.
    """
    folder, _ = _find(Path(path))
    config = read_search_config(folder.config)
    events = read_events(folder.events) if folder.events.exists() else []
    fields = SearchEpoch.model_fields
    told = [event for event in events if event["event"] == "epoch"]
    try:
        records = tuple(
            SearchEpoch.model_validate({name: event[name] for name in fields if name in event})
            for event in told
        )
    except ValidationError as error:
        raise RunError(
            f"{folder.events} holds an epoch that is none of a search "
            f"({error.errors()[0]['msg']}); read it with the version that wrote it"
        ) from error
    held_out = events[0].get("held_out", {}) if events else {}
    newest = events[-1] if events else {}
    return SearchHistory(
        config=config.search,
        epochs=records,
        is_over=newest.get("event") == "end",
        failure=newest.get("failure", ""),
        majority=held_out.get("majority"),
        num_held_out=held_out.get("samples"),
    )


def read_search_summary(path: Path) -> SearchSummary:
    """Read a search's `summary.json`.

    Raises:
        RunError: if it can't be read, or is damaged.
    """
    return read_record(path, SearchSummary)


def load_derived(path: str | Path) -> LivingModel:
    """Load the network that a search has come to, on the CPU and in eval mode.

    Args:
        path: the search's folder, for its newest checkpoint, or one of its checkpoints.

    Raises:
        RunError: naming the file, if one is missing or damaged.
        TraceError: if a model of one's own can't be built any more.
    """
    folder, asked = _find(Path(path))
    config = read_search_config(folder.config)
    newest = asked or folder.latest
    if newest is None:
        raise RunError(f"{folder.path} holds no checkpoint yet; resume the search")
    checkpoint = load_checkpoint(folder, newest, SearchProgress)
    example = torch.zeros(EXAMPLES, *checkpoint.progress.image_shape)
    network = fresh(config, example, checkpoint.progress.num_classes)
    searching = Searching(network, config.search, example)
    searching.load_progress_dict(checkpoint.progress.search)
    load_weights(searching.network, checkpoint.weights)
    return LivingModel(derive(searching.network), example).eval()


def _find(path: Path) -> tuple[RunFolder, Path | None]:
    folder, asked = find_run(path)
    check_kind(folder, "search")
    return folder, asked


def _begin_again(folder: RunFolder, config: SearchRunConfig, log: EventLog) -> TrackedSearch:
    """Start one that was broken off before its first checkpoint; never one that had searched."""
    command = command_again(folder, "searched", "search")
    session = build_search(config)
    check_reach(session.searching, session.train)
    log.cut(0)
    return _begin(folder, session, log, command)


def _begin(
    folder: RunFolder, session: SearchSession, log: EventLog, command: str | None
) -> TrackedSearch:
    """Write down a search's start, and the checkpoint that it can always be resumed from."""
    config = session.config
    labels = session.data.validation.labels
    held_out = {"samples": len(labels), "majority": int(labels.bincount().max()) / len(labels)}
    told = {"command": command, "held_out": held_out}
    log.append("start", told | where(config.device, config.threads))
    tracked = TrackedSearch(folder, session, log, command)
    tracked._save()
    return tracked


def _json(record: BaseModel) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(record.model_dump_json())
    return values
