"""Any model as a search space: chosen layers become decisions that start as what they were."""

import copy
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError
from neuroexapt.graph import LivingModel
from neuroexapt.graph.compare import relative_error, run_in_mode
from neuroexapt.graph.inputs import ExampleInput, as_inputs, run_example
from neuroexapt.graph.inputs import probe as vary
from neuroexapt.search.alternatives import ALTERNATIVES, FAMILIES, WEIGHTED, alike, family_of
from neuroexapt.search.decisions import Decision, commit
from neuroexapt.search.mixed import Mixed
from neuroexapt.training.modes import mode

PRESENT = "present"
"""The name of the operation that a layer was before."""
PREFERENCE = 1.0
"""By how much its architecture parameter is larger: about 2.7 times as likely as any other."""
Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    Attributes:
        reads: what it read, without values.
        gives: the shape of what it gave.
        device: where.
    """

    reads: Tensor
    gives: torch.Size
    device: torch.device


def searchable(
    model: nn.Module,
    example: ExampleInput,
    layers: Iterable[str] | None = None,
    operations: Iterable[str] = ALTERNATIVES,
) -> nn.Module:
    """Turn layers of a model into mixed operations that start as what they were.

    What could stand in a layer's place is what gives the same shape there; a layer that is alone in
    that stays as it is. Where a layer's weights are all zero, as at the end of a new block,
    alternatives give zeros at first, too.

    Convolutions (of 1 to 3 dimensions, `conv_3x3` has 3 in each; those by groups keep them) may
    become convolutions of other kernels or nothing, linear layers low-rank ones or nothing, and
    pooling and activations, where they are modules, others of their kind.

    Args:
        model: any model, or a living one; it stays as it is.
        example: a batch of its inputs: a tensor, a tuple of inputs, or a dict of keyword inputs.
            A `Searching` goes through loaders that yield one tensor; with several inputs, draw
            operations (`explore`, `sample`) and derive in a loop of your own.
        layers: names of such layers; None for all convolutions; of a model that has none for all
            linear layers, or else all pooling, or else all activations; without those that the
            model reads anything of, as attention does.
        operations: names from `ALTERNATIVES`.

    Returns:
        A copy that computes the same until something else is sampled.

    Raises:
        SearchError: naming the layer or the operation, if one is unknown or can't be decided; if
            the model does more with a layer than to call it, or has decisions; or if nothing is
            left to decide.
        TraceError: if the model doesn't run on the example.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        >>> found = searchable(model, torch.zeros(1, 3, 8, 8), operations=["skip_connect"])
        >>> found[0].decision.operations
        ('present', 'skip_connect')
    """
    source = model.graph_module if isinstance(model, LivingModel) else model
    _check_undecided(source)
    chosen, picked = list(layers) if layers is not None else None, list(operations)
    left_out: set[str] = set()
    while True:
        network = copy.deepcopy(source)
        if not open_layers(network, example, chosen, picked, left_out):
            raise SearchError(
                "nothing else gives the same shape as any of the chosen layers; give others, or "
                "other operations"
            )
        try:
            _check_same(source, network, example)
        except _ReadError as error:
            if chosen is not None:
                raise
            left_out.add(error.layer)
        else:
            return network


class _ReadError(SearchError):
    """A model reads what only the layer itself has, and not its place."""

    def __init__(self, layer: str, read: str) -> None:
        super().__init__(
            f"the model reads {read!r} of the layer {layer!r}, so that nothing else can stand in "
            "its place; leave it out of layers="
        )
        self.layer = layer


def _check_undecided(model: nn.Module) -> None:
    decided = next((m for m in model.modules() if isinstance(m, Mixed)), None)
    if decided is not None:
        raise SearchError(
            f"the model has decisions already, as {decided.decision.name!r}; give it as it was "
            "before"
        )


def open_layers(
    network: nn.Module,
    example: ExampleInput,
    layers: Iterable[str] | None = None,
    operations: Iterable[str] = ALTERNATIVES,
    left_out: Collection[str] = (),
) -> tuple[str, ...]:
    """Turn layers into mixed operations, in place; see `searchable`.

    Args:
        network: the model.
        example: a batch of its inputs.
        layers: as there.
        operations: as there.
        left_out: names of layers that stay as they are.

    Returns:
        The names of the decisions, which are the layers'; none if nothing can stand in any of their
        places.

    Raises:
        SearchError: naming the layer or the operation, if one is unknown or can't be decided.
    """
    chosen = {
        name: layer for name, layer in _chosen(network, layers).items() if name not in left_out
    }
    allowed = _picked(
        operations, dict.fromkeys(ALTERNATIVES), "operation to put in a layer's place"
    )
    calls = _calls(network, chosen, example)
    made: dict[nn.Module, Mixed] = {}
    with torch.random.fork_rng(devices=[]):
        for name, layer in chosen.items():
            if (mixed := _mixed(name, layer, allowed, calls[layer])) is not None:
                made[layer] = mixed
    for parent in list(network.modules()):  # those that were there before
        for name, child in list(parent._modules.items()):
            if child in made:
                setattr(parent, name, made[child])
    if made:
        commit(network)
    return tuple(mixed.decision.name for mixed in made.values())


def _chosen(network: nn.Module, layers: Iterable[str] | None) -> dict[str, nn.Module]:
    inside = {name: module for name, module in network.named_modules() if name}
    known = {name: layer for name, layer in inside.items() if family_of(layer) is not None}
    if not known:
        raise SearchError(
            f"{type(network).__name__} contains no layer that can be decided, so nothing to decide "
            f"on; such are, as modules: {', '.join(FAMILIES)}"
        )
    if layers is None:
        kinds = (family.layers for family in FAMILIES.values())
        alike = ([n for n, layer in known.items() if isinstance(layer, kind)] for kind in kinds)
        layers = next(filter(None, alike))
    return _picked(layers, known, "layer of the model that can be decided")


def _picked(names: Iterable[str], known: Mapping[str, Kept], what: str) -> dict[str, Kept]:
    """Those of some names, of which there has to be one."""
    picked = list(names)
    unknown = [name for name in picked if name not in known]
    if unknown or not picked:
        told = f"{unknown[0]!r} is no {what}" if unknown else f"no {what} is named"
        raise SearchError(f"{told}; there are {', '.join(known) or 'none'}")
    return {name: known[name] for name in picked}


def _calls(
    network: nn.Module, chosen: Mapping[str, nn.Module], example: ExampleInput
) -> dict[nn.Module, list[Call]]:
    """What each layer reads and gives; nothing for one that never runs, or not as others could."""
    found: dict[nn.Module, list[Call]] = {layer: [] for layer in chosen.values()}
    unlike: set[nn.Module] = set()

    def note(
        layer: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], gave: Any
    ) -> None:
        # a mixed operation isn't called by keyword, and of several outputs none can be weighted
        if named or not isinstance(gave, Tensor):
            unlike.add(layer)
        else:
            found[layer].append(Call(inputs[0].detach().to("meta"), gave.shape, gave.device))

    handles = [layer.register_forward_hook(note, with_kwargs=True) for layer in found]
    try:
        with mode(network, training=False), torch.no_grad(), torch.random.fork_rng(devices=[]):
            run_example(network, as_inputs(example))
    finally:
        for handle in handles:
            handle.remove()
    return {layer: [] if layer in unlike else calls for layer, calls in found.items()}


def _check_same(source: nn.Module, network: nn.Module, example: ExampleInput) -> None:
    """Refuse a model that does more with a layer than to call it and to read what it gives.

    Raises:
        SearchError: naming the layer.
    """
    inputs = vary(as_inputs(example), seed=0)  # of zeros, nothing would show
    try:
        found = run_in_mode(network, inputs, training=False)
    except AttributeError as error:
        if not isinstance(error.obj, Mixed):
            raise
        raise _ReadError(error.obj.decision.name, str(error.name)) from error
    overwriting = [
        name
        for name, module in network.named_modules()
        if isinstance(module, Mixed) and _overwrites(source.get_submodule(name))
    ]
    if overwriting and relative_error(run_in_mode(source, inputs, training=False), found) > 0:
        raise SearchError(
            f"the model reads what {', '.join(map(repr, overwriting))} overwrites (inplace=True), "
            "which a mixed operation doesn't; leave what is read out of layers="
        )


def _overwrites(layer: nn.Module) -> bool:
    return bool(getattr(layer, "inplace", False))


def _mixed(
    name: str, layer: nn.Module, allowed: Iterable[str], calls: Sequence[Call]
) -> Mixed | None:
    """The layer and what could stand in its place; None if nothing can, or it never runs."""
    family = family_of(layer)
    assert family is not None, "only such layers were chosen"
    if not calls:
        return None
    present = _reading_only(layer)
    operations = {PRESENT: present}
    weight = next(layer.parameters(), torch.empty(0, device=calls[0].device))
    silent = isinstance(layer, WEIGHTED) and not bool((layer.weight != 0).any())  # type: ignore[union-attr]
    for key in allowed:
        build = family.alternatives.get(key)
        candidate = None if build is None else build(layer)
        if candidate is None or alike(candidate, present):
            continue
        candidate = candidate.to(weight)
        fits = not (silent and isinstance(candidate, nn.Identity))
        if fits and all(_gives(candidate, call.reads) == call.gives for call in calls):
            operations[key] = _silenced(candidate) if silent else candidate
    if len(operations) < 2:
        return None
    decision = Decision(name, tuple(operations), preferred=PRESENT, preference=PREFERENCE)
    return Mixed(operations, decision.to(calls[0].device)).train(layer.training)


def _reading_only(layer: nn.Module) -> nn.Module:
    """The layer; a twin that leaves its input as it is, where it overwrites that.

    Beside it, others read the same input.
    """
    if not _overwrites(layer):
        return layer
    twin: Any = copy.deepcopy(layer)
    twin.inplace = False
    return twin  # type: ignore[no-any-return]


def _silenced(candidate: nn.Module) -> nn.Module:
    """A candidate whose last layer starts at zero, as the layer did whose place it may take."""
    last = [
        module for module in candidate.modules() if next(module.parameters(False), None) is not None
    ]
    for parameter in last[-1].parameters():
        nn.init.zeros_(parameter)
    return candidate


def _gives(candidate: nn.Module, reads: Tensor) -> torch.Size | None:
    """The shape that a candidate gives; None if it can't read such inputs at all."""
    try:
        with torch.device("meta"):
            twin = copy.deepcopy(candidate).to("meta")
            shape: torch.Size = twin(reads).shape
    except RuntimeError:
        return None
    return shape
