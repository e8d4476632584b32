import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neuroexapt.errors import RunError
from neuroexapt.runs.checkpoint import Checkpoint, Progress
from neuroexapt.runs.folder import (
    RunFolder,
    find_run,
    forget_after,
    load_checkpoint,
    new_folder,
    new_log,
    save_checkpoint,
)


def at(epochs: int) -> Checkpoint:
    progress = Progress(
        epochs=epochs,
        training_flops=0,
        history=[],
        grower=None,
        scaler=None,
        events=0,
        seconds=0,
        params_seed=0,
        macs_seed=0,
        num_classes=2,
        image_shape=(1, 2, 2),
    )
    return Checkpoint({"a": torch.ones(1)}, [], {}, {}, progress)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    for epochs in range(5):
        save_checkpoint(folder, at(epochs), best=min(epochs, 1))
    folder.config.write_text("{}")
    return folder


def test_save_checkpoint_keeps_newest_two_and_best(folder: RunFolder):
    assert list(folder.checkpoints) == [1, 3, 4]
    assert folder.latest == folder.checkpoint(4)


def test_checkpoints_are_in_order_of_epochs_whatever_the_digits(folder: RunFolder):
    save_checkpoint(folder, at(10_000), best=1)
    assert list(folder.checkpoints) == [1, 4, 10_000]


def test_forget_after_removes_later_ones_and_leftovers(folder: RunFolder):
    (folder.path / "checkpoints" / ".unfinished-epoch-0005").mkdir()
    forget_after(folder, 3)
    names = sorted(path.name for path in (folder.path / "checkpoints").iterdir())
    assert names == ["epoch-0001", "epoch-0003"]


def test_load_checkpoint_damaged_suggests_the_one_before(folder: RunFolder):
    (folder.checkpoint(4) / "model.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match=r"model\.safetensors is damaged.*--resume .*epoch-0003$"):
        load_checkpoint(folder, folder.checkpoint(4), Progress)
    assert load_checkpoint(folder, folder.checkpoint(3), Progress).progress.epochs == 3


def test_load_checkpoint_first_damaged_says_that_none_is_before(folder: RunFolder):
    (folder.checkpoint(1) / "state.json").unlink()
    with pytest.raises(RunError, match=r"state\.json is missing; there is no checkpoint before"):
        load_checkpoint(folder, folder.checkpoint(1), Progress)


def test_load_checkpoint_that_is_not_there_names_those_that_are(folder: RunFolder):
    kept = "epoch-0001, epoch-0003, epoch-0004"
    with pytest.raises(
        RunError, match=rf"no checkpoint .*epoch-0042; give one of .* kept: {kept}$"
    ):
        load_checkpoint(folder, folder.checkpoint(42), Progress)


def test_find_run_by_folder_or_checkpoint(folder: RunFolder):
    assert find_run(folder.path) == (folder, None)
    assert find_run(folder.checkpoint(3)) == (folder, folder.checkpoint(3))


def test_find_run_refuses_what_is_none(tmp_path: Path):
    with pytest.raises(RunError, match=r"holds no run: there is no config\.json"):
        find_run(tmp_path)


def test_new_folder_may_be_empty_and_nothing_else(folder: RunFolder, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    assert new_folder(tmp_path / "empty").path == tmp_path / "empty"
    assert not new_folder(tmp_path / "none").path.exists()
    with pytest.raises(RunError, match=r"holds a run already; go on with it by --resume"):
        new_folder(folder.path)
    with pytest.raises(RunError, match="is not empty"):
        new_folder(tmp_path)
    with pytest.raises(RunError, match="is no folder"):
        new_folder(folder.config)


def test_new_folder_through_a_file_is_refused_at_once(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written \(Not a d.*; move away the file that"):
        new_folder(tmp_path / "file" / "deep" / "run")


def test_new_folder_where_nothing_may_be_written_is_refused_at_once(tmp_path: Path):
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("root may write anywhere")
    with pytest.raises(RunError, match=rf"cannot be .*\(Perm.*; allow writing to {tmp_path}, or"):
        new_folder(tmp_path / "deep" / "run")


@pytest.mark.parametrize("find", [new_folder, find_run])
def test_folder_of_too_long_a_name_is_refused(find: Callable[[Path], object], tmp_path: Path):
    with pytest.raises(RunError, match=r"a{300} cannot be (written|read) \(File name too long"):
        find(tmp_path / ("a" * 300))


def test_new_folder_may_hold_what_a_kill_has_left(tmp_path: Path):
    (tmp_path / ".unfinished-config.json").write_text("{")
    (tmp_path / "events.jsonl").touch()
    assert new_folder(tmp_path).path == tmp_path


def test_a_second_start_at_the_same_time_changes_nothing(tmp_path: Path):
    first, second = new_folder(tmp_path / "run"), new_folder(tmp_path / "run")
    with new_log(first, b"first") as log:
        with pytest.raises(RunError, match="is being written by another process"):
            new_log(second, b"second").__enter__()
        log.close()
    with pytest.raises(RunError, match="holds a run already"):
        new_log(second, b"second").__enter__()
    assert first.config.read_bytes() == b"first"
