"""A run that is begun, or gone on with where it was broken off by the same settings."""

import shutil
from pathlib import Path

from neuroexapt.runs import (
    Run,
    SearchSummary,
    Summary,
    TrackedSearch,
    reopen,
    reopen_search,
    start,
    start_search,
)
from neuroexapt.runs.config import GrowConfig, read_config
from neuroexapt.runs.search_config import SearchRunConfig, read_search_config

ELSEWHERE = ("device", "threads", "data_dir")
"""Settings that say where a run is trained: it may go on elsewhere."""


def begun(config: GrowConfig, folder: Path) -> Run | Summary:
    """Of a network that grows, or doesn't."""
    if (folder / "config.json").exists() and _same(read_config(folder / "config.json"), config):
        return reopen(folder, config.device, config.threads)
    shutil.rmtree(folder, ignore_errors=True)
    return start(config, folder)


def begun_search(config: SearchRunConfig, folder: Path) -> TrackedSearch | SearchSummary:
    """Of a search."""
    path = folder / "config.json"
    if path.exists() and _same(read_search_config(path), config):
        return reopen_search(folder, config.device, config.threads)
    shutil.rmtree(folder, ignore_errors=True)
    return start_search(config, folder)


def _same(known: GrowConfig | SearchRunConfig, wanted: GrowConfig | SearchRunConfig) -> bool:
    where = set(ELSEWHERE)
    return known.model_dump(exclude=where) == wanted.model_dump(exclude=where)
