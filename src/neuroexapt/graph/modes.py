"""Train and eval mode, where a model's own `train()` keeps parts of it in another one."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from torch import nn

from neuroexapt.errors import TraceError
from neuroexapt.graph.state import State, preserve_state, restore_state, tables

OwnModes: TypeAlias = Mapping[bool, Mapping[str, bool]]
"""Mode -> path -> the mode of what is there and below, where it isn't that of the module above."""

NO_OWN: OwnModes = {True: {}, False: {}}
"""What `nn.Module.train` does."""

FAILURES = (TypeError, AttributeError, ValueError, RuntimeError, LookupError)


def own_modes(model: nn.Module, leaves: Iterable[str | type[nn.Module]] = ()) -> OwnModes:
    """Try out what a model's `train()` does in each mode; the model is as before then.

    Args:
        model: the model.
        leaves: names or types of modules to keep whole: their `train()` goes on being called.

    Raises:
        TraceError: if it fails, or changes something besides modes.
    """
    if not any(map(_overrides, model.modules())):
        return NO_OWN
    state, mode = preserve_state(model), model.training
    wanted = [(tensor, tensor.requires_grad) for tensor in model.parameters()]
    try:
        found = {training: _tried(model, training) for training in (True, False)}
        try:
            _check_only_modes(model, state, wanted, tuple(leaves))
        finally:
            model.train(mode)  # undoes what it did to values, such as merging weights
        return found
    finally:
        restore_state(state)
        for tensor, before in wanted:
            tensor.requires_grad_(before)


def _check_only_modes(
    model: nn.Module,
    state: State,
    wanted: list[tuple[nn.Parameter, bool]],
    leaves: tuple[str | type[nn.Module], ...],
) -> None:
    whole = _inside(model, leaves)
    for path, part in model.named_modules():
        if part not in whole and (name := _changed(part, state[part])) is not None:
            raise TraceError(
                f"train() of {type(model).__name__} changes {name!r} of {type(part).__name__} at "
                f"{path!r}; a living model carries over only which parts are in which mode: "
                "change that outside train(), or keep the module whole with leaves=(...)"
            )
    if any(tensor.requires_grad != before for tensor, before in wanted):
        raise TraceError(
            f"train() of {type(model).__name__} freezes or thaws parameters (requires_grad), "
            "which a living model doesn't repeat; do so once, before making it living"
        )


def put_in_mode(model: nn.Module, training: bool, modes: OwnModes) -> None:
    """Set train or eval mode without calling `train()`, and its own modes where it has such."""
    for module in model.modules():
        module.training = training
    keep_own(model, modes[training])


def keep_own(model: nn.Module, own: Mapping[str, bool]) -> None:
    """Put parts in a mode of their own, outer ones first; parts that are gone have none."""
    for path, training in own.items():
        try:
            part = model.get_submodule(path)
        except AttributeError:
            continue
        for module in part.modules():
            module.training = training


def moved(modes: OwnModes, paths: Mapping[str, str]) -> OwnModes:
    """The same with parts at other paths: what stands at `paths[old]` goes on in the mode of `old`.

    Args:
        modes: what `own_modes` gave.
        paths: old path -> new path; the old ones may stay in use.
    """
    if not any(modes.values()):
        return modes
    return {training: {**own, **dict(_moved(own, paths))} for training, own in modes.items()}


def _moved(own: Mapping[str, bool], paths: Mapping[str, str]) -> Iterator[tuple[str, bool]]:
    for old, new in paths.items():
        parts = old.split(".")
        above = [".".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
        nearest = next((path for path in above if path in own), None)
        if nearest is not None:
            yield new, own[nearest]


def _overrides(module: nn.Module) -> bool:
    return getattr(module.train, "__func__", None) is not nn.Module.train


def _tried(model: nn.Module, training: bool) -> dict[str, bool]:
    """Where `train(training)` puts a part in another mode than the one above it."""
    try:
        model.train(training)
    except FAILURES as error:
        raise TraceError(
            f"train({training}) of {type(model).__name__} fails ({type(error).__name__}: {error}); "
            "train(mode=True) must set the mode, as nn.Module's does: give other methods other "
            "names"
        ) from error
    modes = {"": training}
    own = {}
    for path, module in model.named_modules(remove_duplicate=False):
        above = modes[path.rpartition(".")[0]]
        modes[path] = module.training
        if module.training != above:
            own[path] = module.training
    return own


def _inside(model: nn.Module, leaves: tuple[str | type[nn.Module], ...]) -> set[nn.Module]:
    """The leaves and all that is in them."""
    found: set[nn.Module] = set()
    for path, module in model.named_modules():
        if any(
            path == leaf if isinstance(leaf, str) else isinstance(module, leaf) for leaf in leaves
        ):
            found.update(module.modules())
    return found


def _changed(module: nn.Module, before: list[dict[str, Any]]) -> str | None:
    """The first attribute, tensor or part that isn't the one it was, the mode aside."""
    for table, was in zip((vars(module), *tables(module)), before, strict=True):
        for name in {**was, **table}:
            kept = name in was and name in table and table[name] is was[name]
            if not kept and name != "training":
                return str(name)
    return None
