"""An evolution from its start, or from where it stopped, to its end, and what it left on disk."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors.torch import save as dump

from neuroexapt.errors import EvolutionError, RunError, TrainingError
from neuroexapt.evolution import GenerationRecord, MemberRecord
from neuroexapt.evolution.networks import Network
from neuroexapt.runs.durable import remove_folder, replace_file, to_json, write_folder
from neuroexapt.runs.events import EventLog, open_log, read_events
from neuroexapt.runs.evolution_config import (
    EvolutionRunConfig,
    moved_evolution,
    read_evolution_config,
)
from neuroexapt.runs.evolution_front import Front, front_of
from neuroexapt.runs.evolution_picture import picture
from neuroexapt.runs.evolution_reporter import (
    EvolutionBeginning,
    EvolutionReporter,
    SilentEvolution,
)
from neuroexapt.runs.evolution_session import (
    EvolutionProgress,
    EvolutionSession,
    build_evolution,
    take_down_evolution,
)
from neuroexapt.runs.evolution_summary import EvolutionSummary, summarise_evolution
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
from neuroexapt.runs.session import num_threads
from neuroexapt.runs.summary import where


@dataclass(frozen=True, eq=False)
class TrackedEvolution:
    """An evolution that is ready to go on, in a folder.

    Attributes:
        folder: where it is kept.
        session: what evolves.
        log: its events.
        command: what started it; None if a program did.
    """

    folder: RunFolder
    session: EvolutionSession
    log: EventLog
    command: str | None

    def finish(self, reporter: EvolutionReporter | None = None) -> EvolutionSummary:
        """Evolve to the end, keeping everything on disk as it happens.

        Raises:
            EvolutionError: if the seed network is lost.
            TrainingError: if an activation or a gradient isn't finite where networks are sensed.
            RunError: if the disk refuses. In any case the last checkpoint can be resumed from.
        """
        try:
            with num_threads(self.session.config.threads):
                return self._finish(reporter or SilentEvolution())
        except (TrainingError, EvolutionError, KeyboardInterrupt) as error:
            self.log.append("stop", {"reason": str(error) or "interrupted"})
            raise
        finally:
            self.session.executor.close()
            self.log.close()

    def _finish(self, reporter: EvolutionReporter) -> EvolutionSummary:
        session, evolution = self.session, self.session.evolution
        session.executor.on_done = reporter.worked
        reporter.begun(
            EvolutionBeginning(
                session.config,
                self.folder.path,
                session.seed_cost,
                evolution.generation,
                evolution.flops,
            )
        )
        population = session.population
        for population in evolution.run(session.population):
            record = evolution.history[-1]
            front = evolution.front(population)
            self.log.append("generation", _generation(record, front))
            save(self.folder, session, population, self.log.position)
            reporter.evolved(record, [MemberRecord.of(member) for member in front])
        found, summary = self._sum_up(evolution.front(population))
        reporter.ended(summary, found, self.folder.path)
        return summary

    def _sum_up(self, members: Sequence[Network]) -> tuple[Front, EvolutionSummary]:
        """Test the front once, and write everything down; the summary last: it says it is over."""
        folder = self.folder
        front = front_of(self.session, members, folder.models.name)
        weights = {f"{member.name}.safetensors": _weights(member) for member in members}
        remove_folder(folder.models)
        write_folder(folder.models, weights)
        replace_file(folder.model, weights[f"{front.picked}.safetensors"])
        replace_file(folder.front, to_json(front.model_dump(mode="json")))
        replace_file(folder.picture, picture(front).encode())
        summary = summarise_evolution(self.session, front, self.command)
        told = {"stopped": summary.stopped, "test_accuracy": summary.test_accuracy}
        self.log.append("end", told)
        replace_file(folder.summary, to_json(summary.model_dump(mode="json")))
        return front, summary


def start_evolution(
    config: EvolutionRunConfig, out: Path, command: str | None = None
) -> TrackedEvolution:
    """Make a new evolution ready.

    Args:
        config: what defines it; see `configure_evolution`.
        out: its folder, new or empty.
        command: what to write down as having started it.

    Raises:
        RunError: if `out` is in use or can't be written, or the device can't be used.
        DataError: if the data can't be read.
        TraceError: if the model can't be built or seen as a graph.
        EvolutionError: if the seed network exceeds the limits, or the budget doesn't reach for it.
    """
    folder = _counted(new_folder(Path(out)))
    with num_threads(config.threads):
        session = build_evolution(config)
    with _closed_on_failure(session):
        session.evolution.check_seed()
        with new_log(folder, to_json(session.config.model_dump(mode="json"))) as log:
            return _begin(folder, session, log, command)


def reopen_evolution(path: Path, **where_to: Any) -> TrackedEvolution | EvolutionSummary:
    """Make an evolution ready to go on from its newest checkpoint, or from one of its checkpoints.

    Args:
        path: its folder, or `checkpoints/generation-...` in it.
        **where_to: `device`, `threads`, `workers`, `ray_address`, `gpus_per_worker` from now on;
            None for as it was.

    Returns:
        The evolution; or, if it is over, its summary.

    Raises:
        RunError: naming the file, if one is missing or damaged; or if it is going on.
        DataError: if the data can't be read any more.
        TraceError: if the model can't be built any more.
    """
    folder, asked = find_evolution(Path(path))
    if asked is None and folder.summary.exists():
        return read_record(folder.summary, EvolutionSummary)
    config = moved_evolution(read_evolution_config(folder.config), **where_to)
    with num_threads(config.threads), open_log(folder.events) as log:
        return _reopen(folder, asked or folder.latest, config, log)


def find_evolution(path: Path) -> tuple[RunFolder, Path | None]:
    """As `find_run`, but only an evolution."""
    folder, asked = find_run(path)
    check_kind(folder, "evolve")
    return _counted(folder), asked


def read_front(path: str | Path) -> Front:
    """Read what an evolution came to.

    Args:
        path: its folder.

    Raises:
        RunError: if it isn't over yet, or naming the file, if it is damaged.
    """
    folder, _ = find_evolution(Path(path))
    if not folder.front.exists():
        raise RunError(f"{folder.path} has no front yet; resume the run to bring it to its end")
    return read_record(folder.front, Front)


def save(
    folder: RunFolder, session: EvolutionSession, population: list[Network], position: int
) -> None:
    """Write a checkpoint of a population."""
    checkpoint = take_down_evolution(session, population, position)
    save_checkpoint(folder, checkpoint, best=checkpoint.progress.epochs)


def _counted(folder: RunFolder) -> RunFolder:
    return replace(folder, unit="generation")


def _begin(
    folder: RunFolder, session: EvolutionSession, log: EventLog, command: str | None
) -> TrackedEvolution:
    """Write down an evolution's start, and the checkpoint that it can always be resumed from."""
    config, cost = session.config, session.seed_cost
    told = {"command": command, "params": cost.params, "macs": cost.macs}
    log.append("start", told | where(config.device, config.threads))
    save(folder, session, [], log.position)
    return TrackedEvolution(folder, session, log, command)


def _reopen(
    folder: RunFolder, path: Path | None, config: EvolutionRunConfig, log: EventLog
) -> TrackedEvolution:
    if path is None:
        return _begin_again(folder, config, log)
    checkpoint = load_checkpoint(folder, path, EvolutionProgress)
    session = build_evolution(config, checkpoint)
    with _closed_on_failure(session):
        # As where a network grows: a kill in between leaves what can be resumed.
        log.check(checkpoint.progress.events)
        folder.summary.unlink(missing_ok=True)
        forget_after(folder, checkpoint.progress.epochs)
        log.cut(checkpoint.progress.events)
        command = read_events(folder.events)[0].get("command")
        told = {"generations": checkpoint.progress.epochs} | where(config.device, config.threads)
        log.append("resume", told)
    return TrackedEvolution(folder, session, log, command)


def _begin_again(folder: RunFolder, config: EvolutionRunConfig, log: EventLog) -> TrackedEvolution:
    """Start one that was broken off before its first checkpoint; never one that had evolved."""
    command = command_again(folder, "evolved", "run")
    session = build_evolution(config)
    with _closed_on_failure(session):
        log.cut(0)
        return _begin(folder, session, log, command)


@contextmanager
def _closed_on_failure(session: EvolutionSession) -> Iterator[None]:
    """Let the executor go if what is inside fails: nobody else will."""
    with ExitStack() as on_failure:
        on_failure.callback(session.executor.close)
        yield
        on_failure.pop_all()


def _generation(record: GenerationRecord, front: Sequence[Network]) -> dict[str, Any]:
    """What an event tells of a generation."""
    told = record.model_dump(mode="json", exclude={"population"})
    told["population"] = [member.name for member in record.population]
    told["front"] = [{"name": member.name, "scores": dict(member.scores)} for member in front]
    return told


def _weights(member: Network) -> bytes:
    """A network's weights as safetensors, named as its parameters and buffers."""
    return dump({name: value.contiguous() for name, value in member.genome.weights.items()})
