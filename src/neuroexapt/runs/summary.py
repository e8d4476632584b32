"""What a run came to."""

import platform
from importlib.metadata import version

import torch
from pydantic import BaseModel, ConfigDict

NAMES = ("neuroexapt", "torch", "numpy")


class Summary(BaseModel):
    """What a run came to, as `summary.json` keeps it.

    Attributes:
        data: name of the data set.
        model: name of the seed model.
        seed: of every random choice.
        test_accuracy: of the final weights, 0 to 1; the test part is read once, for this.
        test_loss: likewise.
        val_accuracy: after the last epoch.
        best_val_accuracy: of all epochs.
        best_checkpoint: where the weights of that epoch are, in the run's folder.
        params_seed: parameters at the start.
        params_final: at the end.
        macs_seed: multiply-accumulates of one sample's forward pass at the start.
        macs_final: at the end.
        train_flops: training FLOPs, sensing and edits included (2 for each multiply-accumulate).
        growth_flops_share: share of them that sensing and edits took.
        edits: how many.
        splits: edits that divided units.
        connections: edits that added a connection.
        epochs: trained.
        seconds: wall time, of all sittings.
        stopped: why the run ended.
        growth_stopped: why growth ended before it; None if it didn't, or there was none.
        command: what started the run.
        versions: of Python and the libraries that decide on the outcome.
        machine: what it ran on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    model: str
    seed: int
    test_accuracy: float
    test_loss: float
    val_accuracy: float
    best_val_accuracy: float
    best_checkpoint: str
    params_seed: int
    params_final: int
    macs_seed: int
    macs_final: int
    train_flops: int
    growth_flops_share: float
    edits: int
    splits: int
    connections: int
    epochs: int
    seconds: float
    stopped: str
    growth_stopped: str | None
    command: str | None
    versions: dict[str, str]
    machine: dict[str, str | int]


def versions() -> dict[str, str]:
    """Versions of Python and the libraries that decide on a run's outcome."""
    return {"python": platform.python_version()} | {name: version(name) for name in NAMES}


def machine(device: torch.device, threads: int) -> dict[str, str | int]:
    """What this machine is, where a run trains on it, and with how many threads of the CPU."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "device": str(device),
        "processor": name,
        "threads": threads,
    }
