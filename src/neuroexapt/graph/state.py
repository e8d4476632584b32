"""What a model holds, to be given back after something was tried on it."""

from typing import Any, TypeAlias

from torch import nn

State: TypeAlias = dict[nn.Module, list[dict[str, Any]]]


def preserve_state(module: nn.Module) -> State:
    """What every module in it holds, modes and tensors included, for `restore_state`.

    Tensors are held, not copied: what `forward` does to them in place stays.
    """
    return {
        part: [dict(table) for table in (vars(part), *tables(part))] for part in module.modules()
    }


def tables(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Its parameters, buffers and parts."""
    return module._parameters, module._buffers, module._modules


def restore_state(state: State) -> None:
    """Give every module back what it held: nothing that `forward` set is left."""
    for part, (attributes, *held) in state.items():
        vars(part).clear()
        vars(part).update(attributes)
        for table, before in zip(tables(part), held, strict=True):
            table.clear()
            table.update(before)
