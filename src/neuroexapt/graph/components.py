"""Connected components: which labels are one after everything that was unified."""

from collections.abc import Iterable

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from neuroexapt.graph.value import Labels


def components(size: int, pairs: Iterable[tuple[Labels, Labels]]) -> Labels:
    """Number of the connected component of each of `size` nodes, edges given as paired arrays."""
    pairs = list(pairs)
    empty = np.zeros(0, dtype=np.int64)
    first = np.concatenate([empty, *(pair[0] for pair in pairs)])
    second = np.concatenate([empty, *(pair[1] for pair in pairs)])
    edges = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(size, size))
    _, numbers = connected_components(edges, directed=False)
    return np.asarray(numbers, dtype=np.int64)
