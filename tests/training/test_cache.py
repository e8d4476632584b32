import logging
import os
import resource
from pathlib import Path

import pytest
import torch
from torch import Tensor

from neuroexapt.errors import DataError
from neuroexapt.training.cache import cache_path, cached_images


class Decoder:
    """Counts how often it is called."""

    def __init__(self) -> None:
        self.calls = 0
        self.images = torch.arange(48, dtype=torch.uint8).view(1, 3, 4, 4)

    def __call__(self) -> Tensor:
        self.calls += 1
        return self.images


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "train.parquet"
    path.write_bytes(b"rows")
    return path


def test_cached_images_are_decoded_once(source: Path, cache_home: Path) -> None:
    decoder = Decoder()
    first, second = (cached_images([source], decoder) for _ in range(2))
    assert decoder.calls == 1
    assert torch.equal(first, second)
    assert [path.suffix for path in cache_home.iterdir()] == [".npy"]


def test_cached_images_are_decoded_again_once_the_source_changes(source: Path) -> None:
    decoder = Decoder()
    cached_images([source], decoder)
    stat = source.stat()
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    cached_images([source], decoder)
    source.write_bytes(b"other rows")
    cached_images([source], decoder)
    assert decoder.calls == 3


@pytest.mark.parametrize("keep", [0, 5, 140])
def test_cached_images_damaged_are_named_and_not_half_read(source: Path, keep: int) -> None:
    cached_images([source], Decoder())
    path = cache_path([source])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"{path.name} are damaged .* delete that file"):
        cached_images([source], Decoder())


def test_cached_images_without_room_are_decoded_and_the_reason_logged(
    source: Path, cache_home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    decoder = Decoder()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with caplog.at_level(logging.WARNING):
            images = cached_images([source], decoder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert torch.equal(images, decoder.images)
    assert "were not kept" in caplog.text and "File too large" in caplog.text
    assert list(cache_home.iterdir()) == []


def test_cache_folder_follows_the_users_setting(
    source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_path([source]).parent == tmp_path / ".cache" / "neuroexapt"
