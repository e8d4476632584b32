"""What operations would still learn, against gradients taken one by one."""

import pytest
import torch
from torch import Tensor, nn

from neuroexapt.search import AlphaConfig, SearchConfig, Searching, decisions, nasbench201, sample
from neuroexapt.search.decisions import alphas, other_parameters
from neuroexapt.search.mixed import Mixed
from neuroexapt.search.prospects import Prospects

OPERATIONS = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3")


def batch(seed: int, size: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(size, 3, 8, 8, generator=generator),
        torch.randint(10, (size,), generator=generator),
    )


def network() -> nn.Module:
    torch.manual_seed(0)
    return nasbench201(channels=4, cells_a_stage=1, operations=OPERATIONS).train()


def drawn(found: nn.Module, seed: int = 0) -> dict[str, str]:
    generator = torch.Generator().manual_seed(seed)
    sample(found, 1.0, generator, learning=True, num_running=2)
    return {name: d.operations[int(d.soft.argmax())] for name, d in decisions(found).items()}


def test_gain_is_the_product_of_the_gradients_of_two_halves_over_all_places():
    found, halves = network(), [batch(0), batch(1)]
    chosen = drawn(found)
    losses = [nn.functional.cross_entropy(found(x), y) for x, y in halves]
    prospects = Prospects(horizon=1.0)
    prospects.learn(found, losses)
    for name, operation in chosen.items():
        places = [m for m in found.modules() if isinstance(m, Mixed) and m.decision.name == name]
        assert len(places) == 3
        expected = 0.0
        for place in places:
            for weight in place.operations[operation].parameters():
                one, other = (torch.autograd.grad(x, weight, retain_graph=True)[0] for x in losses)
                expected += float((one * other).sum())
        assert prospects.gains[name] == {operation: (pytest.approx(expected, rel=1e-4), 1)}
        assert (expected == 0) == (operation == "skip_connect")


def test_alphas_gradient_is_the_mean_of_the_halves():
    found = network()
    drawn(found)
    losses = [nn.functional.cross_entropy(found(x), y) for x, y in (batch(0), batch(1))]
    expected = torch.autograd.grad(sum(losses) / 2, alphas(found), retain_graph=True)
    torch.testing.assert_close(Prospects(1.0).learn(found, losses), list(expected))


def test_first_measurements_are_averaged_plainly_and_a_new_one_counts_as_the_mean():
    prospects = Prospects(horizon=2.0)
    for gain in (1.0, 3.0, 5.0):
        prospects._note("d", "conv", gain)
    prospects._note("d", "skip", 1.0)
    assert prospects.gains["d"]["conv"] == (3.0, 3)
    assert prospects.worth("d", ["conv", "skip", "new"]).tolist() == [6.0, 2.0, 4.0]
    assert prospects.worth("unknown", ["conv", "skip"]).tolist() == [0.0, 0.0]
    again = Prospects(horizon=2.0)
    again.load_state_dict(prospects.state_dict())
    assert again.gains == prospects.gains


def searching(horizon: float) -> Searching:
    alpha = AlphaConfig(lr=0.1, horizon=horizon, num_running=None)
    config = SearchConfig(epochs=2, warmup=0, explore_every=0, alpha=alpha)
    return Searching(network(), config, batch(0)[0])


def test_step_leaves_the_weights_alone():
    search = searching(horizon=1.0)
    before = [p.detach().clone() for p in other_parameters(search.network)]
    search._alpha_step(*batch(0, 16))
    for old, new in zip(before, other_parameters(search.network), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None
        assert new.requires_grad


def test_alpha_goes_to_what_would_learn_and_only_if_it_looks_ahead():
    def after(horizon: float) -> float:
        search = searching(horizon)
        if search.steps.prospects is not None:
            for name in decisions(search.network):
                gains = {each: (float(each == "nor_conv_1x1"), 10**6) for each in OPERATIONS}
                search.steps.prospects.gains[name] = gains
        for number in range(5):
            search._alpha_step(*batch(number, 16))
        found = [
            d.probabilities[1] - d.probabilities[0] for d in decisions(search.network).values()
        ]
        return float(min(found))

    assert after(horizon=100.0) > 0.2
    assert after(horizon=0.0) < 0.2


def test_looking_nowhere_ahead_is_the_plain_step():
    """Half batches see norms of their own; with one batch given twice they are the whole one's."""
    x, y = batch(0, 8)
    twice = torch.cat([x, x]), torch.cat([y, y])
    steps = []
    for horizon, given in ((0.0, (x, y)), (1e-12, twice)):
        search = searching(horizon)
        search._alpha_step(*given)
        steps.append([alpha.grad.clone() for alpha in alphas(search.network)])
    torch.testing.assert_close(steps[0], steps[1])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_too_small_to_be_halved_is_taken_whole(size):
    search = searching(horizon=1.0)
    search._alpha_step(*batch(0, size))
    assert search.steps.num_steps == 1
    assert search.steps.prospects.gains == {}
