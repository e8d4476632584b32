"""What is wrong with settings, in words."""

import difflib

from pydantic import BaseModel, ValidationError


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
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return f"{name}: {message}, not {problem['input']!r}" if name else message


def _nearest(path: list[str], record: type[BaseModel]) -> str:
    fields: list[str] = sorted(_fields_beside(path, record))
    close = difflib.get_close_matches(path[-1], fields, n=1)
    return f"is {close[0]!r} meant?" if close else f"there are {', '.join(fields)}"


def _fields_beside(path: list[str], record: type[BaseModel]) -> set[str]:
    """Names that are allowed where a path of settings ends."""
    for part in path[:-1]:
        default = record.model_fields[part].default if part in record.model_fields else None
        if not isinstance(default, BaseModel):
            return set()
        record = type(default)
    return set(record.model_fields)
