import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt.errors import DataError, TrainingError
from neuroexapt.training.batches import evaluation_batches, train_batches
from neuroexapt.training.data import load
from neuroexapt.training.loop import Step, _clip, all_finite, evaluate, num_correct, train_epoch
from neuroexapt.training.models import build_model
from neuroexapt.training.recipe import Recipe, build_optimizer
from neuroexapt.training.seed import seeded


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))


def batches(num: int = 5, size: int = 6) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(size, 3, generator=generator), torch.arange(size) % 4) for _ in range(num)]


def sgd(model: nn.Module) -> torch.optim.SGD:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def test_train_epoch_equals_the_textbook_loop() -> None:
    model, data = net(), batches()
    twin = copy.deepcopy(model)
    optimizer, losses, hits = sgd(twin), [], 0
    for inputs, targets in data:
        optimizer.zero_grad()
        outputs = twin(inputs)
        loss = nn.functional.cross_entropy(outputs, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        hits += int((outputs.argmax(1) == targets).sum())
    result = train_epoch(model.eval(), data, sgd(model), nn.CrossEntropyLoss())
    for ours, theirs in zip(model.state_dict().values(), twin.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    assert result.loss == pytest.approx(sum(losses) / 5)
    assert result.accuracy == pytest.approx(hits / 30)
    assert (result.num_samples, result.num_steps) == (30, 5)
    assert result.seconds > 0 and model.training


def test_train_epoch_weighs_a_small_batch_by_its_samples() -> None:
    # Rate 0 and equal outputs: loss log 4 on every sample; class 0 is right by being the first.
    model = nn.Linear(3, 4)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    data = [(torch.ones(3, 3), torch.zeros(3).long()), (torch.ones(1, 3), torch.ones(1).long())]
    result = train_epoch(
        model, data, torch.optim.SGD(model.parameters(), lr=0.0), nn.CrossEntropyLoss()
    )
    assert result.loss == pytest.approx(math.log(4), rel=1e-6)
    assert result.accuracy == 0.75


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_train_epoch_with_a_poisoned_batch_stops_before_the_step(poison: float) -> None:
    data = batches()
    reference, model = net(), net()
    expected = sgd(reference)
    train_epoch(reference, data[:2], expected, nn.CrossEntropyLoss())
    data[2][0][0, 0] = poison
    optimizer = sgd(model)
    with pytest.raises(TrainingError, match=r"the loss is nan at step 2 .*inputs hold values"):
        train_epoch(model, data, optimizer, nn.CrossEntropyLoss())
    assert str(model.state_dict()) == str(reference.state_dict())
    assert str(optimizer.state_dict()) == str(expected.state_dict())


def test_train_epoch_that_diverges_says_what_to_do() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e38)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step \d+ .*lower the lear"):
        train_epoch(model, batches(20), optimizer, nn.CrossEntropyLoss())


class Root(nn.Module):
    """The magnitude: finite at 0, its derivative not."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * x).sqrt()


def rooted() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4), Root())


@torch.no_grad()
def spoil(model: nn.Sequential) -> None:
    """Outputs of 0 from now on."""
    model[1].weight.zero_()
    model[1].bias.zero_()


def test_train_epoch_with_gradients_that_are_not_finite_stops_before_the_step() -> None:
    reference, model, data = rooted(), rooted(), batches()
    expected, optimizer = sgd(reference), sgd(model)
    train_epoch(reference, data[:2], expected, nn.CrossEntropyLoss())
    spoil(reference)

    def on_step(step: Step) -> None:
        if step.index == 1:
            spoil(model)

    told = (
        r"the loss is 1.39 at step 2 of this epoch, but the gradient of '0.weight', '0.bias', "
        r"'1.weight' and 1 more is not finite: .*square root.*optimiser are as they were"
    )
    with pytest.raises(TrainingError, match=told):
        train_epoch(model, data, optimizer, nn.CrossEntropyLoss(), on_step=on_step)
    assert str(model.state_dict()) == str(reference.state_dict())
    assert str(optimizer.state_dict()) == str(expected.state_dict())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("scaled", [False, True])
def test_train_epoch_shortens_long_gradients_as_torch_does(scaled: bool) -> None:
    model, data, most = net(), batches(), 0.86
    twin = copy.deepcopy(model)
    optimizer, norms = sgd(twin), []
    for inputs, targets in data:
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(inputs), targets).backward()
        norms.append(float(nn.utils.clip_grad_norm_(twin.parameters(), most)))
        optimizer.step()
    assert min(norms) < most < max(norms), "some are long, some aren't"
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0) if scaled else None
    given = {"clip_norm": most, "scaler": scaler}
    train_epoch(model, data, sgd(model), nn.CrossEntropyLoss(), **given)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_train_epoch_shortens_sparse_and_complex_gradients_together() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    turn = nn.Parameter(torch.ones(2, dtype=torch.complex64))
    optimizer = torch.optim.SGD([*table.parameters(), turn], lr=1.0)
    before = table.weight.detach().clone(), turn.detach().clone()
    (table(torch.tensor([1])).sum() * 3 + (turn * (4 + 0j)).sum().real).backward()
    _clip(optimizer, None, longest=1.0)
    optimizer.step()
    steps = (table.weight - before[0]).detach(), (turn - before[1]).detach()
    total = math.sqrt(sum(float(step.abs().square().sum()) for step in steps))
    assert total == pytest.approx(1.0)
    assert float(steps[1].abs().sum() / steps[0].abs().sum()) == pytest.approx(4 / 3)


def test_train_epoch_shortens_rows_that_come_several_times_by_their_sum() -> None:
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    table(torch.zeros(100, dtype=torch.long)).sum().backward()
    _clip(optimizer, None, longest=5.0)
    assert float(table.weight.grad.to_dense().norm()) == pytest.approx(5.0)


@pytest.mark.parametrize(("dtype", "value"), [(torch.float32, 1e20), (torch.float16, 2000.0)])
def test_train_epoch_shortens_gradients_whose_norm_overflows(dtype: torch.dtype, value: float):
    weight = nn.Parameter(torch.zeros(64, 64, dtype=dtype))
    weight.grad = torch.full_like(weight, value)
    _clip(torch.optim.SGD([weight], lr=1.0), None, longest=5.0)
    assert float(weight.grad.double().norm()) == pytest.approx(5.0, rel=1e-2)


def test_train_epoch_with_gradients_that_are_not_finite_and_a_scaler_leaves_the_step_out() -> None:
    model = rooted()
    spoil(model)
    before = copy.deepcopy(dict(model.named_parameters()))
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    train_epoch(model, batches(2), sgd(model), nn.CrossEntropyLoss(), scaler=scaler)
    assert scaler.get_scale() == 2.0
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64]
)
def test_all_finite_finds_any_and_leaves_all(dtype: torch.dtype, value: float) -> None:
    limits = torch.tensor([torch.finfo(dtype).max, torch.finfo(dtype).tiny], dtype=dtype)
    sound = [limits, torch.ones(3, 2, dtype=dtype).t(), torch.ones(2), torch.ones(())]
    sound.append(torch.eye(3, dtype=dtype).to_sparse())
    copies = [tensor.clone() for tensor in sound]
    assert all_finite(sound) and all_finite([])
    assert str(copies) == str(sound) and torch.equal(copies[0], sound[0])
    for broken in (torch.ones(2, 2, dtype=dtype), torch.eye(3, dtype=dtype)):
        broken[0, 0] = value
        assert not all_finite([*sound, broken])
        assert not all_finite([*sound, broken.to_sparse()])


def test_all_finite_when_double_precision_is_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert all_finite([torch.ones(3)]) and not all_finite([torch.full((3,), math.inf)])
    finally:
        torch.set_default_dtype(torch.float32)


def test_evaluate_with_a_loss_that_is_not_finite_is_refused() -> None:
    model, data = net(), batches()
    with torch.no_grad():
        model[1].running_var.fill_(math.nan)
    with pytest.raises(TrainingError, match="the loss is nan on batch 0, in eval mode: lower"):
        evaluate(model, data, nn.CrossEntropyLoss())
    assert model.training
    data[3][0][0, 0] = math.inf
    with pytest.raises(TrainingError, match=r"nan on batch 3, in eval mode: .*mend the data"):
        evaluate(net(), data, nn.CrossEntropyLoss())


def test_train_epoch_with_a_loss_a_sample_is_refused() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TrainingError, match=r"returned shape \(6,\); it has to return one number"):
        train_epoch(model, batches(), sgd(model), nn.CrossEntropyLoss(reduction="none"))
    assert str(model.state_dict()) == str(before)


def test_train_epoch_calls_on_step_and_ends_when_told() -> None:
    steps: list[Step] = []

    def on_step(step: Step) -> bool:
        steps.append(step)
        return step.index == 2

    model = net()
    result = train_epoch(model, batches(), sgd(model), nn.CrossEntropyLoss(), on_step=on_step)
    assert [(step.index, step.num_samples) for step in steps] == [(0, 6), (1, 6), (2, 6)]
    assert result.num_steps == 3
    assert result.loss == pytest.approx(sum(step.loss for step in steps) / 3)


def test_train_epoch_on_step_sets_the_next_steps_rate() -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights: list[Tensor] = []

    def on_step(step: Step) -> None:
        weights.append(model[0].weight.detach().clone())
        optimizer.param_groups[0]["lr"] = 0.0

    train_epoch(model, batches(3), optimizer, nn.CrossEntropyLoss(), on_step=on_step)
    assert torch.equal(weights[0], weights[2]) and not torch.equal(weights[0], net()[0].weight)


@pytest.mark.parametrize("scaled", [False, True])
def test_train_epoch_in_half_precision_trains(scaled: bool) -> None:
    scaler = torch.amp.GradScaler("cpu") if scaled else None
    model = net()
    optimizer = sgd(model)
    criterion = nn.CrossEntropyLoss()
    first = train_epoch(model, batches(20), optimizer, criterion, amp=True, scaler=scaler)
    for _ in range(5):
        last = train_epoch(model, batches(20), optimizer, criterion, amp=True, scaler=scaler)
    assert last.loss < first.loss
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    exact = evaluate(model, batches(20), criterion)
    half = evaluate(model, batches(20), criterion, amp=True)
    assert half.loss == pytest.approx(exact.loss, rel=0.02) and half.loss != exact.loss


def test_train_epoch_of_nothing_is_refused() -> None:
    model = net()
    with pytest.raises(DataError, match="yields no batch"):
        train_epoch(model, [], sgd(model), nn.CrossEntropyLoss())


def test_evaluate_equals_the_whole_set_at_once_in_eval_mode() -> None:
    model = net()
    inputs, targets = torch.randn(10, 3), torch.arange(10) % 4
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=4)
    state = copy.deepcopy(model.state_dict())
    model[1].eval()
    result = evaluate(model, loader, nn.CrossEntropyLoss())
    assert [module.training for module in model] == [True, False, True, True]
    assert str(model.state_dict()) == str(state)
    with torch.no_grad():
        outputs = model.eval()(inputs)
    assert result.loss == pytest.approx(nn.functional.cross_entropy(outputs, targets).item())
    assert result.accuracy == pytest.approx(float((outputs.argmax(1) == targets).float().mean()))
    assert result.num_samples == 10


def test_num_correct_by_hand() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert num_correct(outputs, torch.tensor([0, 0, 1])) == 2
    soft = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    assert num_correct(outputs, soft) == 2
    # Two samples with two targets each, of which 2 and 1 are correct: 1 + 1/2.
    dense = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
    assert num_correct(dense, torch.tensor([[0, 1], [0, 1]])) == 1.5


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [
        (torch.zeros(3, 2), torch.zeros(3)),
        (torch.zeros(3), torch.zeros(3).long()),
        (torch.zeros(3, 2), torch.zeros(3, 1).long()),
        (torch.zeros(3, 1), torch.ones(3, 1)),
        (torch.zeros(3, 1), torch.zeros(3).long()),
        (torch.zeros(3, 2), torch.tensor([[0.5, 2.0]] * 3)),
    ],
)
def test_num_correct_of_no_classifier_is_refused(outputs: Tensor, targets: Tensor) -> None:
    with pytest.raises(TrainingError, match="are no classifier's"):
        num_correct(outputs, targets)


def test_training_learns_the_digits_and_repeats_under_a_seed() -> None:
    splits, recipe = load("digits"), Recipe(batch_size=64, schedule="constant", warmup=0)
    judged = evaluation_batches(splits, splits.validation)

    def run() -> tuple[float, list[float]]:
        seeded(0)
        model = build_model("mlp", num_classes=10, in_channels=1, image_size=(8, 8))
        optimizer = build_optimizer(model, recipe)
        data = train_batches(splits, recipe, seed=0)
        losses = []
        for epoch in range(6):
            data.set_epoch(epoch)
            losses.append(train_epoch(model, data, optimizer, nn.CrossEntropyLoss()).loss)
        return evaluate(model, judged, nn.CrossEntropyLoss()).accuracy, losses

    accuracy, losses = run()
    assert accuracy > 0.8
    assert run() == (accuracy, losses)
