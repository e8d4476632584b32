"""Crossover: one parent's network, with the other parent's edits that still apply to it."""

import re
from collections.abc import Iterable, Mapping
from itertools import takewhile

from neuroexapt.edits import AnyEdit, Change, Widen, load_edits
from neuroexapt.edits.base import Edit
from neuroexapt.edits.transaction import Limit
from neuroexapt.errors import EditError
from neuroexapt.graph import LivingModel

_NEWBORN = re.compile(r"^edit(\d+)(?=[._]|$)")
"""Parts that an edit has added are named after its place in the lineage."""


def transplant(
    living: LivingModel, donor: Iterable[AnyEdit], seed: int = 0, limit: Limit | None = None
) -> list[Change]:
    """Apply another lineage's edits to a network, as far as they apply; its function is preserved.

    What both lineages begin with is left out, and what the network has had besides. Edits that give
    up something, such as pruning, aren't taken over. An edit that refers to what another edit added
    follows it to its new name, or is left out with it. New units whose weights went by gradients
    are random here.

    Args:
        living: changed in place.
        donor: the other lineage, from the same seed network.
        seed: of new weights.
        limit: what a network must not exceed.

    Returns:
        What changed; empty if nothing of the other lineage applies.
    """
    own, other = tuple(map(_plain, living.edits)), tuple(map(_plain, donor))
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(own, other, strict=False))))
    had: dict[str, list[int]] = {}
    for index, edit in enumerate(own[shared:], start=shared):
        had.setdefault(edit.model_dump_json(), []).append(index)
    names: dict[int, int] = {index: index for index in range(shared)}
    changes: list[Change] = []
    for index, edit in enumerate(other[shared:], start=shared):
        written = edit.model_dump_json()
        if had.get(written):
            names[index] = had[written].pop(0)
            continue
        moved = _renamed(edit, names)
        if moved is None or not moved.preserving:
            continue
        place = len(living.edits)
        try:
            changes.append(living.apply(moved, seed=seed, limit=limit))
        except EditError:  # it doesn't fit this network, which is as it was
            continue
        names[index] = place
    return changes


def _plain(edit: AnyEdit) -> AnyEdit:
    """The edit; where its new weights went by gradients, they are random here."""
    if isinstance(edit, Widen) and edit.init == "gradmax":
        return edit.model_copy(update={"init": "random"})
    return edit


def _renamed(edit: AnyEdit, names: Mapping[int, int]) -> AnyEdit | None:
    """The edit with the names that its places have here; None if one of them isn't here."""
    record = edit.model_dump()
    for field, value in record.items():
        if isinstance(value, str) and field not in Edit.model_fields:
            made = _NEWBORN.match(value)
            if made is None:
                continue
            place = names.get(int(made[1]))
            if place is None:
                return None
            record[field] = f"edit{place}{value[made.end() :]}"
    return load_edits([record])[0]
