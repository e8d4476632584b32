"""What kind of a run a folder holds."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, TypeAlias

from neuroexapt.errors import RunError
from neuroexapt.runs.config import read_settings
from neuroexapt.runs.folder import RunFolder

Kind: TypeAlias = Literal["grow", "search", "evolve"]
"""As the command is called that starts it."""
NOUNS: Mapping[Kind, str] = MappingProxyType(
    {"grow": "run that grows a network", "search": "search", "evolve": "evolution"}
)
SETTINGS: Mapping[str, Kind] = MappingProxyType({"space": "search", "evolution": "evolve"})
"""Settings that only one kind has."""


def kind_of(folder: RunFolder) -> Kind:
    """The kind of a run, told by its settings.

    Raises:
        RunError: if they can't be read.
    """
    settings = read_settings(folder.config)
    return next((kind for name, kind in SETTINGS.items() if name in settings), "grow")


def check_kind(folder: RunFolder, expected: Kind) -> None:
    """Refuse a run of another kind.

    Raises:
        RunError: naming the command that it is for.
    """
    kind = kind_of(folder)
    if kind != expected:
        raise RunError(
            f"{folder.path} holds {_article(kind)} {NOUNS[kind]}, no {NOUNS[expected]}; go on with "
            f"it by neuroexapt {kind} --resume"
        )


def _article(kind: Kind) -> str:
    return "an" if NOUNS[kind][0] in "aeiou" else "a"
