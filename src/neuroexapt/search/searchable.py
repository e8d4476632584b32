"""Any model as a search space: chosen layers become decisions that start as what they were."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor, nn

from neuroexapt.errors import SearchError
from neuroexapt.graph import LivingModel
from neuroexapt.search.decisions import Decision, commit
from neuroexapt.search.mixed import Mixed
from neuroexapt.training.modes import mode

PRESENT = "present"
"""The name of the operation that a layer was before."""
PREFERENCE = 1.0
"""By how much its architecture parameter is larger: about 2.7 times as likely as any other."""
Like: TypeAlias = Callable[[nn.Conv2d], nn.Module]
Shapes: TypeAlias = tuple[torch.Size, torch.Size]
Kept = TypeVar("Kept")


def _square(kernel_size: int, dilation: int = 1) -> Like:
    def build(layer: nn.Conv2d) -> nn.Module:
        return _convolution(layer, kernel_size, dilation, layer.in_channels, layer.out_channels)

    return build


def _separable(kernel_size: int) -> Like:
    def build(layer: nn.Conv2d) -> nn.Module:
        inputs, outputs = layer.in_channels, layer.out_channels
        by_channel = _convolution(layer, kernel_size, 1, inputs, inputs, groups=inputs)
        by_position = nn.Conv2d(inputs, outputs, 1, bias=layer.bias is not None)
        return nn.Sequential(by_channel, by_position)

    return build


def _convolution(
    layer: nn.Conv2d, kernel_size: int, dilation: int, inputs: int, outputs: int, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(
        inputs,
        outputs,
        kernel_size,
        layer.stride,  # type: ignore[arg-type]
        dilation * (kernel_size // 2),
        dilation,
        groups,
        bias=layer.bias is not None,
    )


def _skip(_layer: nn.Conv2d) -> nn.Module:
    return nn.Identity()


ALTERNATIVES: Mapping[str, Like] = MappingProxyType(
    {
        "skip_connect": _skip,
        "conv_1x1": _square(1),
        "conv_3x3": _square(3),
        "conv_5x5": _square(5),
        "sep_conv_3x3": _separable(3),
        "sep_conv_5x5": _separable(5),
        "dil_conv_3x3": _square(3, dilation=2),
    }
)
"""What could stand where a convolution is, linear as that is: the model has norms of its own."""


def searchable(
    model: nn.Module,
    example: Tensor,
    layers: Iterable[str] | None = None,
    operations: Iterable[str] = tuple(ALTERNATIVES),
) -> nn.Module:
    """Turn convolutions of a model into mixed operations that start as what they were.

    What could stand in a layer's place is what gives the same shape there; a layer that is alone in
    that stays as it is. Where a layer's weights are all zero, as at the end of a new block,
    alternatives give zeros at first, too.

    Args:
        model: any model, or a living one; it stays as it is.
        example: a batch of its inputs.
        layers: names of convolutions; None for all that aren't by groups.
        operations: names from `ALTERNATIVES`.

    Returns:
        A copy that computes the same until something else is sampled.

    Raises:
        SearchError: naming the layer or the operation, if one is unknown or no such convolution;
            if the model does more with a layer than to call it; or if nothing is left to decide.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())
        >>> found = searchable(model, torch.zeros(1, 3, 8, 8), operations=["skip_connect"])
        >>> found[0].decision.operations
        ('present', 'skip_connect')
    """
    source = model.graph_module if isinstance(model, LivingModel) else model
    network = copy.deepcopy(source)
    if not open_layers(network, example, layers, operations):
        raise SearchError(
            "nothing gives the same shape as any of the chosen convolutions; give others, or "
            "other operations"
        )
    _check_only_called(network, example)
    return network


def open_layers(
    network: nn.Module,
    example: Tensor,
    layers: Iterable[str] | None = None,
    operations: Iterable[str] = tuple(ALTERNATIVES),
) -> tuple[str, ...]:
    """Turn convolutions into mixed operations, in place; see `searchable`.

    Returns:
        The names of the decisions, which are the layers'; none if nothing can stand in any of their
        places.

    Raises:
        SearchError: naming the layer or the operation, if one is unknown or no such convolution.
    """
    convolutions = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1 and name
    }
    chosen = _chosen(convolutions, layers)
    builders = _builders(operations)
    shapes = _shapes(network, chosen, example)
    made: dict[nn.Module, Mixed] = {}
    with torch.random.fork_rng(devices=[]):
        for name, layer in chosen.items():
            if (mixed := _mixed(name, layer, builders, shapes[layer])) is not None:
                made[layer] = mixed
    for parent in list(network.modules()):  # those that were there before
        for name, child in list(parent._modules.items()):
            if child in made:
                setattr(parent, name, made[child])
    if made:
        commit(network)
    return tuple(mixed.decision.name for mixed in made.values())


def _chosen(known: Mapping[str, nn.Conv2d], layers: Iterable[str] | None) -> dict[str, nn.Conv2d]:
    what = "convolution of the model that can be decided (one without groups)"
    if not known:
        raise SearchError("the model has no convolution without groups, so nothing to decide on")
    return _picked(known if layers is None else layers, known, what)


def _builders(operations: Iterable[str]) -> dict[str, Like]:
    return _picked(operations, ALTERNATIVES, "operation to put in a convolution's place")


def _picked(names: Iterable[str], known: Mapping[str, Kept], what: str) -> dict[str, Kept]:
    """Those of some names, of which there has to be one."""
    picked = list(names)
    unknown = [name for name in picked if name not in known]
    if unknown or not picked:
        told = f"{unknown[0]!r} is no {what}" if unknown else f"no {what} is named"
        raise SearchError(f"{told}; there are {', '.join(known) or 'none'}")
    return {name: known[name] for name in picked}


def _shapes(
    network: nn.Module, chosen: Mapping[str, nn.Conv2d], example: Tensor
) -> dict[nn.Module, list[Shapes]]:
    """The shapes that each layer reads and gives, once a call; of a layer that never runs none."""
    found: dict[nn.Module, list[Shapes]] = {layer: [] for layer in chosen.values()}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if inputs:  # a mixed operation isn't called by keyword
            found[layer].append((inputs[0].shape, output.shape))

    handles = [layer.register_forward_hook(note) for layer in found]
    try:
        with mode(network, training=False), torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _check_only_called(network: nn.Module, example: Tensor) -> None:
    """Refuse a model that reads what a layer had and a mixed operation hasn't, such as its weight.

    Raises:
        SearchError: naming the layer.
    """
    try:
        with mode(network, training=False), torch.no_grad():
            network(example)
    except AttributeError as error:
        if not isinstance(error.obj, Mixed):
            raise
        name = error.obj.decision.name
        raise SearchError(
            f"the model reads {error.name!r} of the layer {name!r}, so that nothing else can stand "
            "in its place; leave it out of layers="
        ) from error


def _mixed(
    name: str, layer: nn.Conv2d, builders: Mapping[str, Like], shapes: Sequence[Shapes]
) -> Mixed | None:
    """The layer and what could stand in its place; None if nothing can, or it never runs."""
    if not shapes:
        return None
    operations: dict[str, nn.Module] = {PRESENT: layer}
    silent = not layer.weight.any()
    for key, build in builders.items():
        candidate = build(layer).to(layer.weight)
        alike = isinstance(candidate, nn.Conv2d) and _geometry(candidate) == _geometry(layer)
        fits = not (silent and isinstance(candidate, nn.Identity))
        if fits and not alike and all(_gives(candidate, reads) == gives for reads, gives in shapes):
            operations[key] = _silenced(candidate) if silent else candidate
    if len(operations) < 2:
        return None
    decision = Decision(name, tuple(operations), preferred=PRESENT, preference=PREFERENCE)
    return Mixed(operations, decision.to(layer.weight.device))


def _geometry(layer: nn.Conv2d) -> tuple[object, ...]:
    """What tells convolutions of one stride apart, with the padding in numbers."""
    padding = layer.padding
    if isinstance(padding, str):
        around = zip(layer.kernel_size, layer.dilation, strict=True)
        padding = tuple((k - 1) * d // 2 if layer.padding == "same" else 0 for k, d in around)
    return layer.kernel_size, layer.dilation, padding


def _silenced(candidate: nn.Module) -> nn.Module:
    """A candidate whose last layer starts at zero, as the layer did whose place it may take."""
    last = [module for module in candidate.modules() if isinstance(module, nn.Conv2d)][-1]
    for parameter in last.parameters():
        nn.init.zeros_(parameter)
    return candidate


def _gives(candidate: nn.Module, reads: torch.Size) -> torch.Size | None:
    """The shape that a candidate gives; None if it can't read such inputs at all."""
    try:
        with torch.device("meta"):
            twin = copy.deepcopy(candidate).to("meta")
            shape: torch.Size = twin(torch.empty(reads)).shape
    except RuntimeError:
        return None
    return shape
