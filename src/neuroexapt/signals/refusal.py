"""Batches that the model or the criterion doesn't take: what torch says of them, made an error."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from neuroexapt.errors import DataError, NeuroexaptError
from neuroexapt.graph import Inputs, LivingModel
from neuroexapt.graph.compare import leaves_of
from neuroexapt.graph.memory import is_out_of_memory


def by_model(living: LivingModel, inputs: Inputs) -> AbstractContextManager[None]:
    """Around a forward pass of a batch.

    Raises:
        DataError: if the model doesn't take it, with the shapes of both.
    """
    return _refused_batch(lambda reason: _says_model(living, inputs, reason))


def by_criterion(outputs: Any, targets: Any) -> AbstractContextManager[None]:
    """Around a criterion's call.

    Raises:
        DataError: if it doesn't take them, with the shapes of both.
    """
    return _refused_batch(lambda reason: _says_criterion(outputs, targets, reason))


@contextmanager
def _refused_batch(explained: Callable[[str], str]) -> Iterator[None]:
    """Turn what torch says of a batch that doesn't fit into an error of the data."""
    try:
        yield
    except NeuroexaptError:
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().splitlines()[0] if str(error) else type(error).__name__
        raise DataError(explained(reason)) from error


def _says_model(living: LivingModel, inputs: Inputs, reason: str) -> str:
    example = living.example_inputs
    told = (
        f"the model doesn't run on a batch with inputs of shape {_shapes(inputs.tensors)} "
        f"({reason}); "
    )
    if _is_part(inputs, example):
        return told + (
            f"of its example_input it takes {example.batch_size} samples, which seem to depend on "
            "each other, as the nodes of one graph do. Gains are measured on parts of batches, and "
            'so is all where train_flops are told: use policy="entropy", "papers" or '
            '"breakthrough", without train_flops'
        )
    return told + f"give batches like its example_input, which has shape {_shapes(example.tensors)}"


def _is_part(inputs: Inputs, example: Inputs) -> bool:
    """Whether inputs are as the example, but for fewer samples."""
    pairs = list(zip(inputs.tensors, example.tensors, strict=False))
    alike = all(mine.shape[1:] == its.shape[1:] and len(mine) <= len(its) for mine, its in pairs)
    return alike and inputs.batch_size < example.batch_size


def _says_criterion(outputs: Any, targets: Any, reason: str) -> str:
    found = [leaf for leaf in tree_leaves(targets) if isinstance(leaf, Tensor)]
    made = [leaf for leaf in leaves_of(outputs) if isinstance(leaf, Tensor)]
    return (
        f"the criterion takes no outputs of shape {_shapes(made)} with targets of shape "
        f"{_shapes(found)} ({reason}); give targets that suit the outputs (classes are numbered "
        "from 0 and below the number of outputs), and a criterion that takes any number of samples"
    )


def _shapes(tensors: Iterable[Tensor]) -> str:
    return ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
