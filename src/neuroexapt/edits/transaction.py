"""Apply an edit all or nothing: build beside the old model, compare, then adopt."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from pydantic import BaseModel
from torch import nn
from torch.optim import Optimizer

from neuroexapt.edits.carry import carry_gradients, check_optimizers, prepared, unhooked, untrained
from neuroexapt.edits.change import Change
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.errors import EditError, LimitError, PreservationError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.admission import sharded
from neuroexapt.graph.apart import seen
from neuroexapt.graph.assemble import assemble
from neuroexapt.graph.compare import in_dtype, leaves_of, relative_error, run_in_mode
from neuroexapt.graph.cost import Cost, num_parameters
from neuroexapt.graph.inputs import Inputs
from neuroexapt.graph.inputs import probe as vary
from neuroexapt.graph.latency import latency_ms
from neuroexapt.graph.memory import is_out_of_memory
from neuroexapt.graph.shapes import record_shapes

Limit: TypeAlias = Callable[[Cost], str | None]

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}


@dataclass(frozen=True)
class Check:
    """How preservation is checked.

    Attributes:
        probe: inputs to compare on; None for the example input, varied.
        refuse: whether an edit that changes the function is refused.
    """

    probe: Inputs | None = None
    refuse: bool = True


def transact(
    living: LivingModel,
    edit: BaseModel,
    seed: int,
    build: Callable[[], Rewrite],
    optimizers: Sequence[Optimizer],
    check: Check | None,
    limit: Limit | None = None,
    max_latency_ms: float | None = None,
) -> Change:
    """Build, check, adopt.

    Args:
        living: the model.
        edit: the edit, for the record.
        seed: likewise.
        build: gives the rewrite; may raise EditError.
        optimizers: carried across once everything else has succeeded.
        check: how to compare; None for not at all.
        limit: says what a model of some cost would exceed, or None if nothing.
        max_latency_ms: of one sample, for what makes the model larger; None for no limit.

    Raises:
        LimitError: if the model would exceed the limit.
        PreservationError: if the edit would change the model's function.
        EditError: if it doesn't fit. In any case nothing was changed then.
    """
    start = time.perf_counter()
    before = living.cost()
    check_optimizers(optimizers, living)
    if spread := sharded(living):
        raise EditError(f"{spread}; nothing was changed")
    with torch.random.fork_rng(devices=[]):  # new modules initialise themselves at random
        rewrite = build()
    rewrite.graph.lint()
    old = living.graph_module
    new = assemble(old, rewrite.graph, rewrite.replaced)
    try:
        after = Cost(num_parameters(new), record_shapes(new, living.example_inputs))
    except RuntimeError as failure:
        reason = str(failure).strip().splitlines()[0]
        raise EditError(
            f"{edit!r} gives a model that doesn't run ({reason}); nothing was changed"
        ) from failure
    if living.through is not None and (broken := living.through.broken_by(new.graph)) is not None:
        raise EditError(f"{edit!r} would {broken} (kept_through); nothing was changed")
    if limit is not None and (excess := limit(after)) is not None:
        raise LimitError(f"{edit!r} would exceed the limit: {excess}; nothing was changed", excess)
    grows = after.params > before.params or after.macs > before.macs
    if max_latency_ms is not None and grows:
        _check_latency(edit, latency_ms(new, living.example_inputs), max_latency_ms)
    error, checked_in = None, None
    if check is not None:
        inputs = check.probe or vary(living.example_inputs, seed=len(living.edits))
        error, checked_in = _compared(old, new, inputs, given=check.probe is not None)
        if check.refuse and not error <= TOLERANCE[getattr(torch, checked_in)]:
            if _gives_nan(old, inputs):
                raise EditError(
                    f"{edit!r} can't be checked: the model's own output on the probe is NaN; give "
                    "probe=, one batch as in training. Nothing was changed"
                )
            raise PreservationError(
                f"{edit!r} would change the model's output by {error:.1e} (relative, {checked_in}; "
                f"allowed {TOLERANCE[getattr(torch, checked_in)]:.0e}); nothing was changed",
                error,
                checked_in,
            )
        shown = seen(new, living.example_inputs, living.kept_apart)
        if shown is not None:
            raise EditError(
                f"{edit!r} would let the output see {shown}, which it doesn't so far; nothing was "
                "changed. If it may, set kept_apart = () on the living model"
            )
    carry_gradients(rewrite.ancestry)
    exchanges = [prepared(optimizer, rewrite.ancestry) for optimizer in optimizers]
    for exchange in exchanges:
        exchange.carry_out()
    living.become(new, edit, after)
    told = [exchange.message for exchange in exchanges]
    told += [untrained(optimizers, rewrite.ancestry), unhooked(rewrite.ancestry)]
    for message in filter(None, told):
        warnings.warn(message, stacklevel=2)  # only now: a filter may make an error of it
    seconds = time.perf_counter() - start
    return Change(edit, seed, error, checked_in, before, after, seconds, rewrite.ancestry)


def _check_latency(edit: BaseModel, taken: float, most: float) -> None:
    if taken > most:
        excess = f"{taken:.3g} ms a sample, budget {most:g} ms"
        raise LimitError(f"{edit!r} would exceed the limit: {excess}; nothing was changed", excess)


def _compared(old: nn.Module, new: nn.Module, inputs: Inputs, given: bool) -> tuple[float, str]:
    """As `preservation_error`; what a probe that was given breaks is explained."""
    try:
        return preservation_error(old, new, inputs)
    except (RuntimeError, TypeError, ValueError, IndexError) as failure:
        if not given or is_out_of_memory(failure):
            raise
        shapes = [tuple(tensor.shape) for tensor in inputs.tensors]
        reason = str(failure).strip().splitlines()[0]
        raise EditError(
            f"the model doesn't run on the probe of shapes {shapes} ({reason}); give one batch as "
            "the model gets it. Nothing was changed"
        ) from failure


def _gives_nan(model: nn.Module, inputs: Inputs) -> bool:
    found = [leaf for mode in (False, True) for leaf in leaves_of(run_in_mode(model, inputs, mode))]
    return any(isinstance(leaf, torch.Tensor) and bool(leaf.isnan().any()) for leaf in found)


def preservation_error(old: nn.Module, new: nn.Module, inputs: Inputs) -> tuple[float, str]:
    """Relative difference of the two models' outputs, the worse of train and eval mode.

    Half precision is compared in float32. Where float32 differs by more than its tolerance, float64
    decides whether that is rounding, which deep networks amplify, or a change of function.

    Returns:
        The error, and the floating-point type that it was found in.
    """
    dtype = _dtype(new)
    if dtype == torch.float64:
        return _error(old, new, inputs), "float64"
    if dtype != torch.float32:
        old, new = _cast(old, torch.float32), _cast(new, torch.float32)
        inputs = inputs.cast(torch.float32)
    error = _error(old, new, inputs)
    if error <= TOLERANCE[torch.float32]:
        return error, "float32"
    precise = _cast(old, torch.float64), _cast(new, torch.float64)
    return _error(*precise, inputs.cast(torch.float64)), "float64"


def _error(old: nn.Module, new: nn.Module, inputs: Inputs) -> float:
    errors = []
    for training in (False, True):
        expected = run_in_mode(old, inputs, training)
        errors.append(relative_error(expected, run_in_mode(new, inputs, training)))
    return max(errors)


def _cast(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    return in_dtype(model, dtype)


def _dtype(model: nn.Module) -> torch.dtype:
    kinds = {p.dtype for p in model.parameters() if p.is_floating_point()}
    return next(iter(kinds)) if len(kinds) == 1 else torch.float32
