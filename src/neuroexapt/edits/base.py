"""What every edit is: a frozen record, saved as JSON, that knows how to rewrite a graph."""

import random
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.optim import Optimizer

from neuroexapt.edits.change import Change
from neuroexapt.edits.rewrite import Rewrite
from neuroexapt.edits.room import check_room, memory_explained
from neuroexapt.edits.transaction import Check, Limit, transact
from neuroexapt.errors import EditError, TraceError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.inputs import ExampleInput, Inputs, as_inputs

Loss: TypeAlias = Callable[[nn.Module], Tensor]


@dataclass(frozen=True)
class Context:
    """What an edit may use besides its own fields.

    Attributes:
        generator: the only source of randomness.
        loss: from a model to its loss on some data, for edits that look at gradients.
        replaying: only the architecture counts; the weights will be loaded.
    """

    generator: torch.Generator
    loss: Loss | None = None
    replaying: bool = False


class Edit(BaseModel):
    """A change of structure, as a record.

    Subclasses add `kind`, their fields, and `rewrite`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    preserving: bool = True
    """Whether the edit is refused when it changes the model's function."""

    @abstractmethod
    def rewrite(self, living: LivingModel, context: Context) -> Rewrite:
        """The new graph and parts; the model stays as it is.

        Raises:
            EditError: if the edit doesn't fit the model.
        """

    def num_added(self, living: LivingModel) -> int:  # noqa: ARG002 - for those that can tell
        """At least how many parameters it adds to the model; asked before anything is built.

        Raises:
            EditError: if the edit doesn't fit the model.
        """
        return 0

    def apply_to(
        self,
        living: LivingModel,
        optimizer: Optimizer | Iterable[Optimizer] | None = None,
        seed: int = 0,
        *,
        loss: Loss | None = None,
        probe: Inputs | ExampleInput | None = None,
        check: bool = True,
        limit: Limit | None = None,
        max_latency_ms: float | None = None,
        replaying: bool = False,
    ) -> Change:
        """Change a model, all or nothing; see `LivingModel.apply`.

        Args:
            living: the model to change.
            optimizer: one or several, carried across.
            seed: seeds the edit's randomness, together with the number of edits before: newborns
                of two equal edits aren't twins.
            loss: from a model to its loss on some data; needed by `Widen(init="gradmax")`.
            probe: inputs to check preservation on, as the model's example input; by default that
                one, varied.
            check: whether to check preservation.
            limit: says what a model of some cost would exceed, or None if nothing; asked with at
                least the new cost before anything is built, and with the exact one after.
            max_latency_ms: of one sample in eval mode, that the model must not take longer than if
                the edit makes it larger; measured, and so dependent on the machine and its load.
            replaying: rebuild the architecture only: nothing looks at data, weights will be loaded.

        Raises:
            LimitError: if the model would exceed the limit.
            PreservationError: if the edit would change the model's function.
            EditError: if the edit is refused for any other reason.
        """
        draws = random.Random(f"{seed}, {len(living.edits)}")
        context = Context(torch.Generator().manual_seed(draws.getrandbits(63)), loss, replaying)
        optimizers = listed(optimizer)
        inputs = probe_inputs(probe, living) if probe is not None else None

        def build() -> Rewrite:
            check_room(living, self, self.num_added(living), limit)
            return self.rewrite(living, context)

        with memory_explained(self):
            return transact(
                living,
                self,
                seed,
                build,
                optimizers,
                Check(inputs, refuse=self.preserving) if check else None,
                limit,
                max_latency_ms,
            )


def listed(optimizer: Optimizer | Iterable[Optimizer] | None) -> tuple[Optimizer, ...]:
    """One or several optimisers, or none, as a tuple.

    Raises:
        EditError: if it is, or holds, anything else.
    """
    if optimizer is None:
        return ()
    if isinstance(optimizer, Optimizer):
        return (optimizer,)
    several = isinstance(optimizer, Iterable) and not isinstance(optimizer, str)
    found: tuple[Any, ...] = tuple(optimizer) if several else (optimizer,)
    for item in found:
        if not isinstance(item, Optimizer):
            remedy = "pass the torch.optim.Optimizer that trains the model, or a list of several"
            if isinstance(getattr(item, "optimizer", None), Optimizer):
                remedy = "pass its .optimizer; what holds that one goes on by itself"
            shown = repr(item) if isinstance(item, str | int) else f"a {type(item).__name__}"
            raise EditError(f"{shown} is no optimizer; {remedy}")
    return found


def probe_inputs(probe: Inputs | ExampleInput, living: LivingModel) -> Inputs:
    """A user's probe, on the model's device.

    Raises:
        EditError: if it is no input.
    """
    try:
        inputs = probe if isinstance(probe, Inputs) else as_inputs(probe)
    except TraceError as error:
        raise EditError(
            f"probe is a {type(probe).__name__}; give one batch as the model gets it: a tensor, a "
            "tuple of inputs, or a dict of keyword inputs"
        ) from error
    device = next((tensor.device for tensor in living.example_inputs.tensors), None)
    return inputs if device is None else inputs.to(device)


def plural(count: int, noun: str) -> str:
    """A count with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
