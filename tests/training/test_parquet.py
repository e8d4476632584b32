from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from neuroexapt.errors import DataError
from neuroexapt.training.decode import decode_image
from neuroexapt.training.parquet import read_encoded, read_labels

WriteParquet = Callable[..., np.ndarray]


def test_read_shards_in_order(tmp_path: Path, write_parquet: WriteParquet) -> None:
    files = [tmp_path / "train-00000-of-00002.parquet", tmp_path / "train-00001-of-00002.parquet"]
    pixels = [
        write_parquet(files[0], [1, 0], seed=0, class_names=["cat", "dog"]),
        write_parquet(files[1], [0], seed=1, class_names=["cat", "dog"]),
    ]
    labels = read_labels(files)
    assert labels.numbers.tolist() == [1, 0, 0]
    assert labels.class_names == ("cat", "dog")
    decoded = [decode_image(image, "").transpose(1, 2, 0) for image in read_encoded(files)]
    assert np.array_equal(np.stack(decoded), np.concatenate(pixels))


def test_read_labels_without_metadata_have_no_names(
    tmp_path: Path, write_parquet: WriteParquet
) -> None:
    write_parquet(tmp_path / "a.parquet", [2], image_column="image", label_column="fine_label")
    labels = read_labels([tmp_path / "a.parquet"])
    assert labels.numbers.tolist() == [2] and labels.class_names is None
    assert len(read_encoded([tmp_path / "a.parquet"])) == 1


IMAGE = {"bytes": b"x", "path": "x"}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"img": [IMAGE], "name": ["cat"]}, "columns img, name; it needs one named label or fine"),
        ({"img": [IMAGE], "label": ["cat"]}, "column label is string; labels have to be integers"),
        ({"img": [IMAGE] * 3, "label": [0, None, None]}, "column label is empty in 2 rows"),
        ({"img": pa.array([], pa.int8()), "label": pa.array([], pa.int64())}, "hold no row"),
    ],
)
def test_read_labels_that_are_none_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=f"bad.parquet.*{message}"):
        read_labels([tmp_path / "bad.parquet"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"pixels": [IMAGE]}, "columns pixels; it needs one named img or image"),
        ({"img": [b"x"]}, "column img is binary; it has to be a struct"),
        ({"img": [{"path": "x"}]}, "has to be a struct whose field `bytes`"),
        ({"img": [IMAGE, {"bytes": None, "path": "x"}]}, "column img is empty in 1 rows"),
        ({"img": [IMAGE, None]}, "column img is empty in 1 rows"),
    ],
)
def test_read_encoded_that_are_no_images_are_refused(
    tmp_path: Path, columns: dict[str, list[object]], message: str
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match=f"bad.parquet.*{message}"):
        read_encoded([tmp_path / "bad.parquet"])


@pytest.mark.parametrize("keep", [0, 3, -20])
def test_read_damaged_file_is_named(tmp_path: Path, write_parquet: WriteParquet, keep: int) -> None:
    path = tmp_path / "train.parquet"
    write_parquet(path, [0, 1])
    path.write_bytes(path.read_bytes()[:keep])
    for read in (read_labels, read_encoded):
        with pytest.raises(DataError, match=r"train.parquet cannot be read as parquet"):
            read([path])
