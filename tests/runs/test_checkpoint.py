import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.errors import RunError
from neuroexapt.runs.checkpoint import (
    FILES,
    Checkpoint,
    Progress,
    distinct,
    read_checkpoint,
    write_checkpoint,
)

PROGRESS = Progress(
    epochs=2,
    training_flops=10**15 + 1,
    history=[],
    grower={"flops": 3, "evidence": [0.1, float("inf")]},
    scaler=None,
    events=77,
    seconds=0.1 + 0.2,
    params_seed=5,
    macs_seed=6,
    num_classes=10,
    image_shape=(1, 8, 8),
)


def checkpoint(weights: dict[str, Tensor]) -> Checkpoint:
    tensors = {"optimizer.0.momentum_buffer": torch.ones(2), "random.torch": torch.get_rng_state()}
    edits = [{"kind": "split", "group": "conv1", "units": [0]}]
    return Checkpoint(weights, edits, tensors, {"optimizer": {"lr": 0.1}}, PROGRESS)


def test_checkpoint_round_trip(tmp_path: Path):
    weights = {
        "a": torch.randn(3, 4),
        "half": torch.randn(2).bfloat16(),
        "count": torch.tensor(7),
        "view": torch.arange(10.0)[2:5],
        "turned": torch.randn(3, 4).t(),
        "none": torch.empty(0, 3),
    }
    saved = checkpoint(weights)
    write_checkpoint(tmp_path / "c", saved)
    found = read_checkpoint(tmp_path / "c", Progress)
    assert found.weights.keys() == weights.keys()
    for name, tensor in weights.items():
        assert torch.equal(found.weights[name], tensor)
        assert found.weights[name].dtype == tensor.dtype
    assert found.tensors.keys() == saved.tensors.keys()
    assert (found.edits, found.rest, found.progress) == (saved.edits, saved.rest, saved.progress)


def test_distinct_leaves_out_tied_weights_only():
    embedding, head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
    head.weight = embedding.weight
    model = nn.ModuleDict({"embedding": embedding, "head": head, "other": nn.Linear(3, 5)})
    assert list(distinct(model.state_dict())) == [
        "embedding.weight",
        "other.weight",
        "other.bias",
    ]


def test_distinct_keeps_views_of_different_parts():
    flat = torch.arange(6.0)
    views = {"all": flat, "first": flat[:3], "square": flat[:4].view(2, 2), "second": flat[3:]}
    assert list(distinct(views | {"again": flat[:3]})) == ["all", "first", "square", "second"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "c", checkpoint({"a": torch.arange(100.0)}))
    return tmp_path / "c"


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_read_checkpoint_names_a_missing_file(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(RunError, match=rf"{name} is missing"):
        read_checkpoint(folder, Progress)


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_read_checkpoint_names_a_truncated_file(folder: Path, name: str):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=rf"{name} is damaged"):
        read_checkpoint(folder, Progress)


@pytest.mark.parametrize("name", FILES)
def test_read_checkpoint_names_a_file_with_one_flipped_bit(folder: Path, name: str):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RunError, match=rf"{name} is damaged: its content is not what was written"):
        read_checkpoint(folder, Progress)


def test_read_checkpoint_refuses_another_format(folder: Path):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(RunError, match="is of format 99, but this version reads 1"):
        read_checkpoint(folder, Progress)


def test_read_checkpoint_refuses_one_without_progress(tmp_path: Path):
    from neuroexapt.runs.durable import sha256, to_json

    write_checkpoint(tmp_path / "c", checkpoint({"a": torch.ones(2)}))
    (tmp_path / "c" / "state.json").write_bytes(b"{}")
    manifest = json.loads((tmp_path / "c" / "manifest.json").read_text())
    manifest["files"]["state.json"] = sha256(b"{}")
    (tmp_path / "c" / "manifest.json").write_bytes(to_json(manifest))
    with pytest.raises(RunError, match="is complete but no checkpoint of this version"):
        read_checkpoint(tmp_path / "c", Progress)


def test_write_checkpoint_refused_leaves_nothing(tmp_path: Path):
    with pytest.raises(RunError, match="c cannot be written"):
        (tmp_path / "file").write_bytes(b"")
        write_checkpoint(tmp_path / "file" / "c", checkpoint({"a": torch.ones(2)}))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
