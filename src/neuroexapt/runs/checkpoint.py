"""A moment of a run on disk: a folder that is written and read as a whole, or not at all.

It holds `model.safetensors`, the weights; `edits.json`, what made the seed model this one;
`state.safetensors` and `state.json`, the optimiser, the random numbers and the progress; and
`manifest.json`, the SHA-256 of each of them.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from neuroexapt.errors import RunError
from neuroexapt.runs.durable import sha256, to_json, write_folder

FORMAT = 1
FILES = ("model.safetensors", "edits.json", "state.safetensors", "state.json")


class Moment(BaseModel):
    """How far any run is.

    Attributes:
        epochs: trained so far; of an evolution, generations.
        events: size in bytes of `events.jsonl`.
        seconds: wall time spent so far, in all sittings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int
    events: int
    seconds: float


class Progress(Moment):
    """How far a run that grows is.

    Attributes:
        training_flops: spent on training steps.
        history: one record an epoch.
        grower: the grower's state; None where nothing grows.
        scaler: the gradient scaler's state; None without one.
        params_seed: parameters of the seed model.
        macs_seed: multiply-accumulates of the seed model for one sample.
        num_classes: outputs of the model.
        image_shape: channels, height and width of its inputs.
    """

    training_flops: int
    history: list[dict[str, Any]]
    grower: dict[str, Any] | None
    scaler: dict[str, Any] | None
    params_seed: int
    macs_seed: int
    num_classes: int
    image_shape: tuple[int, int, int]


M = TypeVar("M", bound=Moment)


@dataclass(frozen=True, eq=False)
class Checkpoint(Generic[M]):
    """Everything that a run goes on with.

    Attributes:
        weights: parameters and persistent buffers by name; of tied ones, the first name.
        edits: what made the seed model this one: edits as `dump_edits` gives them, a search's
            expansions, or those of each member of a population.
        tensors: of the optimiser and the random numbers, by `optimizer.` or `random.` and a name.
        rest: of the optimiser and the random numbers, what is no tensor.
        progress: how far the run is.
    """

    weights: dict[str, Tensor]
    edits: list[dict[str, Any]]
    tensors: dict[str, Tensor]
    rest: dict[str, Any]
    progress: M


class _Manifest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    files: dict[str, str]


def write_checkpoint(path: Path, checkpoint: Checkpoint[Any]) -> None:
    """Write a checkpoint's folder.

    Raises:
        RunError: if it can't be written; earlier checkpoints are as they were.
    """
    # Not dumped as JSON by pydantic, which has null for an infinity.
    state = checkpoint.rest | {"progress": checkpoint.progress.model_dump()}
    contents = (
        save(_apart(checkpoint.weights)),
        to_json(checkpoint.edits),
        save(_apart(checkpoint.tensors)),
        to_json(state),
    )
    files = dict(zip(FILES, contents, strict=True))
    manifest = _Manifest(format=FORMAT, files={n: sha256(c) for n, c in files.items()})
    write_folder(path, files | {"manifest.json": to_json(manifest.model_dump())})


def read_checkpoint(path: Path, kind: type[M]) -> Checkpoint[M]:
    """Read a checkpoint's folder, after checking every file of it.

    Args:
        path: of the folder.
        kind: what its progress is.

    Raises:
        RunError: naming the file, if one is missing or damaged.
    """
    manifest = _read_manifest(path / "manifest.json")
    contents = [_checked(path / name, manifest.files.get(name)) for name in FILES]
    try:
        state = json.loads(contents[3])
        progress = kind.model_validate(state.pop("progress"))
        return Checkpoint(
            load(contents[0]), json.loads(contents[1]), load(contents[2]), state, progress
        )
    except (ValueError, KeyError, AttributeError, SafetensorError) as error:
        raise RunError(
            f"{path} is complete but no checkpoint of this version ({error}); "
            "read it with the version that wrote it"
        ) from error


def distinct(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without those that are another one under a second name, as tied weights are."""
    seen: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        place = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        seen.setdefault(place if tensor.numel() else (name,), name)
    return {name: tensors[name] for name in seen.values()}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies that share no memory, as safetensors wants them: a view is saved as what it shows."""
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _read_manifest(path: Path) -> _Manifest:
    try:
        manifest = _Manifest.model_validate_json(_read(path))
    except ValidationError as error:
        raise RunError(f"{path} is damaged: it is no manifest of a checkpoint") from error
    if manifest.format != FORMAT:
        raise RunError(
            f"{path} is of format {manifest.format}, but this version reads {FORMAT}; "
            "use the version that wrote it"
        )
    return manifest


def _checked(path: Path, expected: str | None) -> bytes:
    content = _read(path)
    if sha256(content) != expected:
        raise RunError(f"{path} is damaged: its content is not what was written")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing") from error
    except OSError as error:
        raise RunError(f"{path} cannot be read ({error.strerror})") from error
