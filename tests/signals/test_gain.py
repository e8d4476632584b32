"""Growth gain, against each edit attached alone and gradients taken part by part."""

import copy
import itertools
import math

import pytest
import torch
from families import LEAVES
from sampled import families
from seeding import seed_
from small import CRITERION, batches, model
from torch import Tensor, nn

from neuroexapt import (
    Activate,
    Attend,
    Connect,
    DataError,
    Deepen,
    LivingModel,
    Prune,
    Split,
    TrainingError,
    Widen,
)
from neuroexapt.edits import Edit
from neuroexapt.edits.addition import Addition
from neuroexapt.graph.flops import counting
from neuroexapt.signals import growth_gain
from neuroexapt.signals.attach import rounds
from neuroexapt.signals.gain import jackknife, pairwise_mean

EDITS = (
    Widen(group="0", count=2),
    Widen(group="3", count=1),
    Split(group="0", units=(1, 3)),
    Split(group="3", units=(0,)),
    Deepen(after="2"),
    Deepen(after="4", form="bottleneck"),
    Connect(source="2", target="5"),
    Attend(after="4"),
    Attend(after="4", form="positions"),
    Activate(node="4", to="silu"),
    Activate(node="4", to="tanh"),
)


def trained() -> LivingModel:
    """Past the first steps, so that gradients and statistics are no longer special."""
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6)).double()
    optimizer = torch.optim.SGD(living.parameters(), lr=0.1)
    for inputs, targets in batches(4):
        optimizer.zero_grad()
        CRITERION(living(inputs.double()), targets).backward()
        optimizer.step()
    return living


def doubled(count: int) -> list[tuple[Tensor, Tensor]]:
    return [(inputs.double(), targets) for inputs, targets in batches(count)]


def naive_rows(living: LivingModel, number: int, edit, parts, rest: bool) -> Tensor:
    """Gradients of one edit's degrees of freedom, part by part, by plain backward passes.

    Additions are attached alone; resizings with all others of their round, because random numbers
    are drawn for tensors in their final shape.
    """
    numbered = [(number, edit)] if isinstance(edit, Addition) else list(enumerate(EDITS))
    for attach, chosen in rounds(numbered):
        if (number, edit) in chosen:
            attached = attach(living, chosen, 0, [])
    (read,) = (reading.read for reading in attached.reads if reading.number == number)
    rows = []
    for inputs, targets in parts:
        twin = copy.deepcopy(attached.model).train()
        outputs = twin(inputs)
        (gradient,) = torch.autograd.grad(CRITERION(outputs, targets), outputs, retain_graph=True)
        outputs.backward(fitted_away(gradient, head_reads(living, inputs)) if rest else gradient)
        gradients = {name: twin.get_parameter(name).grad for name in attached.wanted}
        rows.append(read(gradients).double())
    return torch.stack(rows)


def head_reads(living: LivingModel, inputs: Tensor) -> Tensor:
    net = copy.deepcopy(living.graph_module).train()
    found = []
    net.get_submodule("9").register_forward_hook(lambda _, args, __: found.append(args[0]))
    net(inputs)
    return found[0].detach()


def fitted_away(gradient: Tensor, features: Tensor) -> Tensor:
    """Residual of least squares on a constant and, with 8 rows each, the first components."""
    most = len(features) // 8 - 1
    scores = torch.pca_lowrank(features, q=min(features.shape), niter=20)[2][:, :most]
    design = torch.cat([torch.ones(len(features), 1).double(), features @ scores], 1)
    return gradient - design @ torch.linalg.lstsq(design, gradient).solution


def test_gain_of_all_at_once_is_the_gain_of_each_alone():
    living = trained()
    data = doubled(2)
    before = {name: tensor.clone() for name, tensor in living.state_dict().items()}
    gains = growth_gain(living, EDITS, data, CRITERION, parts=2)
    assert [gain.edit for gain in gains.found] == list(EDITS)
    assert gains.num_samples == 64
    parts = [(x[half], y[half]) for x, y in data for half in (slice(0, 16), slice(16, 32))]
    assert gains.num_parts == len(parts)
    shares = [gain.share for gain in gains.found]
    assert gains.together[0] == pytest.approx(sum(shares) / len(shares), rel=1e-6)
    for number, (edit, gain) in enumerate(zip(EDITS, gains.found, strict=True)):
        pairs = list(itertools.permutations(range(len(parts)), 2))
        for rest, found in ((True, gain.beyond), (False, gain.gain)):
            rows = naive_rows(living, number, edit, parts, rest)
            expected = sum(float(rows[i] @ rows[j]) for i, j in pairs) / len(pairs)
            assert found == pytest.approx(expected, rel=1e-4, abs=1e-12), edit
        assert gain.num_parameters == rows.shape[1]
        own = float(rows.square().sum(1).mean())
        assert gain.share == pytest.approx(expected / own, rel=1e-4)
        change = copy.deepcopy(living).apply(edit)
        assert gain.params == change.params_after - change.params_before, edit
        assert gain.macs == change.macs_after - change.macs_before, edit
    assert all(torch.equal(living.state_dict()[name], tensor) for name, tensor in before.items())


def test_widen_gain_has_a_closed_form():
    """Between linear layers the outgoing gradient is the error's product with the newborns."""
    seed_(0)
    net = nn.Sequential(nn.Linear(3, 2, bias=False), nn.Linear(2, 2, bias=False)).double()
    living = LivingModel(net, torch.zeros(2, 3).double())
    x, y = torch.randn(2, 40, 3).double(), torch.randn(2, 40, 2).double()
    (gain,) = growth_gain(
        living, [Widen(group="0", count=1)], zip(x, y, strict=True), nn.MSELoss(), parts=1
    ).found
    (attach, chosen), *_ = rounds([(0, gain.edit)])
    newborn = attach(living, chosen, 0, []).model.get_parameter("0.weight")[2]
    with torch.no_grad():
        errors = [(net(a) - b) for a, b in zip(x, y, strict=True)]
        rows = [2 * e.T @ (a @ newborn) / e.numel() for a, e in zip(x, errors, strict=True)]
        left = [fitted_away(e, net[0](a)) for a, e in zip(x, errors, strict=True)]
        rest = [2 * e.T @ (a @ newborn) / e.numel() for a, e in zip(x, left, strict=True)]
    assert gain.gain == pytest.approx(float(rows[0] @ rows[1]), rel=1e-5)
    assert gain.beyond == pytest.approx(float(rest[0] @ rest[1]), rel=1e-5)


def test_gain_is_unbiased_where_a_squared_norm_is_not():
    """Rows of noise around a known mean, many times over."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.full((50,), 0.1, dtype=torch.float64)
    found, squared = [], []
    for _ in range(2000):
        rows = mean + torch.randn(4, 50, generator=generator, dtype=torch.float64)
        found.append(pairwise_mean(rows @ rows.T))
        squared.append(float(rows.mean(0).square().sum()))
    spread = torch.tensor(found).std() / math.sqrt(len(found))
    assert abs(torch.tensor(found).mean() - 0.5) < 4 * spread
    assert torch.tensor(squared).mean() > 10  # 0.5 + 50 / 4


def test_gain_of_pure_noise_is_within_its_error():
    """Random targets: nothing consistent is to be gained, whatever the edit's size."""
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6))
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(512, 1, 6, 6, generator=generator)
    y = torch.randint(3, (512,), generator=generator)
    with torch.no_grad():
        living.graph_module.get_submodule("9").weight.mul_(0.01)
    gains = growth_gain(living, EDITS, [(x, y)], CRITERION, parts=16)
    assert all(abs(gain.share) < 0.5 for gain in gains.found)
    assert all(gain.error > 0 for gain in gains.found)


def test_gain_finds_where_width_is_missing():
    """One layer is a bottleneck: widening it gains more than widening its wide neighbours."""
    seed_(0)
    teacher = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    student = nn.Sequential(
        nn.Linear(8, 32),
        nn.ReLU(),
        nn.Linear(32, 1),
        nn.ReLU(),
        nn.Linear(1, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )
    x = torch.randn(2048, 8)
    with torch.no_grad():
        y = teacher(x)
    living = LivingModel(student, x[:2])
    optimizer = torch.optim.Adam(living.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        nn.functional.mse_loss(living(x), y).backward()
        optimizer.step()
    edits = [Widen(group=name, count=1) for name in ("0", "2", "4")]
    gains = growth_gain(living, edits, [(x, y)], nn.MSELoss(), parts=8)
    per_unit = [gain.gain for gain in gains.found]
    assert per_unit[1] == max(per_unit)
    assert per_unit[1] > 3 * max(per_unit[0], per_unit[2])


def test_what_the_last_layer_can_follow_is_no_gain_beyond_it():
    """Only the last layer is off: whatever would help at once, training on does as well."""
    seed_(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(1024, 4)
    with torch.no_grad():
        y = net(x)
        net[4].weight *= 1.5
        net[4].bias += 0.5
    edits = [Deepen(after="3"), Widen(group="0", count=4), Connect(source="1", target="4")]
    gains = growth_gain(LivingModel(net, x[:2]), edits, [(x, y)], nn.MSELoss(), parts=8)
    assert all(gain.gain > 3 * gain.error for gain in gains.found)
    assert all(gain.beyond < 1e-9 * gain.gain for gain in gains.found)


@pytest.mark.parametrize("edits", [EDITS[:2], EDITS[2:4], EDITS[4:], EDITS])
def test_gain_counts_what_it_really_takes(edits: tuple[Edit, ...]):
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6))
    with counting() as counter:
        gains = growth_gain(living, edits, batches(2), CRITERION, parts=2)
    assert gains.flops == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_gain_tells_what_does_not_fit():
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6))
    edits = [Widen(group="9", count=1), Attend(after="9", form="positions"), EDITS[0]]
    gains = growth_gain(living, edits, batches(1), CRITERION)
    assert [gain.edit for gain in gains.found] == [EDITS[0]]
    assert [edit for edit, _ in gains.refused] == edits[:2]
    assert "an output of the model" in gains.refused[0][1]


def test_gain_refuses_what_it_can_not_measure():
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6))
    with pytest.raises(DataError, match="at least two parts"):
        growth_gain(living, EDITS, [], CRITERION)
    with pytest.raises(ValueError, match="has no growth gain"):
        growth_gain(living, [Prune(group="0", units=(0,))], batches(1), CRITERION)


@pytest.mark.parametrize(
    ("inputs", "targets", "told"),
    [
        (
            (8, 2, 6, 6),
            (8,),
            r"doesn't run on a batch with inputs of shape \(2, 2, 6, 6\)",
        ),
        (
            (8, 1, 6, 6),
            (8, 5),
            r"takes no outputs of shape \(2, 3\) with targets of shape",
        ),
    ],
)
def test_gain_of_data_that_do_not_fit_is_refused_with_their_shapes(inputs, targets, told):
    living = LivingModel(model(), torch.zeros(2, 1, 6, 6))
    batch = torch.zeros(inputs), torch.zeros(targets).long()
    with pytest.raises(DataError, match=told):
        growth_gain(living, EDITS[:1], [batch], CRITERION)


class OneGraph(nn.Module):
    """Its samples are the nodes of one graph."""

    def __init__(self):
        super().__init__()
        self.register_buffer("adjacency", torch.eye(64))
        self.first, self.last = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.adjacency @ self.first(x).relu())


def test_gain_of_samples_that_depend_on_each_other_is_refused():
    x = torch.randn(64, 4)
    living = LivingModel(OneGraph(), x)
    edits = [Widen(group="first", count=1)]
    with pytest.raises(DataError, match=r'depend on each other.*use policy="entropy"'):
        growth_gain(living, edits, [(x, torch.zeros(64).long())], CRITERION)


def test_gain_leaves_out_parts_without_targets():
    living = trained()
    (inputs, targets), *_ = doubled(2)
    size = len(inputs) // 4
    blank = targets.clone()
    blank[:size] = CRITERION.ignore_index
    found = growth_gain(living, EDITS[:3], [(inputs, blank)], CRITERION)
    without = growth_gain(living, EDITS[:3], [(inputs[size:], targets[size:])], CRITERION, parts=3)
    assert found.loss == pytest.approx(without.loss)
    for one, other in zip(found.found, without.found, strict=True):
        assert one.gain == pytest.approx(other.gain, rel=1e-4)
    blank[size:] = CRITERION.ignore_index
    with pytest.raises(TrainingError, match=r"finite on 0 of 4 parts"):
        growth_gain(living, EDITS[:3], [(inputs, blank)], CRITERION)


def test_gain_of_a_summed_loss_is_that_of_its_mean():
    living = trained()
    mean = growth_gain(living, EDITS[:3], doubled(2), CRITERION)
    summed = growth_gain(living, EDITS[:3], doubled(2), nn.CrossEntropyLoss(reduction="sum"))
    assert summed.loss == pytest.approx(mean.loss)
    for one, other in zip(mean.found, summed.found, strict=True):
        assert other.gain == pytest.approx(one.gain)


@families(0, 4)
def test_gain_on_every_family(family):
    """All groups widened and split at once, in float64: the attached model computes the same."""
    seed_(0)
    living = LivingModel(family.build().double(), _doubled(family.example()), leaves=LEAVES)
    names = [group.name for group in living.groups if group.frozen is None]
    edits = [Widen(group=name, count=2) for name in names]
    edits += [Split(group=name, units=(0,)) for name in names]
    for attach, chosen in rounds(list(enumerate(edits))):
        attached = attach(living, chosen, 0, [])
        assert len(attached.reads) == len(names)
        args = living.example_inputs.args
        for training in (False, True):
            found = []
            for net in (living, attached.model):
                seed_(1)  # dropouts draw the same masks
                found.append(copy.deepcopy(net).train(training)(*args))
            torch.testing.assert_close(*found, rtol=1e-9, atol=1e-9)


def _doubled(example):
    given = example if isinstance(example, tuple) else (example,)
    return tuple(x.double() if x.is_floating_point() else x for x in given)


def test_gain_leaves_random_numbers_and_goes_by_the_models_own_modes():
    class Kept(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU())
            self.head = nn.Linear(6, 2)

        def train(self, mode: bool = True) -> "Kept":
            super().train(mode)
            self.body[1].eval()
            return self

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x))

    seed_(0)
    net = Kept()
    net.body[1].running_mean.fill_(1.0)
    x, y = torch.randn(64, 4), torch.randint(2, (64,))
    living = LivingModel(net.train(), x[:2])
    before = torch.get_rng_state()
    edits = [Widen(group="body.0", count=2), Deepen(after="body.2")]
    found = growth_gain(living, edits, [(x, y)], CRITERION, parts=2)
    assert torch.equal(torch.get_rng_state(), before)
    halves = [
        CRITERION(net(part), target) for part, target in zip(x.split(32), y.split(32), strict=True)
    ]
    assert found.loss == pytest.approx(float(sum(halves).detach()) / 2, rel=1e-5)


def test_error_of_noise_is_too_large_by_the_root_of_two():
    """Without a signal the mean of n rows' products varies by sqrt(2 d / (n (n - 1)))."""
    count, size = 16, 200
    found = []
    for _ in range(100):
        rows = torch.randn(count, size, dtype=torch.float64)
        found.append(jackknife(rows @ rows.T))
    true = math.sqrt(2 * size / (count * (count - 1)))
    assert sum(found) / len(found) / true == pytest.approx(math.sqrt(2), rel=0.1)
