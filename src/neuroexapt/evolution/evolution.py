"""Pareto evolution of networks that are all grown from one seed."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.adopt import (
    adopted,
    best_of_each,
    born_in,
    check_names,
    check_population,
    living_of,
)
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.executors import Executor, InProcess
from neuroexapt.evolution.foresight import Foresight
from neuroexapt.evolution.genome import Genome
from neuroexapt.evolution.individual import Individual
from neuroexapt.evolution.networks import Network, Networks, most_error, stints
from neuroexapt.evolution.pick import Choice, pick
from neuroexapt.evolution.polish import Polish, coverage, finalists, hunger
from neuroexapt.evolution.record import GenerationRecord, MemberRecord, Phase
from neuroexapt.evolution.selection import Selection, fronts, renewed
from neuroexapt.evolution.stint import Stint, stint_flops
from neuroexapt.evolution.structure import structure_key
from neuroexapt.evolution.world import World
from neuroexapt.graph import LivingModel
from neuroexapt.training import build_criterion, first_batch
from neuroexapt.training.settings import validated

SEEDS = 2**32
"""Number of seeds."""


class MultiObjectiveArchitectureEvolution:
    """Evolves a population of networks along the Pareto front of several objectives.

    All networks are grown from one seed by edits that preserve the function, so a child starts with
    what its parent has learnt. Children are trained by successive halving; NSGA-II decides who has
    children and who survives.

    Args:
        model: the seed network, any traceable module; left as it is.
        train_loader: yields (inputs, targets), and has a length.
        val_loader: likewise, held out from it: networks are judged by it.
        config: an `EvolutionConfig`, or a mapping with its fields.
        executor: where births and training happen; by default in this process.
        criterion: outputs and targets to a mean loss; by default the recipe's.

    Raises:
        ValueError: naming the setting, if one is unknown or not allowed; or if the model is none.
        TraceError: if the model can't be seen as a graph.
        DataError: if a loader yields nothing usable.
        EvolutionError: if the budget doesn't reach for training the seed network, or something
            can't be sent to the executor's workers.

    Attributes:
        history: one record a generation.
        flops: spent so far (2 for each multiply-accumulate).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> x = torch.randn(256, 2)
        >>> batches = list(zip(x.split(32), (x[:, 0] * x[:, 1] > 0).long().split(32)))
        >>> config = {"size": 4, "num_children": 2, "objectives": ("error", "params")}
        >>> evolution = MultiObjectiveArchitectureEvolution(net, batches, batches, config)
        >>> population = evolution.found()
        >>> population = evolution.evolve_generation(population)
        >>> len(population)  # the seed network and its children
        3
    """

    def __init__(
        self,
        model: nn.Module,
        train_loader: Iterable[Any],
        val_loader: Iterable[Any],
        config: EvolutionConfig | Mapping[str, Any] | None = None,
        executor: Executor | None = None,
        criterion: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.config = validated(EvolutionConfig, config, "the config")
        self.seed = living_of(model, train_loader)
        self.world = World(
            self.seed,
            train_loader,
            val_loader,
            criterion or build_criterion(self.config.recipe),
            self.config,
        )
        self._foresight = Foresight(self.world, self.seed, self.config)
        self._foresight.check_founding()
        self.executor = executor or InProcess()
        self._shared = self.executor.share(self.world)
        self.history: list[GenerationRecord] = []
        self.flops = 0
        self._polish: Polish | None = None

    def check_seed(self) -> None:
        """That the seed network keeps the limits. Latency is measured: not twice the same.

        Raises:
            EvolutionError: naming the limit that it passes.
        """
        excess = self.config.limits.passed_by(self.seed)
        if excess is not None:
            raise EvolutionError(
                f"the seed network has {excess}, and so would all that grow from it; give a "
                "smaller one, or a higher limit"
            )

    @property
    def _score_names(self) -> set[str]:
        return {*self.config.objectives, *self.config.limits.given, "error", "macs"}

    @property
    def generation(self) -> int:
        """How many are through; the founding counts."""
        return len(self.history)

    def found(self) -> list[Network]:
        """Train the seed network: the first population, of one.

        Raises:
            EvolutionError: if it passes the limits, or is lost, as when its loss isn't finite.
        """
        self.check_seed()
        began = time.perf_counter()
        told = {"epochs": 0.0, "stints": 0, "edits": [], "accuracy": 0.0}
        seed = Individual("0.0", Genome.of(self.seed), structure_key(self.seed), told=told)
        networks = self._networks()
        rising = min(self.config.founding / 2, 1.0)
        founder = networks.train([seed], [Stint(rising, 0, lr_from=self.config.recipe.start)])
        rest = stints(founder, self.config.founding - rising, seed=1)
        founder = networks.train(founder, rest)
        if not founder:
            raise EvolutionError(f"the seed network is lost: {networks.lost['0.0']}")
        self._note("founding", networks, founder, founder, began)
        return founder

    def population(self, networks: Iterable[nn.Module | Network]) -> list[Network]:
        """Networks of one's own as a population, instead of founding one.

        Args:
            networks: models that were grown from the same seed network by edits, with the weights
                that they have; or members of another evolution from that seed.

        Returns:
            Members, scored as they are: nothing is trained. They share nothing with what was given.
            Of several with one structure the most accurate.

        Raises:
            EvolutionError: if there is none, or one isn't grown from the seed network.
            ValueError: if one is no model.
            TraceError: if one can't be seen as a graph.
        """
        began = time.perf_counter()
        members = [
            adopted(f"{self.generation}.{number}", network, self.seed, self.world.train)
            for number, network in enumerate(networks)
        ]
        breeding = self._networks()
        scored = breeding.judge(members)
        if not scored:
            why = "; ".join(breeding.lost.values()) or "none was given"
            raise EvolutionError(f"there is no network to begin with: {why}")
        scored = best_of_each(scored, breeding.lost)
        self._note("founding", breeding, scored, scored, began)
        return scored

    def evolve_generation(self, population: Sequence[Network]) -> list[Network]:
        """One generation: members trained on, children born and trained, and who survives.

        Args:
            population: as `found`, `population` or this gave it.

        Returns:
            The new population, at most `size`, the fittest front first. Nothing of the old one
            changes.

        Raises:
            EvolutionError: if the population is empty, or holds anything but scored members.
        """
        began = time.perf_counter()
        check_population(population, self._score_names)
        check_names(population)
        config, number = self.config, self._seed_of(self.generation)
        newest = max(born_in(member.name) for member in population)  # of another evolution, maybe
        networks = self._networks(most_error(population, config), newest + 1)
        if config.max_flops is not None:
            networks.most_flops = self._foresight.for_evolving(config.max_flops) - self.flops
        aged = self._aged(networks.bounded(population), networks, number)
        selection = Selection(
            objectives=config.objectives,
            size=config.size,
            num_children=config.num_children,
            parents=config.parents,
        )
        survivors, children = renewed(aged, networks, selection, number)
        self._note("evolving", networks, survivors, children, began)
        return survivors

    def _aged(self, population: Sequence[Network], networks: Networks, seed: int) -> list[Network]:
        """The population, with those of the first front trained on that lack most."""
        first = fronts(population, self.config.objectives)[0]
        least = sorted(first, key=lambda m: hunger(m.told["epochs"], m.scores["macs"]))
        chosen = least[: self.config.trained]
        if not networks.reaches(chosen, sum(self.config.rungs)):
            return list(population)
        older = networks.train(chosen, stints(chosen, sum(self.config.rungs), seed + SEEDS // 2))
        return _renewed(population, older)

    def run(self, population: Sequence[Network] = ()) -> Iterator[list[Network]]:
        """Evolve until the budget is spent, giving the population after each generation.

        The last ones are for the front: it is trained while the learning rate falls to 0.

        Args:
            population: to go on with; without one, it begins with `found`.

        Raises:
            EvolutionError: if the config has no `max_flops`.
        """
        if self.config.max_flops is None:
            raise EvolutionError(
                "the config has no max_flops, so there is no end; give them, or call "
                "evolve_generation as often as you like"
            )
        current = list(population)
        if current:
            check_population(current, self._score_names)
        else:
            current = self.found()
            yield current
        while self._polish is None and self._foresight.may_evolve(current, self.history):
            current = self.evolve_generation(current)
            yield current
        while not self.finished:
            current = self.polish(current)
            yield current

    @property
    def finished(self) -> bool:
        """Whether the front is polished, and the budget is spent."""
        return self._polish is not None and self._polish.finished

    def polish(self, population: Sequence[Network]) -> list[Network]:
        """Train the front on for a round, while the learning rate falls; others are left out.

        So are those of the front beyond `finalists`.

        How long each network is trained in all is settled at the first, by what is left of the
        budget. A member that is lost while it trains stays as it was.
        """
        assert self.config.max_flops is not None
        began = time.perf_counter()
        networks = self._networks()
        front = list(population)
        if self._polish is None:
            left = max(self.config.max_flops - self.flops, 0.0)
            objectives = self.config.objectives
            bound = self._networks(most_error(population, self.config))
            best = fronts(bound.bounded(population), objectives)[0]
            limits = self.config.limits
            front = finalists(best, objectives, self.config.finalists, limits)
            costs = {member.name: self._step_flops(member) for member in front}
            self._polish = Polish.sharing(left, costs, coverage(front, objectives, limits))
        polished = self._polished(front, networks, self._polish)
        self._polish = self._polish.after_round()
        self._note("polishing", networks, polished, (), began)
        return polished

    def _polished(
        self, front: Sequence[Network], networks: Networks, polish: Polish
    ) -> list[Network]:
        """The front after a round; those that have no step in it, or are lost, as they were."""
        number = self._seed_of(self.generation)
        due = [member for member in front if polish.next_steps(member.name)]
        turns = [
            Stint(
                len(steps) / self.world.num_batches,
                member.told["stints"],
                lr_from=1 - steps.start / polish.steps[member.name],
                lr_to=1 - steps.stop / polish.steps[member.name],
                seed=number + place,
                trained=member.told.get("batches", 0),
            )
            for place, member in enumerate(due)
            for steps in [polish.next_steps(member.name)]
        ]
        return _renewed(front, networks.train(due, turns))

    def _step_flops(self, member: Network) -> int:
        """FLOPs of training on one batch."""
        inputs, _ = first_batch(self.world.train)
        return stint_flops(self.world, self.model(member)) * len(inputs)

    def model(self, member: Network) -> LivingModel:
        """The network of a member, in eval mode; it shares nothing with it."""
        return member.genome.develop(self.seed).eval()

    def front(self, population: Sequence[Network]) -> list[Network]:
        """The members that no other one beats in all objectives, the smallest error first.

        Raises:
            EvolutionError: if the population is empty, or holds anything but scored members.
        """
        check_population(population, self._score_names)
        found = fronts(population, self.config.objectives)[0]
        return sorted(found, key=lambda member: member.scores["error"])

    def pick(self, population: Sequence[Network], choice: Choice = "knee") -> Network:
        """One member of the front, by what its user cares for most.

        Args:
            population: scored members.
            choice: "knee", "accurate", "small" or "fast"; see `neuroexapt.evolution.pick`.
        """
        return pick(self.front(population), choice, self.config.objectives)

    def state_dict(self) -> dict[str, Any]:
        """How far the evolution is, as JSON values; the population is kept beside it."""
        return {
            "flops": self.flops,
            "polish": None if self._polish is None else self._polish.model_dump(),
            "history": [record.model_dump(mode="json") for record in self.history],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; with the same population, to the same front."""
        self.flops = state["flops"]
        polish = state["polish"]
        self._polish = None if polish is None else Polish.model_validate(polish)
        self.history = [GenerationRecord.model_validate(record) for record in state["history"]]

    def _networks(self, most_error: float = math.inf, number: int = 0) -> Networks:
        number = max(number, self.generation)
        rate = self._foresight.rate
        return Networks(self.executor, self._shared, self.config, number, most_error, rate)

    def _seed_of(self, generation: int) -> int:
        return (self.config.seed * 1_000_003 + generation) % (SEEDS // 4)

    def _note(
        self,
        phase: Phase,
        networks: Networks,
        population: Sequence[Network],
        children: Sequence[Network],
        began: float,
    ) -> None:
        self.flops += networks.flops
        self.history.append(
            GenerationRecord(
                generation=self.generation,
                phase=phase,
                population=tuple(MemberRecord.of(member) for member in population),
                children=tuple(MemberRecord.of(member) for member in children),
                lost=networks.lost,
                is_cut=networks.is_cut,
                flops=self.flops,
                seconds=time.perf_counter() - began,
            )
        )


def _renewed(population: Sequence[Network], older: Sequence[Network]) -> list[Network]:
    """A population with those members that were trained on in their old places."""
    by_name = {member.name: member for member in older}
    return [by_name.get(member.name, member) for member in population]
