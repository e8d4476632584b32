"""The trainer keeps its contract: it grows, tells, and gives way only to what is better."""

from typing import Any

import pytest
import torch
from small import batches, model
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from neuroexapt import DNMConfig, DNMTrainer, LivingModel, TraceError, TrainingError
from neuroexapt.errors import EvolutionError
from neuroexapt.training import History

EVOLVING: dict[str, Any] = {
    "growth": {"every": 9},
    "evolution": {"size": 3, "num_children": 2, "rungs": (1.0,), "num_samples": 64},
    "evolve_every": 2,
}


def test_trainer_grows_and_tells() -> None:
    data = batches(4)
    config = DNMConfig.model_validate({"growth": {"every": 2, "sensing_share": 1.0}})
    trainer = DNMTrainer(model(), config)
    evolved, history, changes = trainer.train_with_dynamic_morphogenesis(data, data[:1], epochs=6)
    assert isinstance(evolved, LivingModel)
    assert [record.epoch for record in history] == list(range(6))
    assert tuple(change.edit for change in changes) == evolved.edits
    assert changes
    assert all(change.max_error <= 1e-5 for change in changes)
    assert history[-1].params == evolved.cost().params > history[0].params


def test_trainer_takes_a_torch_loader() -> None:
    inputs, targets = (torch.cat(parts) for parts in zip(*batches(3), strict=True))
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True)
    _, history, _ = DNMTrainer(model()).train_with_dynamic_morphogenesis(loader, loader, epochs=1)
    assert len(history) == 1


def test_trainer_refuses_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="epochs is 0"):
        DNMTrainer(model()).train_with_dynamic_morphogenesis(batches(), batches(), epochs=0)
    with pytest.raises(TrainingError, match="no parameter of the model is trainable"):
        DNMTrainer(nn.ReLU(), {}).train_with_dynamic_morphogenesis(batches(), batches(), epochs=1)

    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    undecided = nn.Sequential(nn.Flatten(), nn.Linear(36, 3), Undecided())
    with pytest.raises(TraceError, match="'2'"):
        DNMTrainer(undecided).train_with_dynamic_morphogenesis(batches(), batches(), epochs=1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"growth": {"every": 0}}, "the config: growth.every: input should be greater .* not 0"),
        ({"grow": {}}, "the config: there is no setting 'grow'; is 'growth' meant?"),
        ({"budget": {"flops": 1}}, "no setting 'budget.flops'; is 'train_flops' meant"),
        ({"recipe": {"lr": "fast"}}, "the config: recipe.lr: .* not 'fast'"),
        (5, "the config: int was given; give DNMConfig, or a mapping"),
    ],
)
def test_trainer_names_the_setting_that_is_wrong(config: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DNMTrainer(model(), config)


def test_trainer_of_no_model_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a type is no model; give an nn\.Module"):
        DNMTrainer(nn.Linear, {})


def bright(count: int) -> list[tuple[Tensor, Tensor]]:
    """Is the left half of the picture brighter than the right one? Learnt quickly."""
    generator = torch.Generator().manual_seed(count)
    inputs = torch.randn(32 * count, 1, 6, 6, generator=generator)
    inputs[:, :, :, :3] += torch.randn(len(inputs), 1, 1, 1, generator=generator)
    targets = (inputs[..., :3].mean((1, 2, 3)) > inputs[..., 3:].mean((1, 2, 3))).long()
    return list(zip(inputs.split(32), targets.split(32), strict=True))


def trained(val: list[tuple[Tensor, Tensor]], epochs: int, **settings: Any) -> Any:
    living = LivingModel(model(), val[0][0][:4])
    trainer = DNMTrainer(living, EVOLVING | settings)
    evolved, history, changes = trainer.train_with_dynamic_morphogenesis(bright(4), val, epochs)
    assert evolved is living
    return trainer, evolved, history, changes


def test_a_better_network_takes_the_models_place_and_is_trained_on() -> None:
    trainer, evolved, history, changes = trained(bright(6), epochs=5)
    assert [told.epoch for told in trainer.successions] == [2, 4]
    taken = [told for told in trainer.successions if told.taken]
    assert taken
    assert all(told.best > told.before for told in taken)
    assert tuple(change.edit for change in changes) == evolved.edits
    assert len(changes) == sum(len(told.edits) for told in taken) > 0
    assert history[-1].params == evolved.cost().params


def test_evolution_counts_among_the_flops() -> None:
    trainer, _, history, _ = trained(bright(6), epochs=3)
    _, _, plain, _ = trained(bright(6), epochs=3, evolution=None)
    (told,) = trainer.successions
    assert told.flops == told.generations[-1].flops > 0
    assert history[1].flops == plain[1].flops
    if not told.taken:
        assert history[2].flops - plain[2].flops == told.flops
    assert history[2].flops - history[1].flops > told.flops


SURE = [(inputs[targets == 1], targets[targets == 1]) for inputs, targets in bright(2)]
"""Held-out data of one class only."""


def beyond_compare(evolution: dict[str, Any] | None, **settings: Any) -> Any:
    """Train a model that knows `SURE` already, so that nothing can be better."""
    net = model()
    with torch.no_grad():
        net[-1].bias.copy_(torch.tensor([-50.0, 50.0, -50.0]))
    config = EVOLVING | {"recipe": {"lr": 1e-4}, "evolution": evolution} | settings
    trainer = DNMTrainer(LivingModel(net, SURE[0][0][:4]), config)
    torch.manual_seed(3)
    inputs, targets = (torch.cat(parts) for parts in zip(*bright(4), strict=True))
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=32, shuffle=True)
    return trainer, *trainer.train_with_dynamic_morphogenesis(loader, SURE, 5)


GROWING = {"growth": {"every": 1, "policy": "entropy", "max_edits": 2, "sensing_share": 1.0}}


@pytest.mark.parametrize("growth", [{}, GROWING], ids=["trained", "grown"])
def test_a_model_that_nothing_beats_goes_on_as_if_nothing_had_been(growth: Any) -> None:
    trainer, evolved, history, changes = beyond_compare(EVOLVING["evolution"], **growth)
    plain, expected, records, others = beyond_compare(None, **growth)
    assert [told.taken for told in trainer.successions] == [False, False]
    assert all(told.before == 1.0 for told in trainer.successions)
    assert [record.train_loss for record in history] == [r.train_loss for r in records]
    assert [change.edit for change in changes] == [change.edit for change in others]
    assert bool(changes) == bool(growth)
    assert history[-1].flops - records[-1].flops == sum(t.flops for t in trainer.successions)
    assert trainer.grower.flops == plain.grower.flops
    mine, theirs = evolved.state_dict(), expected.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_newborns_of_growth_and_of_evolution_are_trained_as_such() -> None:
    splits = {"policy": "papers", "entropy_threshold": 0.1, "split_probability": 1.0}
    growth = splits | {"every": 2, "sensing_share": 1.0}
    deeper = {"kinds": ("deepen",), "min_saving": 0.0, "exchange": 0.0}
    longer = EVOLVING["evolution"] | {"rungs": (4.0,), "growth": deeper}
    trainer, evolved, _, changes = trained(bright(6), epochs=3, growth=growth, evolution=longer)
    (told,) = trainer.successions
    assert told.taken
    assert trainer.grower.growths
    assert len(changes) == len(trainer.grower.growths) + len(told.edits)
    watched = {id(brood.parameter) for brood in trainer.grower.nursery.broods}
    assert watched <= {id(parameter) for parameter in evolved.parameters()}
    added = [item.new for item in changes[-1].ancestry if item.old is None]
    new = {id(tensor) for tensor in added if isinstance(tensor, nn.Parameter)}
    assert new
    assert new <= watched


def test_no_evolution_begins_once_the_budget_is_spent() -> None:
    spent, _, history, _ = trained(bright(6), epochs=3, budget={"train_flops": 1.0})
    assert spent.successions == []
    going, *_ = trained(bright(6), epochs=3, budget={"train_flops": float(history[-1].flops)})
    assert len(going.successions) == 1


def test_limits_of_growth_hold_for_evolution_too() -> None:
    most = int(1.2 * LivingModel(model(), batches()[0][0][:4]).cost().params)
    trainer, evolved, _, _ = trained(bright(6), epochs=3, budget={"params": most})
    born = [
        member
        for told in trainer.successions
        for record in told.generations
        for member in record.children
    ]
    assert born
    assert all(member.scores["params"] <= most for member in born)
    assert evolved.cost().params <= most


def test_limits_of_evolution_hold_for_growth_too() -> None:
    most = int(1.1 * LivingModel(model(), batches()[0][0][:4]).cost().params)
    evolution = EVOLVING["evolution"] | {"limits": {"params": most}}
    growth = {"every": 1, "entropy_threshold": 0.1, "split_probability": 1.0}
    trainer, evolved, _, _ = trained(bright(6), epochs=4, evolution=evolution, growth=growth)
    assert evolved.cost().params <= most
    assert trainer.successions


def test_a_loader_without_a_length_is_told_before_training() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return iter(batches())

    trainer = DNMTrainer(model(), EVOLVING)
    with pytest.raises(EvolutionError, match="Endless, has no length"):
        trainer.train_with_dynamic_morphogenesis(Endless(), batches(), epochs=5)
    assert trainer.grower is None


def test_a_model_past_the_limits_is_told() -> None:
    with pytest.raises(EvolutionError, match="at most 10 are allowed"):
        trained(bright(2), epochs=3, budget={"params": 10})


def test_recipe_of_a_few_settings_builds_on_the_plain_one():
    given = DNMConfig.model_validate({"recipe": {"lr": 0.05}}).recipe
    assert given == DNMConfig().recipe.model_copy(update={"lr": 0.05})
    assert given.clip_norm == 5.0


def regression(rows: int = 256) -> list[tuple[torch.Tensor, torch.Tensor]]:
    inputs = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    targets = inputs.prod(1, keepdim=True)
    return list(zip(inputs.split(64), targets.split(64), strict=True))


def mlp(outputs: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, outputs))


def test_a_regression_grows_and_is_judged_by_its_loss() -> None:
    growth = {"every": 2, "sensing_share": 1.0}
    trainer = DNMTrainer(mlp(), {"growth": growth}, nn.MSELoss())
    data = regression()
    evolved, history, changes = trainer.train_with_dynamic_morphogenesis(data, data, epochs=8)
    assert changes and evolved.cost().params > history[0].params
    assert all(record.val_accuracy is None for record in history)
    assert history.best is min(history, key=lambda record: record.val_loss)
    assert history.best.val_loss < history[0].val_loss
    assert History.from_list(history.to_list()).to_list() == history.to_list()
    assert trainer.grower is not None
    first = trainer.grower.growths[0]
    assert first.metric_before == -history[1].val_loss


def test_an_own_criterion_of_classes_leaves_the_accuracy_as_it_is() -> None:
    data = batches(4)
    config = {"growth": {"every": 2, "sensing_share": 1.0}}
    usual = DNMTrainer(model(), config)
    own = DNMTrainer(model(), config, lambda x, y: nn.functional.cross_entropy(x, y))
    histories = [
        [(record.val_accuracy, record.val_loss) for record in history]
        for _, history, _ in (
            trainer.train_with_dynamic_morphogenesis(data, data[:1], epochs=4)
            for trainer in (usual, own)
        )
    ]
    assert histories[0] == histories[1]


def test_what_a_criterion_cannot_go_with_is_refused_before_training() -> None:
    before = mlp()
    trainer = DNMTrainer(before, EVOLVING, nn.MSELoss())
    with pytest.raises(EvolutionError, match="judges networks by their accuracy"):
        trainer.train_with_dynamic_morphogenesis(regression(), regression(), epochs=4)
    for name, parameter in mlp().named_parameters():
        assert torch.equal(parameter, before.get_parameter(name))
    with pytest.raises(ValueError, match="a str is no criterion"):
        DNMTrainer(mlp(), {}, "mse")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="leave label_smoothing at 0"):
        DNMTrainer(mlp(), {"recipe": {"label_smoothing": 0.1}}, nn.MSELoss())


def test_a_regression_without_a_criterion_is_told() -> None:
    with pytest.raises(TrainingError, match="give DNMTrainer a criterion"):
        DNMTrainer(mlp(2)).train_with_dynamic_morphogenesis(regression(), regression(), epochs=1)
