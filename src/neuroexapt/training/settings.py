"""What is wrong with settings, in words."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

ALIKE = 0.7
"""From 0 to 1: so much alike are a name and what may be meant by it."""
PART = 4
"""Letters from which on a name may be a part of what is meant."""


Record = TypeVar("Record", bound=BaseModel)


def validated(record: type[Record], given: Any, name: str) -> Record:
    """Settings as they are, or made of a mapping of some of them; the default ones of None.

    Args:
        record: what they are meant for.
        given: the settings.
        name: what they are to the user.

    Raises:
        ValueError: naming the setting that is unknown or not allowed.

    Example:
        >>> from neuroexapt.training import Recipe
        >>> validated(Recipe, {"momentum": 0.8}, "the recipe").momentum
        0.8
        >>> validated(Recipe, 0.8, "the recipe")
        Traceback (most recent call last):
        ...
        ValueError: the recipe: float was given; give Recipe, or a mapping of some of its fields
    """
    try:
        return record.model_validate({} if given is None else given)
    except ValidationError as error:
        raise ValueError(f"{name}: {explained(error, record)}") from error


def explained(error: ValidationError, record: type[BaseModel]) -> str:
    """The first thing that is wrong, by the name of the setting.

    Args:
        error: of validating settings.
        record: what they were meant for.

    Example:
        >>> from neuroexapt.training import Recipe
        >>> try:
        ...     Recipe(momentun=0.9)
        ... except ValidationError as error:
        ...     print(explained(error, Recipe))
        there is no setting 'momentun'; is 'momentum' meant?
    """
    problem = error.errors(include_url=False)[0]
    path = [str(part) for part in problem["loc"]]
    name = ".".join(path)
    if problem["type"] == "extra_forbidden":
        return f"there is no setting {name!r}; {_nearest(path, record)}"
    if problem["type"] == "missing":
        return f"the setting {name!r} is missing"
    if problem["type"] == "model_type" and not path:
        kind = type(problem["input"]).__name__
        return f"{kind} was given; give {record.__name__}, or a mapping of some of its fields"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    given = problem["input"]
    told = "" if isinstance(given, Mapping) else f", not {given!r}"
    return f"{name}: {message}{told}" if name else message


def _nearest(path: list[str], record: type[BaseModel]) -> str:
    fields: list[str] = sorted(_fields_beside(path, record))
    close = difflib.get_close_matches(path[-1], fields, n=1, cutoff=ALIKE)
    if len(path[-1]) >= PART:
        close = close or [field for field in fields if path[-1] in field]
    return f"is {close[0]!r} meant?" if close else f"there are {', '.join(fields)}"


def _fields_beside(path: list[str], record: type[BaseModel]) -> set[str]:
    """Names that are allowed where a path of settings ends."""
    for part in path[:-1]:
        inner = _record_of(record.model_fields[part].annotation)
        if inner is None:
            return set()
        record = inner
    return set(record.model_fields)


def _record_of(annotation: object) -> type[BaseModel] | None:
    """The record that a setting holds, which may be one of several things that it may be."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
