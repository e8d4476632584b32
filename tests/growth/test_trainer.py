"""The loop counts what it spends, and the trainer keeps its contract."""

from itertools import pairwise

import pytest
import torch
from small import CRITERION, batches, model

from neuroexapt import LivingModel, TrainingError, Widen
from neuroexapt.growth import Loop
from neuroexapt.training import Recipe, build_optimizer, lr_factor, training_flops

RECIPE = Recipe(lr=0.05, warmup=0.0)


def loop(epochs: int = 3, max_flops: float | None = None) -> Loop:
    living = LivingModel(model(), batches()[0][0][:4])
    return Loop(
        living, build_optimizer(living, RECIPE), CRITERION, RECIPE, epochs, max_flops=max_flops
    )


def test_flops_are_counted_sample_by_sample() -> None:
    training = loop(epochs=2)
    per_sample = training_flops(training.living, batches()[0], CRITERION)
    records = [record for record, _ in training.run(batches(3), batches(1))]
    assert [record.flops for record in records] == [per_sample * 96, per_sample * 192]


def test_flops_follow_what_is_grown_and_what_is_frozen() -> None:
    training = loop(epochs=9)
    spent = [0]
    for change in (
        lambda: None,
        lambda: training.living.apply(Widen(group="3", count=5), training.optimizer),
        lambda: training.living.get_parameter("0.weight").requires_grad_(False),
        lambda: None,
    ):
        change()
        per_sample = training_flops(training.living, batches()[0], CRITERION)
        spent.append(spent[-1] + 64 * per_sample)
        record, _ = training.run_epoch(batches(2), batches(1))
        assert record.flops == spent[-1]
    assert len({after - before for before, after in pairwise(spent)}) == 3
    small = [(inputs[:, :, :4, :4], targets) for inputs, targets in batches(2)]
    record, _ = training.run_epoch(small, batches(1))
    assert record.flops - spent[-1] == 64 * training_flops(training.living, small[0], CRITERION)


def test_flops_end_the_run_within_an_epoch() -> None:
    per_sample = training_flops(loop().living, batches()[0], CRITERION)
    training = loop(epochs=50, max_flops=per_sample * 32 * 4)
    records = [record for record, _ in training.run(batches(3), batches(1))]
    assert len(records) == 2
    assert training.flops == per_sample * 32 * 4


def test_learning_rate_follows_the_schedule() -> None:
    training = loop(epochs=2)
    records = [record for record, _ in training.run(batches(2), batches(1))]
    steps = [0.05 * lr_factor(RECIPE, share) for share in (0.25, 0.75)]
    assert [record.lr for record in records] == pytest.approx(steps)


def test_learning_rate_falls_by_flops_spent_however_dear_steps_become() -> None:
    """A triangle over FLOPs: after growth the steps are fewer, and the rate still comes to 0."""
    recipe = Recipe(optimizer="muon", lr=0.05, schedule="triangle", warmup=0.0)
    living = LivingModel(model(), batches()[0][0][:4])
    per_sample = training_flops(living, batches()[0], CRITERION)
    limit = per_sample * 32 * 40
    training = Loop(
        living, build_optimizer(living, recipe), CRITERION, recipe, 10**9, max_flops=limit
    )
    rates, shares = [], []
    while not training.finished:
        spent = training.flops
        record, _ = training.run_epoch(batches(4), batches(1))
        rates.append(record.lr)
        step = training_flops(living, batches()[0], CRITERION) * 32
        assert (record.flops - spent) % step == 0
        shares.append((record.flops - step) / limit)  # before the last step
        if len(rates) == 2:
            living.apply(Widen(group="3", count=20), training.optimizer)
    assert rates == pytest.approx([0.05 * (1 - share) for share in shares])
    assert len(rates) < 10 and rates[-1] < 0.05 * 0.15
    peaks = {group["initial_lr"] for group in training.optimizer.param_groups}
    assert peaks == {0.05, recipe.matrix_lr, recipe.vector_lr}


def test_loss_that_is_not_finite_stops_before_the_step() -> None:
    training = loop()
    bad = [(torch.full((8, 1, 6, 6), float("nan")), torch.zeros(8, dtype=torch.int64))]
    before = {name: tensor.clone() for name, tensor in training.living.state_dict().items()}
    with pytest.raises(TrainingError, match="loss"):
        list(training.run(bad, batches(1)))
    for name, tensor in training.living.state_dict().items():
        assert torch.equal(tensor, before[name])
