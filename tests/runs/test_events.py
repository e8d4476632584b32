import json
from pathlib import Path

import pytest

from neuroexapt.errors import RunError
from neuroexapt.runs import read_events
from neuroexapt.runs.events import EventLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    for number in range(3):
        log.append("epoch", {"number": number})
    log.close()
    return path


def test_append_adds_one_line_an_event(path: Path):
    lines = path.read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]
    assert all(line.startswith('{"event": "epoch", "time": "') for line in lines)


def test_append_goes_on_in_an_existing_file(path: Path):
    log = EventLog(path)
    log.append("end", {})
    log.close()
    assert [event["event"] for event in read_events(path)] == ["epoch"] * 3 + ["end"]


def test_append_refuses_numbers_that_json_lacks(path: Path):
    log = EventLog(path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        log.append("epoch", {"loss": float("nan")})
    log.close()
    assert len(read_events(path)) == 3


def test_read_events_leaves_out_a_torn_last_line(path: Path):
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert [event["number"] for event in read_events(path)] == [0, 1]


@pytest.mark.parametrize("line", [b'{"event": "epo', b"[1, 2]", b'{"number": 1}', b"\xff\xfe", b""])
def test_read_events_names_a_damaged_line(path: Path, line: bytes):
    lines = path.read_bytes().split(b"\n")
    lines[1] = line
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(RunError, match=r"events\.jsonl, line 2 is damaged"):
        read_events(path)


def test_read_events_names_a_missing_file(tmp_path: Path):
    with pytest.raises(RunError, match=r"none\.jsonl cannot be read \(No such file"):
        read_events(tmp_path / "none.jsonl")


def test_cut_forgets_what_came_after(path: Path):
    log = EventLog(path)
    position = log.position
    log.append("edit", {})
    with path.open("ab") as file:
        file.write(b'{"event": "torn')
    log.cut(position)
    log.append("end", {})
    log.close()
    assert [event["event"] for event in read_events(path)] == ["epoch"] * 3 + ["end"]


def test_cut_refuses_a_file_that_is_too_short(path: Path):
    log = EventLog(path)
    position = log.position
    with path.open("r+b") as file:
        file.truncate(position - 10)
    with pytest.raises(RunError, match=rf"but had {position:,} when the checkpoint was written"):
        log.cut(position)
    log.close()


def test_cut_refuses_damage_before_the_position_and_changes_nothing(path: Path):
    content = path.read_bytes().replace(b'"number": 1', b'"number" 1')
    path.write_bytes(content)
    log = EventLog(path)
    with pytest.raises(RunError, match="line 2 is damaged"):
        log.cut(log.position)
    log.close()
    assert path.read_bytes() == content


def test_event_log_is_one_process_at_a_time(path: Path):
    log = EventLog(path)
    with pytest.raises(RunError, match="is being written by another process"):
        EventLog(path)
    log.close()
    EventLog(path).close()
