import copy
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from families import FAMILIES, LEAVES, Family, scramble_, tensors
from sampled import each_family
from seeding import seed_
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from neuroexapt import Connect, DataError, LivingModel, Split, TrainingError
from neuroexapt.graph import as_inputs
from neuroexapt.signals import activation_entropy, distant_pairs, noise_floor, sense
from neuroexapt.signals.capture import spread_over
from neuroexapt.signals.readings import _Sensing

BY_NAME = {family.name: family for family in FAMILIES}
CRITERION = nn.CrossEntropyLoss()


def net() -> nn.Sequential:
    seed_(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, padding=1, stride=2),
        nn.ReLU(),
        nn.Conv2d(6, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(5, 4),
    )
    return scramble_(model)


def living(**options: Any) -> LivingModel:
    return LivingModel(net(), torch.randn(2, 3, 8, 8), **options)


def batches(num: int = 2, size: int = 16, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(size, 3, 8, 8, generator=generator),
            torch.randint(4, (size,), generator=generator),
        )
        for _ in range(num)
    ]


def output_losses(output: object, _: object) -> Tensor:
    """One loss a sample, whatever the model returns."""
    return sum((part.flatten(1) - 0.3).square().mean(1) for part in tensors(output))


# Entropy


def test_sense_entropy_is_that_of_what_follows_the_layer() -> None:
    model, data = living(), batches()
    found = sense(model, data, CRITERION, max_samples_per_unit=10**6)
    inputs = torch.cat([inputs for inputs, _ in data])
    seen = model.graph_module.eval()
    for end, group in ((3, "0"), (5, "3"), (10, "5")):
        value = nn.Sequential(*[seen.get_submodule(str(i)) for i in range(end)])(inputs)
        expected = activation_entropy(value.movedim(1, 0).flatten(1).detach())
        torch.testing.assert_close(found.entropy[group], expected, rtol=0, atol=0.03)


def test_sense_entropy_hardly_changes_when_positions_are_sampled() -> None:
    data = batches(size=256)
    whole = sense(living(), data, CRITERION, max_samples_per_unit=10**6)
    part = sense(living(), data, CRITERION)
    for group, entropy in whole.entropy.items():
        torch.testing.assert_close(part.entropy[group], entropy, rtol=0, atol=0.08)


def test_sense_unit_that_fires_at_a_single_position_is_not_dead() -> None:
    """The entropy is of a sample of the positions; whether a unit is dead, of all."""
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
        model[0].bias.zero_()
    x = torch.zeros(4, 1, 32, 32)
    x[2, 0, 5, 7] = 1.0
    found = sense(LivingModel(model, x[:2]), [(x, None)], gradients=False, max_samples_per_unit=16)
    assert found.dead["0"].tolist() == [False, True]


def test_sense_dead_units_are_found() -> None:
    model = living()
    with torch.no_grad():
        model.get_submodule("3").weight[2] = 0
        model.get_submodule("3").bias[2] = -1
    found = sense(model, batches(), CRITERION)
    assert found.dead["3"].nonzero().flatten().tolist() == [2]
    assert found.entropy["3"][2] == 0
    assert not found.dead["0"].any()


class Grouped(nn.Module):
    """Units of two channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(3, 6, 3)
        self.conv2 = nn.Conv1d(6, 6, 3, groups=3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.conv2(self.conv1(x).relu()).relu().mean(2))


def test_sense_has_no_entropy_where_units_are_not_seen_one_by_one() -> None:
    model = LivingModel(Grouped(), torch.randn(2, 3, 9))
    found = sense(model, [(torch.randn(8, 3, 9), None)], output_losses)
    sites = {group.name for group in model.groups if group.site is not None}
    assert set(found.entropy) == set(found.dead) == sites
    assert "fc" in sites


# Correlation


def naive_signatures(
    model: LivingModel, inputs: Any, criterion: Callable[[Any, Any], Tensor], targets: Any
) -> dict[str, Tensor]:
    """Sample by sample, and layer by layer: how the loss answers to the layer's gain."""
    found = {}
    graph_module = model.graph_module.eval()
    for layer in {layer for pair in distant_pairs(model) for layer in pair}:
        gradients = []
        for sample, target in zip(inputs, targets, strict=True):
            gain = torch.ones((), requires_grad=True)
            twin = copy.deepcopy(graph_module)
            twin.get_submodule(layer.output).register_forward_hook(
                lambda _module, _args, output, gain=gain: output * gain
            )
            loss = criterion(twin(sample.unsqueeze(0)), target.unsqueeze(0))
            gradients.append(torch.autograd.grad(loss.sum(), gain)[0])
        found[layer.name] = torch.stack(gradients)
    return found


@pytest.mark.parametrize(
    "criterion",
    [
        nn.CrossEntropyLoss(),
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(reduction="none"),
        F.cross_entropy,
    ],
    ids=["mean", "sum", "none", "function"],
)
def test_sense_signatures_are_each_samples_answer_to_a_layers_gain(criterion) -> None:
    """Two batches of different size: the mean's scale must not enter."""
    model = living()
    data = [*batches(1, 12), *batches(1, 7, seed=1)]
    sensing = _Sensing(model, [], criterion)
    model.eval()
    for inputs, targets in data:
        sensing.look(as_inputs(inputs), targets)
    pairs, names, signatures = sensing.signatures()
    inputs, targets = (torch.cat(parts) for parts in zip(*data, strict=True))
    expected = naive_signatures(model, inputs, criterion, targets)
    assert set(names) == set(expected) == {"0", "3", "5", "11"}
    for name, signature in zip(names, signatures, strict=True):
        torch.testing.assert_close(signature, expected[name], rtol=1e-4, atol=1e-6)
    assert pairs == [(0, 2), (0, 3), (1, 3)]


def test_sense_correlations_are_of_distant_pairs_strongest_first() -> None:
    model, data = living(), batches(size=64)
    found = sense(model, data, CRITERION)
    expected = {(source.name, target.name) for source, target in distant_pairs(model)}
    assert {(pair.source, pair.target) for pair in found.correlations} == expected
    strengths = [abs(pair.correlation) for pair in found.correlations]
    assert strengths == sorted(strengths, reverse=True)
    inputs, targets = (torch.cat(parts) for parts in zip(*data, strict=True))
    oracle = naive_signatures(model, inputs, CRITERION, targets)
    for pair in found.correlations:
        r = np.corrcoef(oracle[pair.source], oracle[pair.target])[0, 1]
        assert pair.correlation == pytest.approx(r, abs=1e-4)
        assert pair.num_samples == 128
    assert found.noise_floor == noise_floor(128, len(expected))


def test_sense_significant_is_what_exceeds_the_noise_floor() -> None:
    found = sense(living(), batches(size=12), CRITERION)
    for pair in found.correlations:
        assert pair.significant == (abs(pair.correlation) > found.noise_floor)


def test_sense_correlation_is_one_where_all_maps_are_homogeneous() -> None:
    """Euler: without biases, the gain of every layer before the output is the output's own."""
    seed_(0)
    layers = [nn.Linear(6, 6, bias=False) for _ in range(4)]
    model = nn.Sequential(
        layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2], nn.ReLU(), layers[3]
    )
    data = [(torch.randn(64, 6), torch.randint(6, (64,)))]
    found = sense(LivingModel(model, data[0][0][:2]), data, CRITERION)
    assert len(found.correlations) == 3
    assert [pair.correlation for pair in found.correlations] == pytest.approx([1, 1, 1])


def test_sense_without_gradients_needs_no_criterion() -> None:
    with_gradients = sense(living(), batches(), CRITERION)
    found = sense(living(), batches(), gradients=False)
    assert found.correlations == ()
    assert found.noise_floor == 1
    assert found.flops * 2 == with_gradients.flops
    for group, entropy in with_gradients.entropy.items():
        torch.testing.assert_close(found.entropy[group], entropy)


class Overwritten(nn.Module):
    """Reads what a rectifier in place, whose result it drops, has overwritten."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place
        self.convs = nn.ModuleList([nn.Conv1d(3, 3, 3, padding=1) for _ in range(4)])
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.convs[0](x))
        if self.in_place:
            x.relu_()
        else:
            x = x.relu()
        y = self.convs[2](self.convs[1](x).relu())
        if self.in_place:
            y += x
        else:
            y = y + x
        return self.convs[3](F.relu(y, inplace=self.in_place)).mean(2)


def test_sense_in_place_operations_change_nothing() -> None:
    found = []
    data = [(torch.randn(32, 3, 8), torch.randint(3, (32,)))]
    for in_place in (True, False):
        seed_(0)
        model = scramble_(Overwritten(in_place))
        found.append(sense(LivingModel(model, torch.randn(2, 3, 8)), data, CRITERION))
    first, second = found
    assert first.entropy.keys() == second.entropy.keys()
    for group, entropy in first.entropy.items():
        torch.testing.assert_close(entropy, second.entropy[group])
    for one, other in zip(first.correlations, second.correlations, strict=True):
        assert (one.source, one.target) == (other.source, other.target)
        assert one.correlation == pytest.approx(other.correlation, abs=1e-5)


# All families


@each_family
def test_sense_reads_every_family(family: Family) -> None:
    seed_(0)
    model = LivingModel(scramble_(family.build()), family.example(), leaves=LEAVES)
    found = sense(model, [(family.example(), None)] * 2, output_losses)
    for group in model.groups:
        if group.site is not None:
            assert found.entropy[group.name].shape == (group.size,)
            assert ((found.entropy[group.name] >= 0) & (found.entropy[group.name] <= 1)).all()
            assert found.dead[group.name].shape == (group.size,)
    assert len(found.correlations) == len(distant_pairs(model))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_sense_in_other_precisions(dtype: torch.dtype) -> None:
    expected = sense(living(), batches(size=64), CRITERION)
    model = LivingModel(net().to(dtype), torch.randn(2, 3, 8, 8, dtype=dtype))
    data = [(inputs.to(dtype), targets) for inputs, targets in batches(size=64)]
    found = sense(model, data, CRITERION)
    strength = {(pair.source, pair.target): pair.correlation for pair in expected.correlations}
    for pair in found.correlations:
        assert pair.correlation == pytest.approx(strength[pair.source, pair.target], abs=0.05)
    for group, entropy in expected.entropy.items():
        torch.testing.assert_close(found.entropy[group].float(), entropy, rtol=0, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_sense_on_cuda_agrees_with_the_cpu() -> None:
    expected = sense(living(), batches(size=64), CRITERION)
    found = sense(living().cuda(), batches(size=64), CRITERION)
    assert found.entropy["0"].device.type == "cpu"
    for group, entropy in expected.entropy.items():
        torch.testing.assert_close(found.entropy[group], entropy, rtol=0, atol=0.02)
    strength = {(pair.source, pair.target): pair.correlation for pair in expected.correlations}
    for pair in found.correlations:
        assert pair.correlation == pytest.approx(strength[pair.source, pair.target], abs=0.02)


def test_sense_after_edits() -> None:
    model = living()
    model.apply(Split(group="0", units=(0, 1)))
    model.apply(Connect(source="2", target="5"))
    found = sense(model, batches(), CRITERION)
    assert found.entropy["0"].shape == (6,)
    assert ("0", "11") not in {(pair.source, pair.target) for pair in found.correlations}


# What it costs


def test_sense_flops_are_those_run_and_the_first_layers_gradient() -> None:
    """2 operations for each multiply-accumulate.

    The first layer has 8 x 8 positions with 3 x 3 x 3 x 4; not counted are the products of four
    signatures of 32 samples.
    """
    model, data = living(), batches(2, 16)
    model.cost()
    for gradients in (False, True):
        with FlopCounterMode(display=False) as counter:
            found = sense(model, data, CRITERION, gradients=gradients)
        difference = 2 * 32 * (64 * 108 - 4 * 4) if gradients else 0
        assert found.flops - difference == counter.get_total_flops()


@pytest.mark.parametrize("num_batches", [1, 3])
def test_sense_looks_at_as_many_batches_as_it_is_told(num_batches: int) -> None:
    drawn = []

    def loader() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches(5, 4):
            drawn.append(batch)
            yield batch

    found = sense(living(), loader(), CRITERION, num_batches=num_batches)
    assert len(drawn) == num_batches
    assert found.num_samples == 4 * num_batches
    assert found.seconds > 0


def test_sense_takes_the_batches_that_there_are() -> None:
    assert sense(living(), batches(1, 5), CRITERION, num_batches=4).num_samples == 5


def test_sense_work_grows_linearly_with_depth() -> None:
    """Operations that run, forward and backward, counted: 4 times the layers, 4 times the work."""

    def operations(depth: int) -> int:
        blocks = [nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(depth)]
        model = LivingModel(nn.Sequential(*blocks), torch.randn(2, 4))
        model.groups  # noqa: B018 - derived once, before
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            sense(model, [(torch.randn(8, 4), None)], output_losses)
        return len(profile.events())

    few, many = operations(10), operations(40)
    assert many <= 4.2 * few


# Without a trace


class Counting(nn.Module):
    """Keeps count in a buffer and in an attribute, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.last: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.last = x
        return x + torch.rand_like(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_sense_leaves_modes_buffers_and_gradients(training: bool, fails: bool) -> None:
    model = nn.Sequential(*net(), Counting())
    model = LivingModel(model, torch.randn(2, 3, 8, 8), leaves=(Counting,)).train(training)
    model.get_submodule("1").eval()
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, number) if number % 2 else None
    modes = [module.training for module in model.modules()]
    buffers = [buffer.clone() for buffer in model.buffers()]
    parameters = [parameter.clone() for parameter in model.parameters()]
    graph_module = model.graph_module
    data = batches()
    if fails:
        data[1][0][3] = math.nan
        with pytest.raises(TrainingError):
            sense(model, data, CRITERION)
    else:
        sense(model, data, CRITERION)
    assert [module.training for module in model.modules()] == modes
    assert model.graph_module is graph_module
    assert graph_module.training == training
    assert model.get_submodule("12").last is None
    for tensor, before in zip(model.buffers(), buffers, strict=True):
        torch.testing.assert_close(tensor, before, rtol=0, atol=0)
    for number, (parameter, before) in enumerate(zip(model.parameters(), parameters, strict=True)):
        assert parameter.requires_grad
        torch.testing.assert_close(parameter, before, rtol=0, atol=0)
        assert (parameter.grad == number).all() if number % 2 else parameter.grad is None


class Drawing(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Augments with everyone's random numbers."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        scale = random.random() + np.random.rand() + torch.rand(())  # noqa: NPY002
        return torch.ones(3, 8, 8) * scale, index % 4


def test_sense_leaves_random_numbers() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), torch.rand(()).item()  # noqa: NPY002

    def seed() -> None:
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        seed_(0)

    model = living()
    seed()
    expected = draw()
    seed()
    sense(model, DataLoader(Drawing(), batch_size=8, shuffle=True), CRITERION)
    assert draw() == expected


def test_sense_twice_reads_the_same() -> None:
    model = living()
    loader = DataLoader(TensorDataset(*batches(1, 64)[0]), batch_size=16, shuffle=True)
    seed_(0)
    first, second = sense(model, loader, CRITERION), sense(model, loader, CRITERION)
    assert first.correlations == second.correlations
    for group, entropy in first.entropy.items():
        torch.testing.assert_close(entropy, second.entropy[group], rtol=0, atol=0)


def test_sense_works_where_gradients_are_off() -> None:
    with torch.no_grad():
        assert sense(living(), batches(), CRITERION).correlations


def test_sense_works_on_frozen_weights() -> None:
    expected = sense(living(), batches(), CRITERION)
    model = living()
    model.requires_grad_(False)
    assert sense(model, batches(), CRITERION).correlations == expected.correlations


# What can go wrong


def test_sense_loader_that_yields_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="the loader yields nothing"):
        sense(living(), [], CRITERION)


@pytest.mark.parametrize(
    "batch, message",
    [
        (torch.zeros(2, 3, 8, 8), "batch 0 is a Tensor and no pair"),
        ((torch.zeros(2, 3, 8, 8),), "batch 0 is a tuple and no pair"),
        (("image", torch.zeros(2)), "batch 0 holds no inputs"),
        ((torch.zeros(0, 3, 8, 8), torch.zeros(0)), "batch 0 has no sample"),
    ],
)
def test_sense_batch_that_is_no_pair_is_refused(batch: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        sense(living(), [batch], CRITERION)


def test_sense_without_memory_does_not_blame_the_data() -> None:
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        sense(living(), batches(), lambda *_: torch.empty(2**50, dtype=torch.uint8))


@pytest.mark.parametrize("gradients", [True, False])
def test_sense_names_the_layer_where_values_stop_being_finite(gradients: bool) -> None:
    model = living()
    with torch.no_grad():
        model.get_submodule("3").weight[1, 0, 0, 0] = math.nan
    with pytest.raises(TrainingError, match=r"an activation that is not finite.*`3`"):
        sense(model, batches(), CRITERION, gradients=gradients)


def test_sense_names_inputs_that_are_not_finite() -> None:
    data = batches()
    data[0][0][2, 1, 0, 0] = math.inf
    with pytest.raises(TrainingError, match="inputs hold values that are not finite already"):
        sense(living(), data, CRITERION)


def test_sense_loss_that_is_not_finite_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"the loss that is not finite.*every activation is"):
        sense(living(), batches(), lambda outputs, _: outputs.mean() * math.inf)


def test_sense_gradient_that_is_not_finite_is_refused() -> None:
    def infinitely_steep(outputs: Tensor, _: Tensor) -> Tensor:
        return (outputs - outputs.detach()).sqrt().mean()

    with pytest.raises(TrainingError, match=r"the gradient at '0' that is not finite"):
        sense(living(), batches(), infinitely_steep)


def test_sense_without_criterion_is_refused() -> None:
    with pytest.raises(ValueError, match="gradients need a criterion"):
        sense(living(), batches())


@pytest.mark.parametrize("options", [{"num_batches": 0}, {"max_samples_per_unit": 1}])
def test_sense_figures_out_of_range_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="give at least 1 batch and a sample for each"):
        sense(living(), batches(), CRITERION, **options)


# Sampling


@pytest.mark.parametrize("shape, dim", [((2, 3, 4), 1), ((6, 3), 1), ((2, 4, 3), 2), ((3, 6), 0)])
def test_spread_over_takes_a_copy_of_all_where_there_are_few(shape, dim: int) -> None:
    value = torch.arange(math.prod(shape)).view(shape)
    expected = value.movedim(dim, 0).flatten(1).tolist()
    taken = spread_over(value, dim, 8)
    value.zero_()
    assert taken.tolist() == expected


@pytest.mark.parametrize("limit", [50, 256, 1024])
def test_spread_over_is_even_over_samples_rows_and_columns(limit: int) -> None:
    """Each half of each dimension gets half of what is taken, within a tenth."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(n) for n in (16, 12, 12)], indexing="ij"), 1)
    taken = spread_over(grid, 1, limit)
    assert taken.shape == (3, limit)
    assert len(set(map(tuple, taken.T.tolist()))) > 0.95 * min(limit, 16 * 12 * 12)
    for row, size in zip(taken, (16, 12, 12), strict=True):
        assert (row < size // 2).float().mean().item() == pytest.approx(0.5, abs=0.1)


# Saliency


def test_sense_saliency_is_each_units_own_gradient_sample_by_sample() -> None:
    """Against factors of 1 put into a plain forward pass, one sample at a time."""
    model, data = living(), batches()
    found = sense(model, data, CRITERION)
    seen = model.graph_module.eval()
    for end, group, size in ((3, "0", 4), (5, "3", 6), (10, "5", 5)):
        rows = []
        for inputs, targets in data:
            for x, y in zip(inputs, targets, strict=True):
                gain = torch.ones(size, requires_grad=True)
                hidden = nn.Sequential(*[seen.get_submodule(str(i)) for i in range(end)])(x[None])
                rest = nn.Sequential(*[seen.get_submodule(str(i)) for i in range(end, 12)])
                view = gain.view(1, -1, *[1] * (hidden.ndim - 2))
                CRITERION(rest(hidden * view), y[None]).backward()
                rows.append(gain.grad)
        effect = torch.stack(rows).double()
        sure = 1 / effect.norm(dim=1)
        expected = (effect.square().T * sure).mean(1) / sure.mean() / 2
        torch.testing.assert_close(found.saliency[group], expected, rtol=1e-3, atol=1e-6)


def test_sense_saliency_of_a_unit_that_nobody_hears_is_nothing() -> None:
    model = living()
    with torch.no_grad():
        model.graph_module.get_submodule("5").weight[:, 2] = 0
    saliency = sense(model, batches(1, size=256), CRITERION).saliency["3"]
    assert saliency[2] == 0 and (saliency > 0).sum() == 5


@pytest.mark.parametrize("steps", [30, 60, 150])
def test_sense_saliency_finds_units_that_can_go(steps: int) -> None:
    """A quarter of the units, the least, costs less on other data than at random; also after 150
    steps, where the training loss is a tenth of the held-out one."""
    images, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    images = images.float() / 16
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    net.append(nn.Linear(32, 10))
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        CRITERION(net(images[:1000]), labels[:1000]).backward()
        optimizer.step()
    model = LivingModel(net, images[:2])
    saliency = sense(model, [(images[:128], labels[:128])], CRITERION).saliency

    def loss(reader: int, without: Tensor) -> float:
        twin = copy.deepcopy(net)
        with torch.no_grad():
            twin[reader].weight[:, without] = 0
            return CRITERION(twin(images[1000:]), labels[1000:]).item()

    for group, reader in (("0", 2), ("2", 4)):
        before = loss(reader, torch.tensor([], dtype=torch.int64))
        least = loss(reader, saliency[group].argsort()[:8])
        others = [loss(reader, torch.randperm(32)[:8]) for _ in range(20)]
        assert least - before < (sum(others) / 20 - before) / 2


def test_sense_saliency_needs_gradients() -> None:
    assert sense(living(), batches(), gradients=False).saliency == {}
