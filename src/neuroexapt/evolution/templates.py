"""Networks that were built lately, to be copied: replaying a lineage takes far longer."""

import copy
from collections.abc import Callable
from typing import Any, TypeAlias, final

from neuroexapt.edits import AnyEdit
from neuroexapt.evolution.genome import Genome
from neuroexapt.graph import LivingModel

Lineage: TypeAlias = tuple[AnyEdit, ...]
MOST_BYTES = 2**29
"""Of weights that are kept for copying."""


@final
class Templates:
    """Builds networks by copying those of the same lineage.

    What it gives depends on the genome alone: the first network of a lineage is a copy, too.

    Args:
        seed: the network that all lineages begin with.
    """

    def __init__(self, seed: LivingModel) -> None:
        self._seed = seed
        self._known: dict[Lineage, LivingModel] = {}
        self._flops: dict[Lineage, int] = {}

    def develop(self, genome: Genome) -> LivingModel:
        """As `Genome.develop`."""
        template = self._known.pop(genome.edits, None)
        if template is None:
            template = genome.develop(self._seed)
        self._known[genome.edits] = template  # the newest last
        self._forget()
        return genome.load_into(copy.deepcopy(template))

    def flops(self, genome: Genome, count: Callable[[], int]) -> int:
        """Training FLOPs a sample, counted once for each lineage."""
        if genome.edits not in self._flops:
            self._flops[genome.edits] = count()
        return self._flops[genome.edits]

    def _forget(self) -> None:
        """The oldest, but for the newest, where they take too much memory."""
        sizes = [_num_bytes(living) for living in self._known.values()]
        while len(sizes) > 1 and sum(sizes) > MOST_BYTES:
            del self._known[next(iter(self._known))], sizes[0]

    def __getstate__(self) -> dict[str, Any]:
        """Without what is known, which is built anew where it is needed."""
        return {"_seed": self._seed, "_known": {}, "_flops": {}}


def _num_bytes(living: LivingModel) -> int:
    return sum(tensor.nbytes for tensor in living.state_dict().values())
