import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

WriteParquet = Callable[..., np.ndarray]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads that wait for a busy core make steps of tiny networks a hundred times slower."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep decoded images out of the user's cache and apart between tests."""
    home = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    return home / "neuroexapt"


@pytest.fixture
def write_parquet() -> WriteParquet:
    """Write images in the hub's schema, as lossless WebP, and return them as (N, H, W, C)."""

    def write(
        path: Path,
        labels: Sequence[int | None],
        *,
        seed: int = 0,
        channels: int = 3,
        image_column: str = "img",
        label_column: str = "label",
        class_names: Sequence[str] | None = None,
    ) -> np.ndarray:
        rng = np.random.default_rng(seed)
        pixels = rng.integers(0, 256, (len(labels), 6, 4, channels), dtype=np.uint8)
        rows = [
            {"bytes": _encode(image), "path": f"{row}.webp"} for row, image in enumerate(pixels)
        ]
        table = pa.table({image_column: rows, label_column: pa.array(labels, pa.int64())})
        if class_names:
            features = {label_column: {"names": list(class_names), "_type": "ClassLabel"}}
            metadata = json.dumps({"info": {"features": features}})
            table = table.replace_schema_metadata({"huggingface": metadata})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
        return pixels

    return write


def _encode(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    if pixels.shape[2] == 1:  # WebP has no grey images
        Image.fromarray(pixels[:, :, 0]).save(file, "png")
    else:
        Image.fromarray(pixels).save(file, "webp", lossless=True)
    return file.getvalue()
