"""Know a user's leaf again: what was found inside it holds as long as nothing in it changes."""

from dataclasses import dataclass

from torch import fx, nn

from neuroexapt.graph.bymode import ByMode
from neuroexapt.graph.recall import Key, OpaqueError, Outcome, layer, of_torch
from neuroexapt.graph.rules.table import module_rule


def looked_into(module: nn.Module) -> bool:
    """Whether a leaf is a user's module without a rule of its own, so that its inside matters."""
    known = of_torch(module) or isinstance(module, ByMode)
    return not known and module_rule(module) is None


@dataclass(frozen=True, eq=False)
class Contents:
    """All that decides what a leaf does, but for the values of its tensors.

    Attributes:
        description: paths, attributes and what the tensors are like.
        objects: the modules and tensors themselves.
    """

    description: Key
    objects: tuple[object, ...]

    def same(self, other: "Contents | None") -> bool:
        """Whether nothing was exchanged and nothing changed but values."""
        return (
            other is not None
            and self.description == other.description
            and all(mine is its for mine, its in zip(self.objects, other.objects, strict=True))
        )


def contents(leaf: nn.Module) -> Contents | None:
    """What is in a leaf now; None if it holds what can't be compared."""
    objects: list[object] = []
    for part in leaf.modules():
        objects += (part, *part._parameters.values(), *part._buffers.values())
    try:
        return Contents(layer(leaf), tuple(objects))
    except OpaqueError:
        return None


@dataclass(frozen=True, eq=False)
class Seen:
    """A call of a leaf, and what was found.

    Attributes:
        contents: of the leaf.
        inputs: described, with torch's settings.
        outcome: what it gave; None where that can't be made again, or may depend on values.
        graphs: its subgraphs, with the shapes inside for these inputs.
    """

    contents: Contents
    inputs: Key
    outcome: Outcome | None
    graphs: tuple[fx.GraphModule, ...]

    def of(self, contents: Contents | None, inputs: Key | None) -> bool:
        """Whether a call now is the one that was seen."""
        return self.contents.same(contents) and inputs == self.inputs
