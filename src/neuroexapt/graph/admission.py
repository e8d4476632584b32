"""Whether a model and its example fit each other and the traced graph."""

import inspect
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from neuroexapt.errors import TraceError
from neuroexapt.graph.blame import reason
from neuroexapt.graph.compare import leaves_of, relative_error, run_in_mode
from neuroexapt.graph.inputs import Inputs, probe, run_example
from neuroexapt.graph.modes import NO_OWN, OwnModes

TRACED_TOLERANCE = 1e-4
SHARDING = {"FSDPModule", "FullyShardedDataParallel"}
"""Classes by whose names a part is known whose parameters are spread over ranks."""


def check_module(model: object) -> None:
    """Refuse what isn't a module.

    Raises:
        TraceError: saying what to give instead.
    """
    if isinstance(model, type):
        raise TraceError(
            f"the model is the class {model.__name__}; give an instance: {model.__name__}(...)"
        )
    if not isinstance(model, nn.Module):
        raise TraceError(
            f"the model is a {type(model).__name__}; give an nn.Module, into whose forward() a "
            "function goes"
        )


def refuse_names(taken: Collection[str], names: Iterable[str]) -> None:
    """Refuse parts that attributes of what they become parts of would hide.

    Raises:
        TraceError: saying what to do.
    """
    if hidden := sorted(name for name in names if name in taken):
        raise TraceError(
            f"the model has a part named {hidden[0]!r}, as a living model's own attribute is; "
            "rename it, or put the model into another one: nn.Sequential(model)"
        )


def check_visible(model: nn.Module) -> None:
    """Refuse modules whose `forward` can't be seen.

    Raises:
        TraceError: saying what to give instead.
    """
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise TraceError(
            f"the model is wrapped in {type(model).__name__}; make what is inside living, "
            "model.module, and wrap that"
        )
    if hasattr(model, "_orig_mod"):  # what torch.compile makes
        raise TraceError(
            "the model is compiled; make the module itself living, model._orig_mod, then compile it"
        )
    if told := sharded(model):
        raise TraceError(told)
    for path, part in model.named_modules():
        if isinstance(part, torch.jit.ScriptModule):
            place = f"its part {path!r}" if path else "the model"
            raise TraceError(
                f"{place} is a {type(part).__name__}, compiled by torch.jit, whose forward can't "
                "be seen; give the Python module that it was made from"
            )


def sharded(model: nn.Module) -> str | None:
    """That parameters are spread over ranks, and what to do; None if they aren't."""
    for path, part in model.named_modules():
        if SHARDING & {kind.__name__ for kind in type(part).__mro__}:
            place = f"its part {path!r}" if path else "the model"
            return (
                f"{place} is sharded over ranks, and edits need whole parameters; train it by "
                "DistributedDataParallel, or shard it when it has grown"
            )
    return None


def check_inputs(inputs: Inputs) -> None:
    """Refuse an empty batch, and inputs that a graph can't take.

    Raises:
        TraceError: naming the input.
    """
    for index, item in enumerate(inputs.args):
        _check_input(f"input {index}", item)
    for name, item in inputs.kwargs.items():
        _check_input(f"input {name!r}", item)
    if inputs.batch_size == 0:
        shapes = [tuple(tensor.shape) for tensor in inputs.tensors]
        raise TraceError(
            f"the example_input of shapes {shapes} is an empty batch; give at least one sample"
        )


def _check_input(name: str, item: Any) -> None:
    if type(item) in (tuple, list):
        for part in item:
            _check_input(name, part)
    elif type(item) is dict:
        _check_input(name, list(item.values()))
    elif item is None:
        raise TraceError(
            f"{name} of the example_input is None; leave it out, so that it keeps the default that "
            "forward() gives it, and name the inputs after it: a dict of keyword inputs"
        )
    elif isinstance(item, torch.Tensor) and item.layout != torch.strided:
        raise TraceError(
            f"{name} of the example_input is a sparse tensor, which can't be followed; give it "
            "dense: x.to_dense()"
        )
    elif not isinstance(item, torch.Tensor | int | float | complex | tuple):
        raise TraceError(
            f"{name} of the example_input is a {type(item).__name__}; give tensors and numbers, or "
            "tuples, lists and dicts of them, and let forward() have a default for the rest"
        )


def given_names(model: nn.Module, inputs: Inputs) -> list[str]:
    """Names of the inputs that an example gives."""
    names = [p.name for p in inspect.signature(model.forward).parameters.values()]
    return [*names[: len(inputs.args)], *inputs.kwargs]


def by_name(module: nn.Module, inputs: Inputs) -> dict[str, Any]:
    """All inputs of an example as keywords."""
    names = given_names(module, Inputs(inputs.args, {}))
    return {**dict(zip(names, inputs.args, strict=False)), **inputs.kwargs}


def reference(model: nn.Module, inputs: Inputs, modes: OwnModes = NO_OWN) -> Any:
    """What the model gives for the example in eval mode.

    Raises:
        TraceError: if it doesn't run on it.
    """
    return run_in_mode(model, inputs, training=False, run=run_example, modes=modes)


def check_traced(model: nn.Module, traced: fx.GraphModule, inputs: Inputs, expected: Any) -> Inputs:
    """Compare the traced graph with the model, in eval and in train mode.

    Returns:
        The inputs, which aren't varied from now on if the model doesn't take that: where it takes
        logarithms of them, or looks up floating-point numbers.

    Raises:
        TraceError: if they differ, or the model gives NaN.
    """
    _refuse_nan(model, expected)
    inputs, varied, trained = _probed(model, inputs, traced.meta["modes"])
    for training, given, theirs in ((False, inputs, expected), (True, varied, trained)):
        ours = _traced_output(model, traced, given, training)
        error = relative_error(theirs, ours)
        if not error <= TRACED_TOLERANCE:
            raise TraceError(
                f"tracing changes what {type(model).__name__} computes in "
                f"{'train' if training else 'eval'} mode (relative error {error:.1e}): its forward "
                "depends on something besides its inputs; keep that part whole with leaves=(...)"
            )
    return inputs


def _probed(model: nn.Module, inputs: Inputs, modes: OwnModes) -> tuple[Inputs, Inputs, Any]:
    """The inputs, as they may be varied; a probe made of them; and what the model gives for it.

    Raises:
        TraceError: if it has none, however the probe is made; why it hasn't for a varied one.
    """
    refused: TraceError | None = None
    for is_varied in (True, False):
        given = replace(inputs, is_varied=is_varied)
        varied = probe(given, seed=0)
        try:
            output = _trained_output(model, inputs, varied, modes)
            _refuse_nan(model, output)
        except TraceError as error:
            refused = refused or error
        else:
            return given, varied, output
    assert refused is not None, "both were refused"
    raise refused


def _refuse_nan(model: nn.Module, output: Any) -> None:
    if any(isinstance(part, torch.Tensor) and part.isnan().any() for part in leaves_of(output)):
        raise TraceError(f"{type(model).__name__} gives NaN on the example_input")


def _traced_output(model: nn.Module, traced: fx.GraphModule, inputs: Inputs, training: bool) -> Any:
    """What the traced graph gives where the model has run."""
    try:
        return run_in_mode(traced, inputs, training)
    except AssertionError as error:  # of a condition that the example has decided
        found = str(error).partition(", as it was")[0]
        raise TraceError(
            f"{type(model).__name__} does something else for {inputs.batch_size} samples than for "
            f"the example_input ({found}), and tracing sees only one of them; write it so that it "
            "doesn't depend on the number of samples, or keep that part whole with leaves=(...)"
        ) from error
    except (RuntimeError, TypeError, ValueError, LookupError, AttributeError) as error:
        raise TraceError(
            f"what was traced of {type(model).__name__} fails where the model itself runs "
            f"({reason(error)}): its forward depends on something besides its inputs, or chunk "
            "gives fewer parts than it is asked for; keep that part whole with leaves=(...)"
        ) from error


def _trained_output(model: nn.Module, inputs: Inputs, varied: Inputs, modes: OwnModes) -> Any:
    """The output in train mode on the example, repeated to several samples as checks give it."""
    try:
        return run_in_mode(model, varied, training=True, run=run_example, modes=modes)
    except TraceError as error:
        if varied.batch_size == inputs.batch_size:
            raise
        raise TraceError(
            f"{type(model).__name__} takes the example_input of {inputs.batch_size} samples, but "
            f"not {varied.batch_size} in train mode: {error.__cause__}. Give inputs whose first "
            f"dimension is the batch, or an example_input of at least {varied.batch_size} samples"
        ) from error
