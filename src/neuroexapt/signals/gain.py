"""Growth gain: how fast the loss would fall by what an edit adds, for many edits at once."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from neuroexapt.edits import Edit
from neuroexapt.edits.addition import Addition
from neuroexapt.errors import DataError, TrainingError
from neuroexapt.graph import Inputs, LivingModel
from neuroexapt.graph.assemble import attribute
from neuroexapt.graph.modes import NO_OWN, OwnModes, put_in_mode
from neuroexapt.graph.shapes import record_shapes
from neuroexapt.signals.attach import Attached, Reading, rounds
from neuroexapt.signals.compute import macs_of_modules, positions_of
from neuroexapt.signals.pairs import checked, moved
from neuroexapt.signals.refusal import by_criterion, by_model
from neuroexapt.signals.remainder import Project, Remainder, gradients_through
from neuroexapt.signals.tally import Tally
from neuroexapt.signals.untouched import untouched

TINY = 1e-30
"""A squared norm below this is none."""


@dataclass(frozen=True)
class Gain:
    """What an edit's new degrees of freedom would bring at first.

    Attributes:
        edit: the edit.
        gain: squared norm of the mean loss gradient in them: the rate at which gradient flow would
            lower the loss through them. Unbiased, so it may be negative where there is only noise.
        error: standard error of `gain` (jackknife over the parts of the data); where there is
            nothing but noise it comes out about 1.4 times too large.
        dual: the rate under updates of one size (sign descent, and about Adam), from the sign on
            one half of the data and the gradient on the other.
        share: `gain` relative to the mean squared norm of the parts' own gradients: how much of
            the gradient is the same on all data. 1 without noise, about 0 with nothing else.
        beyond: the gain of what remains of the loss once the last layers have followed it (see
            `Remainder`): what the edit can do that they can't. Unbiased, too.
        beyond_error: standard error of `beyond`.
        num_parameters: how many degrees of freedom.
        params: parameters that the edit adds.
        macs: multiply-accumulates a sample that the edit adds; where it resizes a group, those of
            weights, without products of activations.
    """

    edit: Edit
    gain: float
    error: float
    dual: float
    share: float
    beyond: float
    beyond_error: float
    num_parameters: int
    params: int
    macs: int


@dataclass(frozen=True)
class Gains:
    """Gains of many edits, and what it took to learn them.

    Attributes:
        found: a gain for each edit that fits the model, in their order.
        refused: edits that don't fit, with the reason.
        loss: mean over the passes, in train mode; not a number if nothing fits.
        together: mean over the edits of `gain`, each relative to the mean squared norm of its own
            gradients on the parts, and its standard error: whether there is anything to gain.
        together_beyond: the same of `beyond`.
        num_parts: of the data, whose gradients were compared.
        num_samples: that were looked at.
        flops: of all passes (2 for each multiply-accumulate), as counted on the first part.
        seconds: wall time.
    """

    found: tuple[Gain, ...]
    refused: tuple[tuple[Edit, str], ...]
    loss: float
    together: tuple[float, float]
    together_beyond: tuple[float, float]
    num_parts: int
    num_samples: int
    flops: int
    seconds: float

    @property
    def largest(self) -> float:
        """The largest `Gain.beyond` of any edit; 0 without any."""
        return max((gain.beyond for gain in self.found), default=0.0)


def growth_gain(
    living: LivingModel,
    edits: Iterable[Edit],
    batches: Iterable[Any],
    criterion: Callable[[Any, Any], Tensor],
    *,
    parts: int = 4,
    seed: int = 0,
) -> Gains:
    """Estimate how fast the loss would fall by what each edit adds, all of them attached at once.

    New parameters p add J_p J_p' to the neural tangent kernel; under gradient flow they lower the
    loss at the rate |dL/dp|^2. Edits keep the function, so attaching many changes no gradient of
    any one of them: all gradients come from the same passes. Those edits that resize a group take a
    pass for each edit of the same group, all that add operations one together.

    A squared norm of a noisy gradient is biased by the noise, and more so for more parameters. Here
    only products of gradients on different data enter: the mean of g_i . g_j over all pairs of
    parts i != j.

    For `Widen` the degrees of freedom are the newborns' outgoing weights; for `Split` the
    differences between twins' incoming weights (their outgoing weights have none at first: twins
    are alike); for additions all their parameters.

    Args:
        living: the model; it stays as it is. Passes are in train mode.
        edits: `Widen`, `Split`, and additions: `Deepen`, `Connect`, `Attend`, `Activate`.
        batches: pairs (inputs, targets); all are looked at.
        criterion: outputs and targets to a mean loss; of torch's own that sum, the samples' mean is
            taken.
        parts: the largest batch is cut into so many, as far as it has samples, and all others into
            parts of that size. What remains is left out if it is less than half of one, since
            gradients of fewer samples are noisier.
        seed: of the newborns' random weights, and of what the model draws in train mode.

    Raises:
        DataError: if there are fewer than two parts, or the model or the criterion doesn't take
            them.
        TrainingError: if a gradient isn't finite, or the loss isn't on all but one of the parts;
            single parts whose loss isn't finite are left out, as where no sample has a target.

    Source: the measure of GradMax, Evci et al. 2022, arXiv:2201.05125, made unbiased.

    Example:
        >>> from torch import nn
        >>> from neuroexapt import Split, Widen
        >>> _ = torch.manual_seed(0)
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> living = LivingModel(net, torch.zeros(2, 4))
        >>> x = torch.randn(512, 4)
        >>> batch = (x, (x[:, 0] * x[:, 1] > 0).long())
        >>> edits = [Widen(group="0", count=4), Split(group="0", units=(1,))]
        >>> gains = growth_gain(living, edits, [batch], nn.CrossEntropyLoss())
        >>> [(gain.edit.kind, gain.num_parameters) for gain in gains.found]
        [('widen', 8), ('split', 4)]
        >>> gains.found[0].gain > gains.found[0].error
        True
    """
    start = time.perf_counter()
    data = _parts(batches, parts, living)
    if len(data) < 2:
        raise DataError(
            f"a gain needs at least two parts of data to compare, got {len(data)}; give more "
            "samples"
        )
    refused: list[tuple[Edit, str]] = []
    known: dict[int, Gain] = {}
    loss = math.nan
    num_samples = sum(inputs.batch_size for inputs, _ in data)
    numbered = list(enumerate(edits))
    projections, projected = _projections(living, data, seed)
    grams: tuple[list[Tensor], list[Tensor]] = ([], [])
    flops = projected
    for attach, chosen in rounds(numbered):
        with torch.random.fork_rng(devices=[]):  # modules draw weights as they are made
            attached = attach(living, chosen, seed, refused)
        if not attached.reads:
            continue
        whole, remaining, loss, counted = _gradients(attached, data, projections, criterion, seed)
        flops += counted
        record_shapes(attached.model, living.example_inputs)
        added = _macs_added(attached.model, living.example_inputs.batch_size)
        for reading, rows, rest_rows in zip(attached.reads, whole, remaining, strict=True):
            gram, rest_gram = _products(rows), _products(rest_rows)
            grams[0].append(gram)
            grams[1].append(rest_gram)
            known[reading.number] = _gain(reading, rows, gram, rest_gram, added(reading))
    found = tuple(known[number] for number, _ in numbered if number in known)
    return Gains(
        found,
        tuple(refused),
        loss,
        _together(grams[0]),
        _together(grams[1]),
        len(data),
        num_samples,
        flops,
        time.perf_counter() - start,
    )


def _parts(batches: Iterable[Any], parts: int, living: LivingModel) -> list[tuple[Inputs, Any]]:
    """Batches cut into parts of one size, at least two samples, which norms need."""
    device = next(living.parameters(), torch.zeros(())).device
    given = list(checked(batches))
    size = max(math.ceil(max((i.batch_size for i, _ in given), default=0) / parts), 2)
    found = []
    for inputs, targets in given:
        for begin in range(0, max(inputs.batch_size - 1, 1), size):
            chosen = slice(begin, begin + size)
            part = inputs.map(lambda t, c=chosen: t[c]).to(device)
            found.append((part, moved(targets, device, chosen)))
    large = [part for part in found if part[0].batch_size >= size / 2]
    return large if len(large) > 1 else found


def _projections(
    living: LivingModel, data: Sequence[tuple[Inputs, Any]], seed: int
) -> tuple[list[list[Project | None]], int]:
    """For each part of the data what to do with the gradients at the model's outputs; the FLOPs."""
    rest = Remainder(living)
    device = next(living.parameters(), torch.zeros(())).device
    found, tally = [], Tally([inputs.batch_size for inputs, _ in data])
    with untouched(living.graph_module, device):
        torch.manual_seed(seed)
        put_in_mode(living.graph_module, True, _modes(living.graph_module))
        for inputs, _ in data:
            with by_model(living, inputs), tally.part():
                found.append(rest.of(inputs))
        return found, tally.total


def _gradients(
    attached: Attached,
    data: Sequence[tuple[Inputs, Any]],
    projections: Sequence[list[Project | None]],
    criterion: Callable[[Any, Any], Tensor],
    seed: int,
) -> tuple[list[Tensor], list[Tensor], float, int]:
    """Each edit's gradients in its degrees of freedom, whole and remaining; mean loss, FLOPs.

    Gradients have shape (parts, count) and are on the CPU.
    """
    tensors = [_wanted(attached.model, path) for path in attached.wanted]
    rows: tuple[list[list[Tensor]], ...] = tuple([[] for _ in attached.reads] for _ in range(2))
    losses: list[float] = []
    tally = Tally([inputs.batch_size for inputs, _ in data])
    device = tensors[0].device
    with untouched(attached.model, device):
        torch.manual_seed(seed)
        put_in_mode(attached.model, True, _modes(attached.model))
        for (inputs, targets), remaining in zip(data, projections, strict=True):
            with torch.enable_grad(), tally.part():
                loss, outputs = _loss(attached.model, inputs, targets, criterion)
                found = [gradients_through(loss, outputs, tensors, p) for p in (None, remaining)]
            losses.append(float(loss.detach()))
            if not math.isfinite(losses[-1]):
                continue  # of samples without targets there is nothing to learn
            for kept, of in zip(rows, found, strict=True):
                gradients = dict(zip(attached.wanted, of, strict=True))
                for row, reading in zip(kept, attached.reads, strict=True):
                    row.append(_finite(reading.read(gradients), reading.edit))
    told = [loss for loss in losses if math.isfinite(loss)]
    if len(told) < 2:
        raise TrainingError(
            f"the loss is finite on {len(told)} of {len(losses)} parts of the data (it was "
            f"{losses[0]} on the first), and gains need two; lower the learning rate, or give "
            "batches more of whose samples have targets"
        )
    whole, remaining_rows = ([torch.stack(row) for row in kept] for kept in rows)
    return whole, remaining_rows, sum(told) / len(told), tally.total


def _loss(
    model: nn.Module, inputs: Inputs, targets: Any, criterion: Callable[[Any, Any], Tensor]
) -> tuple[Tensor, Any]:
    """The mean loss of some samples, and the model's outputs."""
    outputs = model(*inputs.args, **inputs.kwargs)
    with by_criterion(outputs, targets):
        loss = criterion(outputs, targets).mean()
    summed = getattr(criterion, "reduction", "mean") == "sum"
    return loss / inputs.batch_size if summed else loss, outputs


def _modes(model: nn.Module) -> OwnModes:
    """What the model keeps in a mode of its own, whatever it is put in."""
    meta: dict[str, Any] = getattr(model, "meta", {})
    modes: OwnModes = meta.get("modes", NO_OWN)
    return modes


def _wanted(model: nn.Module, path: str) -> Tensor:
    """A tensor that was made for the attaching, and so may be told to want gradients."""
    tensor = attribute(model, path)
    assert isinstance(tensor, Tensor), f"{path} is no tensor"
    return tensor.requires_grad_()


def _finite(gradient: Tensor, edit: Edit) -> Tensor:
    if not bool(gradient.isfinite().all()):
        raise TrainingError(
            f"the gradient of {edit} isn't finite; lower the learning rate, or mend the data"
        )
    return gradient.float().cpu()


def _macs_added(model: fx.GraphModule, batch_size: int) -> Callable[[Reading], int]:
    """What an attached edit alone would make a sample take, in multiply-accumulates."""
    positions = positions_of(model, batch_size)
    modules = macs_of_modules(model, batch_size)

    def of(reading: Reading) -> int:
        if isinstance(reading.edit, Addition):
            holders = {part for path in reading.added for part in _holders(path)}
            return sum(modules.get(holder, 0) for holder in holders)
        return sum(count * positions.get(path, 0) for path, count in reading.added.items())

    return of


def _holders(path: str) -> Iterator[str]:
    """The modules that a tensor is in."""
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _gain(reading: Reading, rows: Tensor, gram: Tensor, rest: Tensor, macs: int) -> Gain:
    """The statistics of one edit.

    Args:
        reading: of the edit.
        rows: its gradients on each part of the data.
        gram: their products with each other.
        rest: the same products of the gradients of what remains of the loss.
        macs: that it adds.
    """
    gain, error = pairwise_mean(gram), jackknife(gram)
    even, odd = rows[::2].mean(0), rows[1::2].mean(0)
    dual = float((even.sign() @ odd + odd.sign() @ even) / 2)
    own = float(gram.diagonal().mean())
    return Gain(
        reading.edit,
        gain,
        error,
        dual,
        gain / own if own > 0 else 0.0,
        beyond=pairwise_mean(rest),
        beyond_error=jackknife(rest),
        num_parameters=rows.shape[1],
        params=sum(reading.added.values()),
        macs=macs,
    )


def _together(grams: Sequence[Tensor]) -> tuple[float, float]:
    """Mean of several edits' gains, each relative to its own gradients' size, and its error."""
    if not grams:
        return 0.0, math.inf
    mean = sum(gram / gram.diagonal().mean().clamp_min(TINY) for gram in grams) / len(grams)
    assert isinstance(mean, Tensor), "there is one at least"
    return pairwise_mean(mean), jackknife(mean)


def _products(rows: Tensor) -> Tensor:
    return rows.double() @ rows.double().T


def jackknife(gram: Tensor) -> float:
    """Standard error of `pairwise_mean`; infinite with fewer than three rows.

    Where the rows' mean is zero the leave-one-out means vary twice as much as their own theory has
    it (the statistic is degenerate), so that the error comes out about 1.4 times too large.
    """
    count = len(gram)
    left_out = torch.tensor([pairwise_mean(_without(gram, i)) for i in range(count)])
    spread = (left_out - left_out.mean()).square().sum()
    return float((spread * (count - 1) / count).sqrt()) if count > 2 else math.inf


def pairwise_mean(gram: Tensor) -> float:
    """Mean of the products of different rows: an unbiased squared norm of the rows' mean.

    Args:
        gram: shape (n, n), products of all rows with each other; n at least 2.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        >>> pairwise_mean(rows @ rows.T)
        3.0
    """
    count = len(gram)
    return float((gram.sum() - gram.diagonal().sum()) / (count * (count - 1)))


def _without(gram: Tensor, index: int) -> Tensor:
    kept = [i for i in range(len(gram)) if i != index]
    return gram[kept][:, kept] if len(kept) > 1 else gram
