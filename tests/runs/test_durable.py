import errno
import os
from pathlib import Path

import pytest

from neuroexapt.errors import RunError
from neuroexapt.runs.durable import (
    remove_folder,
    replace_file,
    sha256,
    to_json,
    write_folder,
    writing,
)


def test_replace_file_leaves_only_the_new_content(tmp_path: Path):
    path = tmp_path / "a.json"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_replace_file_refused_keeps_the_old_content(tmp_path: Path):
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    (tmp_path / ".unfinished-a.json").mkdir()  # in the way of the temporary file
    with pytest.raises(
        RunError, match=r"a\.json cannot .*; (move|allow writing to) .*\.unfinished-a"
    ):
        replace_file(path, b"new")
    assert path.read_bytes() == b"old"


def test_replace_file_names_file_and_remedy(tmp_path: Path):
    with pytest.raises(RunError, match=r"none/a cannot be written \(No such file.*another place"):
        replace_file(tmp_path / "none" / "a", b"")


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room and resume the run, or give another place"),
        (errno.EDQUOT, "make room and resume the run, or"),
        (errno.EACCES, "allow writing to there/file, or give another place"),
        (errno.EROFS, "allow writing to there/file, or"),
        (errno.EISDIR, "move there/file away, or"),
        (errno.EEXIST, "move there/file away, or"),
        (errno.ENOTDIR, "move away the file that there/file leads through, or"),
        (errno.ENOENT, "make the folder of there/file, or"),
        (errno.ENAMETOOLONG, "give a shorter name, or"),
        (errno.EIO, "see whether the disk of there/file works, or"),
    ],
)
def test_writing_gives_each_cause_its_remedy(number: int, remedy: str):
    message = rf"^here cannot be written \({os.strerror(number)}\); {remedy}"
    with pytest.raises(RunError, match=message), writing(Path("here")):
        raise OSError(number, os.strerror(number), "there/file")


def test_write_folder_is_complete_or_not_there(tmp_path: Path):
    path = tmp_path / "folder"
    write_folder(path, {"a": b"1", "b": b"2"})
    assert {p.name: p.read_bytes() for p in path.iterdir()} == {"a": b"1", "b": b"2"}

    refused = tmp_path / "refused"
    with pytest.raises(RunError, match="refused cannot be written"):
        write_folder(refused, {"a": b"1", "b/c": b"2"})  # the second file has no folder
    assert list(tmp_path.iterdir()) == [path]


def test_write_folder_overwrites_what_a_kill_left(tmp_path: Path):
    leftover = tmp_path / ".unfinished-folder"
    leftover.mkdir()
    (leftover / "half").write_bytes(b"ha")
    write_folder(tmp_path / "folder", {"a": b"1"})
    assert [p.name for p in tmp_path.rglob("*")] == ["folder", "a"]


def test_remove_folder_removes_all_and_allows_none(tmp_path: Path):
    write_folder(tmp_path / "folder", {"a": b"1"})
    remove_folder(tmp_path / "folder")
    remove_folder(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_sha256_known_value():
    assert sha256(b"abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_to_json_is_readable_utf8():
    assert to_json({"name": "größer"}).decode() == '{\n  "name": "größer"\n}\n'
