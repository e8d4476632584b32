"""ASO-SE in one call, and the faults that its original has and the improved one hasn't."""

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.errors import DataError, SearchError
from neuroexapt.search import (
    Decision,
    ImprovedASOSEFramework,
    Mixed,
    OriginalASOSE,
    SearchConfig,
    aso_se,
    decisions,
)


def batches(seed: int, count: int = 4) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(16, 3, 8, 8, generator=generator),
            torch.randint(10, (16,), generator=generator),
        )
        for _ in range(count)
    ]


def network() -> nn.Module:
    torch.manual_seed(0)
    return aso_se(channels=4, num_cells=2, operations=("none", "skip_connect", "conv_3x3"))


def test_improved_returns_the_plain_network_that_was_chosen_and_trained_on():
    framework = ImprovedASOSEFramework({"epochs": 5, "warmup": 1, "final": 3})
    start = network()
    trained, history = framework.train_with_enhanced_aso_se(start, batches(0), batches(1))
    assert [record.phase for record in history] == ["warm-up", "search", "search"] + ["final"] * 2
    assert not any(isinstance(module, Mixed | Decision) for module in trained.modules())
    assert not trained.training
    assert framework.searching is not None
    assert framework.searching.network is start
    x = batches(2)[0][0]
    torch.testing.assert_close(trained(x), framework.searching.network.eval()(x))
    assert history[-1].choices == {n: d.chosen for n, d in decisions(start).items()}


def test_improved_takes_any_model_and_leaves_it_as_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 10),
    )  # fmt: skip
    before = {name: value.clone() for name, value in model.state_dict().items()}
    framework = ImprovedASOSEFramework({"epochs": 3, "warmup": 1, "final": 2})
    trained, history = framework.train_with_enhanced_aso_se(model, batches(0), batches(1))
    assert list(history[-1].choices) == ["0"]
    assert trained(batches(0)[0][0]).shape == (16, 10)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_original_learns_alpha_on_training_data_and_grows_nothing():
    framework = OriginalASOSE({"epochs": 20})
    assert framework.config.alpha.data == "training"
    assert framework.config.alpha.num_running == 1
    assert framework.config.expansion is None
    same = batches(0, 10)
    _, history = framework.train_with_aso_se(network(), same, same)  # no leak is refused here
    searched = [record for record in history if record.phase in ("search", "growth")]
    assert [record.alpha_steps for record in searched] == [2] * len(searched)
    assert len(searched) == 13
    assert history[-1].expansions == 0
    temperature = [record.temperature for record in searched]
    assert temperature[0] == 5.0
    assert temperature[1] == pytest.approx(5.0 * 0.98**2)


def test_improved_refuses_loaders_that_share_samples():
    same = batches(0)
    with pytest.raises(SearchError, match="64 samples of the validation loader"):
        ImprovedASOSEFramework().train_with_enhanced_aso_se(network(), same, same)


def changed(inputs=None, targets=None) -> list[tuple[Tensor, Tensor]]:
    """Batches that differ in what is given."""
    return [
        (x if inputs is None else inputs(x), y if targets is None else targets(y))
        for x, y in batches(0)
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (changed(lambda x: x * float("nan")), "training loader holds inputs that aren't finite"),
        (changed(lambda x: x.byte()), r"the network doesn't run on .* uint8 inputs of shape \(16,"),
        (changed(targets=lambda y: y + 5), "has the class 1[0-4], but the network gives 10"),
        (changed(targets=lambda y: y - 5), "has the class -[1-5], but the network gives 10"),
        (changed(targets=lambda y: y.float()), "takes no outputs of shape"),
    ],
)
def test_data_that_do_not_fit_are_named(given, told):
    with pytest.raises(DataError, match=told):
        ImprovedASOSEFramework().train_with_enhanced_aso_se(network(), given, batches(1))
    fine = network()
    if "training" not in told:
        with pytest.raises(DataError, match=told):
            ImprovedASOSEFramework().train_with_enhanced_aso_se(fine, batches(1), given)


def test_network_without_weights_to_train_is_refused():
    frozen = network()
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_("alpha" in name)
    with pytest.raises(SearchError, match="no weight of the network is trainable"):
        ImprovedASOSEFramework().train_with_enhanced_aso_se(frozen, batches(0), batches(1))


@pytest.mark.parametrize("framework", [ImprovedASOSEFramework, OriginalASOSE])
@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"epoch": 3}, "the config: there is no setting 'epoch'; is 'epochs' meant"),
        ({"epochs": 0}, "the config: epochs: input should be greater than or equal to 1, not 0"),
        ({"epochs": 5, "warmup": 9}, "give epochs in this order"),
        ("improved", "the config: str was given; give SearchConfig, or a mapping"),
    ],
)
def test_bad_config_is_refused(framework, config, message):
    with pytest.raises(ValueError, match=message):
        framework(config)


def test_config_is_taken_as_it_is():
    config = SearchConfig(epochs=3, warmup=1)
    assert ImprovedASOSEFramework(config).config is config


def test_settings_within_settings_override_the_methods_own_one_by_one():
    """Or original would train alpha on held-out data as soon as its learning rate was given."""
    alpha = OriginalASOSE({"alpha": {"lr": 1e-3}, "annealing": {"rate": 0.9}}).config.alpha
    assert (alpha.lr, alpha.data, alpha.every, alpha.num_running) == (1e-3, "training", 5, 1)
    annealing = OriginalASOSE({"annealing": {"rate": 0.9}}).config.annealing
    assert (annealing.start, annealing.floor, annealing.rate) == (5.0, 0.1, 0.9)
    assert OriginalASOSE({"recipe": {"lr": 0.05}}).config.recipe.weight_decay == 3e-4
