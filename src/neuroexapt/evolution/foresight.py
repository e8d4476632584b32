"""What training in an evolution is about to take, and whether the budget reaches for it."""

import logging
from collections.abc import Sequence
from itertools import pairwise

from neuroexapt.errors import EvolutionError
from neuroexapt.evolution.config import EvolutionConfig
from neuroexapt.evolution.networks import Network
from neuroexapt.evolution.record import GenerationRecord
from neuroexapt.evolution.stint import stint_flops
from neuroexapt.evolution.world import World
from neuroexapt.graph import LivingModel
from neuroexapt.growth.sampling import Sampling
from neuroexapt.training import first_batch

IDLE = 3
"""Generations in a row that may cost nothing before evolving ends."""
logger = logging.getLogger(__name__)


class Foresight:
    """Foresees FLOPs by what an epoch of the seed network takes.

    Networks are taken to need as much more than it as they have more multiply-accumulates.

    Not all can be foreseen: a generation is begun if the one before it would have fitted. Where its
    children turn out to be larger, they aren't trained to the end (`Networks.rear`).

    Args:
        world: what networks are trained on.
        seed: the network that all are grown from.
        config: of the evolution.

    Raises:
        DataError: if the loader yields nothing usable.
        EvolutionError: if there is nothing to train.
    """

    def __init__(self, world: World, seed: LivingModel, config: EvolutionConfig) -> None:
        if not any(parameter.requires_grad for parameter in seed.parameters()):
            raise EvolutionError("no weight of the seed network is trainable; unfreeze some")
        self._config = config
        self._macs = max(seed.cost().macs, 1)
        inputs, _ = first_batch(world.train)
        self._epoch = stint_flops(world, seed) * len(inputs) * world.num_batches

    def check_founding(self) -> None:
        """That the budget reaches for the first population.

        Raises:
            EvolutionError: saying what is lacking.
        """
        config = self._config
        if config.max_flops is None:
            return
        if not self._epoch:
            raise EvolutionError(
                "training the seed network takes no matrix product or convolution, so that "
                "max_flops would never be spent; leave max_flops out, or give another network"
            )
        founding = self._epoch * config.founding
        most = self.for_evolving(config.max_flops)
        if founding > most:
            raise EvolutionError(
                f"training the seed network for {config.founding:g} epochs takes {founding:.2g} "
                f"FLOPs, but of max_flops {config.max_flops:.2g} only {most:.2g} are for evolving; "
                "give more, a smaller network, or less founding"
            )

    def may_evolve(
        self, population: Sequence[Network], history: Sequence[GenerationRecord]
    ) -> bool:
        """Whether another generation leaves what is for polishing, and the last ones did anything.

        The first is taken to cost what its children's sensing and training do if they are no larger
        than the largest member, any later one what the one before it did.

        Args:
            population: that would have children.
            history: of all generations until now.
        """
        assert self._config.max_flops is not None
        if history and history[-1].is_cut:
            return False
        spent = [0, *(record.flops for record in history)]
        costs = [after - before for before, after in pairwise(spent)]
        evolved = [c for c, r in zip(costs, history, strict=True) if r.phase == "evolving"]
        if len(evolved) >= IDLE and not any(evolved[-IDLE:]):
            logger.warning(
                "%d generations in a row came to nothing, so evolving ends; lost: %s",
                IDLE,
                "; ".join(history[-1].lost.values()) or "none",
            )
            return False
        due = evolved[-1] if evolved else self._generation(population)
        most = self._config.max_flops
        fits = spent[-1] + due <= self.for_evolving(most)
        if not fits and not evolved:
            logger.warning(
                "no generation is evolved: of max_flops %.2g, %.2g are for evolving, and with the "
                "first %.2g would be spent; give %.2g or more",
                most,
                self.for_evolving(most),
                spent[-1] + due,
                (spent[-1] + due) / (1 - self._config.polish),
            )
        return fits

    @property
    def rate(self) -> float:
        """FLOPs of an epoch for each of a network's multiply-accumulates, about."""
        return self._epoch / self._macs

    def for_evolving(self, max_flops: float) -> float:
        """What of a budget isn't for polishing."""
        return max_flops * (1 - self._config.polish)

    def _generation(self, population: Sequence[Network]) -> float:
        """About what sensing and training in a generation take."""
        config = self._config
        going, epochs = 1.0, 0.0
        for rung in config.rungs:
            epochs += going * rung
            going *= config.kept
        older = min(config.trained, len(population)) * sum(config.rungs)
        largest = max(member.scores["macs"] for member in population)
        each = self._epoch * largest / self._macs
        sensing = Sampling.first(config.growth.policy).flops_a_mac * config.num_samples * largest
        return each * (older + config.num_children * epochs) + config.num_children * sensing
