"""Rows of the Hugging Face hub's image classification schema, in parquet files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from neuroexapt.errors import DataError

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")


@dataclass(frozen=True, eq=False)
class Labels:
    """What one part of a data set says of its images.

    Attributes:
        numbers: int64, shape (N,), one a row.
        class_names: what the numbers stand for, or None if the files do not say.
    """

    numbers: Tensor
    class_names: tuple[str, ...] | None


def read_labels(files: Sequence[Path]) -> Labels:
    """Read one part's labels, file after file.

    Args:
        files: parquet with an integer column `label` or `fine_label`.

    Raises:
        DataError: naming the file, if it is damaged, the column is missing, of another type or
            has gaps, or there is no row.
    """
    numbers: list[int] = []
    for file in files:
        schema = _schema(file)
        name = _column(file, schema, LABEL_COLUMNS)
        if not pa.types.is_integer(schema.field(name).type):
            raise DataError(
                f"{file}: column {name} is {schema.field(name).type}; labels have to be integers"
            )
        numbers += _values(file, name, _read_column(file, name))
    if not numbers:
        raise DataError(f"{', '.join(map(str, files))} hold no row; fetch or write them again")
    return Labels(torch.tensor(numbers, dtype=torch.int64), _class_names(_schema(files[0])))


def read_encoded(files: Sequence[Path]) -> list[bytes]:
    """Read one part's images, still encoded, file after file.

    Args:
        files: parquet with a column `img` or `image`, a struct whose field `bytes` is the image.

    Raises:
        DataError: naming the file, if it is damaged, or the column is missing, of another type or
            has gaps.
    """
    images: list[bytes] = []
    for file in files:
        schema = _schema(file)
        name = _column(file, schema, IMAGE_COLUMNS)
        kind = schema.field(name).type
        if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
            raise DataError(
                f"{file}: column {name} is {kind}; it has to be a struct whose field `bytes` is "
                "the encoded image"
            )
        column = _read_column(file, f"{name}.bytes")
        images += _values(file, name, pc.struct_field(column, "bytes"))
    return images


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as parquet ({error}); fetch or write it again")


def _schema(file: Path) -> pa.Schema:
    try:
        return pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def _read_column(file: Path, path: str) -> pa.ChunkedArray:
    """Read one column, given by its path of dots, of a single file."""
    try:
        with pq.ParquetFile(file) as parquet:
            return parquet.read(columns=[path]).column(0)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file, error) from error


def _column(file: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise DataError(
        f"{file} has columns {', '.join(schema.names)}; it needs one named {' or '.join(names)}"
    )


def _values(file: Path, name: str, column: pa.ChunkedArray) -> list[Any]:
    if column.null_count:
        raise DataError(
            f"{file}: column {name} is empty in {column.null_count} rows; every row needs a value"
        )
    values: list[Any] = column.to_pylist()
    return values


def _class_names(schema: pa.Schema) -> tuple[str, ...] | None:
    """Return the classes' names from the metadata that the hub writes, if they are there."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    if metadata is None:
        return None
    features = json.loads(metadata).get("info", {}).get("features", {})
    for column in LABEL_COLUMNS:
        names = features.get(column, {}).get("names")
        if names:
            return tuple(names)
    return None
