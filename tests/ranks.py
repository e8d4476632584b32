"""What ranks of a process group do: where processes can import it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from neuroexapt import EditError, Grower, GrowthConfig, LivingModel, TraceError, Widen
from neuroexapt.errors import NeuroexaptError

RANKS = 2
EPOCHS = 6
CRITERION = nn.CrossEntropyLoss()


def together(folder: Path) -> list[dict[str, Any]]:
    """What every rank of a group says, from processes of their own."""
    torch.multiprocessing.spawn(_member, (str(folder),), nprocs=RANKS)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]


def _member(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = dist.FileStore(f"{folder}/store", RANKS)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=RANKS)
    told = {
        "random": _grown(rank, "random"),
        "gradmax": _grown(rank, "gradmax"),
        "failing": _failing(rank),
        "synchronised": _with_synchronised_norms(rank),
        "sharded": _sharded(rank),
    }
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    dist.barrier()
    dist.destroy_process_group()


def _shard(rank: int) -> list[tuple[Tensor, Tensor]]:
    """This rank's own batches."""
    inputs = torch.randn(4, 64, 4, 6, 6, generator=torch.Generator().manual_seed(rank))
    targets = (inputs.mean((-1, -2))[..., 0] > 0).long()
    return list(zip(inputs, targets, strict=True))


def _network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(4, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )


def _grower_of(living: LivingModel, init: str = "random") -> Grower:
    """One that grows soon, and whose newborns take many steps to come of age."""
    config = GrowthConfig.model_validate(
        {
            "every": 2,
            "until": 1.0,
            "min_saving": 0,
            "exchange": 0,
            "kinds": ("widen", "attend", "connect"),
            "newborns": {"lr": 0.1, "steps": 50, "init": init},
        }
    )
    optimizer = torch.optim.Adam(living.parameters(), lr=1e-2)
    return Grower(living, optimizer, CRITERION, config=config, process_group=dist.group.WORLD)


def _grown(rank: int, init: str) -> dict[str, Any]:
    """A model that both ranks train on data of their own, and grow."""
    torch.manual_seed(0)
    data = _shard(rank)
    living = LivingModel(_network(), data[0][0][:4])
    torch.manual_seed(100 + rank)  # as where every rank draws for itself
    grower = _grower_of(living, init)
    wrapped: nn.Module = DistributedDataParallel(living)
    told, apart = [], 0.0
    for epoch in range(EPOCHS):
        for x, y in data:
            grower.optimizer.zero_grad()  # type: ignore[union-attr]
            loss = CRITERION(wrapped(x), y)
            loss.backward()
            grower.optimizer.step()  # type: ignore[union-attr]
        apart = max(apart, _apart(list(living.parameters())))
        changes = grower.step(
            data, metric=-loss.item(), loss=loss.item(), progress=(epoch + 1) / EPOCHS
        )
        told += [(str(change.edit), change.seed, change.max_error) for change in changes]
        if changes:
            apart = max(apart, _apart(list(living.state_dict().values())))
            del wrapped
            wrapped = DistributedDataParallel(living)
    return {
        "changes": told,
        "edits": [str(edit) for edit in living.edits],
        "state": grower.state_dict(),
        "apart": apart,
    }


def _apart(tensors: Sequence[Tensor]) -> float:
    """How far the ranks' tensors are apart at most."""
    mine = torch.cat([tensor.detach().double().flatten() for tensor in tensors])
    low, high = mine.clone(), mine.clone()
    dist.all_reduce(low, dist.ReduceOp.MIN)
    dist.all_reduce(high, dist.ReduceOp.MAX)
    return float((high - low).max())


def _failing(rank: int) -> str:
    """The first rank has no data to sense."""
    torch.manual_seed(0)
    data = _shard(rank)
    grower = _grower_of(LivingModel(_network(), data[0][0][:4]))
    try:
        for _ in range(2):
            grower.step([] if rank == 0 else data, metric=0.5)
    except NeuroexaptError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def _with_synchronised_norms(rank: int) -> str:
    living = LivingModel(_network(), _shard(rank)[0][0][:4])
    living.get_submodule("1").__class__ = nn.SyncBatchNorm
    try:
        _grower_of(living)
    except ValueError as error:
        return str(error)
    return "nothing"


def _sharded(rank: int) -> list[str]:
    """Models whose parameters are spread over ranks, before and after they were made living."""
    mesh = init_device_mesh("cpu", (RANKS,))
    told = []
    try:
        LivingModel(fully_shard(_network(), mesh=mesh), _shard(rank)[0][0][:4])
    except TraceError as error:
        told.append(str(error))
    living = LivingModel(_network(), _shard(rank)[0][0][:4])
    fully_shard(living.get_submodule("5"), mesh=mesh)
    try:
        living.apply(Widen(group="0", count=2))
    except EditError as error:
        told.append(str(error))
    return told
